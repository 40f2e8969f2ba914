"""Decoded frames that are held in memory, read as the film would be: what is made of a shot in several goes needs one decoding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from av.video.frame import VideoFrame


@dataclass(frozen=True, eq=False)
class HeldFrames:
    """The frames first_frame, first_frame + 1, ... of a film, in coded orientation and native format."""

    first_frame: int
    held: Sequence[VideoFrame]

    def frames(self, first: int, end: int) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (n, frame) for n in [first, end), as FrameReader does. Raises ValueError for frames that are not held."""
        if not self.first_frame <= first <= end <= self.first_frame + len(self.held):
            raise ValueError(f"frames [{first}, {end}) are not among the {len(self.held)} held from {self.first_frame} on")
        for n in range(first, end):
            yield n, self.held[n - self.first_frame]


def num_bytes_of(frame: VideoFrame) -> int:
    """Memory that a frame's planes take."""
    return sum(plane.buffer_size for plane in frame.planes)
