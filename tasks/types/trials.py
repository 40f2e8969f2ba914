"""What passes between measuring and judging: the tries at a shot, and what the film itself tells about the scorer."""

from pydantic import Field

from infra.artifacts import Artifact
from tasks.types.film import Shot
from tasks.types.lips import ShotPatches
from tasks.types.record import Box, Record
from tasks.types.review import Override, Person, PictureChecks, SelfTest, SyncScore, TakeSettings, VoiceScore


class ShotMeasures(Record):
    """Everything measured of one take of one shot in one language; what to make of it is the policy's business."""

    shot_index: int
    language: str
    num_patch_frames: int = 0
    dub_share: float = 0.0  # share of the shot's time in which the dub speaks
    track_id: int | None = None  # whose lips were looked at; None: nobody was cast
    face_box: Box | None = None
    before: SyncScore = SyncScore()
    undubbed: SyncScore = SyncScore()
    after: SyncScore = SyncScore()
    checks: PictureChecks = PictureChecks()
    evidence: Artifact | None = None  # .npz; see tasks.judge_shot
    thumbnail: Artifact | None = None
    voices: tuple[VoiceScore, ...] = Field(default=(), exclude_if=lambda voices: not voices)  # without a cast file records stay as they were


class Try(Record):
    """One rung of the ladder, done: how, what came of it, and its measures."""

    settings: TakeSettings
    patches: ShotPatches
    measures: ShotMeasures
    generator_sha256: str


class ShotTrial(Record):
    """All that was tried for one shot in one language."""

    shot: Shot
    language: str
    tries: tuple[Try, ...] = ()
    evidence: str = ""  # how the speaker was found
    num_faces: int = 0
    trouble: str = ""  # what failed, where nothing could be tried
    num_attempts: int = 0  # at what failed
    override: Override | None = None


class EpisodeGround(Record):
    """What the film itself tells about the scorer, before any dub is judged."""

    self_test: SelfTest
    real_confidences: tuple[float, ...] = ()  # LSE-C of the film's own real shots, sorted
    people: tuple[Person, ...] = ()
