"""What a reviewer looks at: one shot as it was and as it is now, small enough for a page."""

from infra.artifacts import Artifact
from tasks.types.record import Record


class Clip(Record):
    """One shot as a small film: every frame of it, with sound."""

    video: Artifact  # MP4: H.264 and AAC
    num_frames: int
    width: int
    height: int


class MouthPoint(Record):
    """Where the mouth is at one frame, in shares of the picture's width and height."""

    frame: int  # counted from the shot's first
    x: float
    y: float
    height: float  # of the mouth's surroundings


class Preview(Record):
    """A shot before and after, frame by frame the same moments."""

    shot_index: int
    language: str
    before: Clip  # the original picture with the original's sound
    after: Clip  # the dub's picture with the dub's sound
    mouth: tuple[MouthPoint, ...] = ()  # by frame; none where nothing was patched
