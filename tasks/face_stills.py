"""A face as large as in the film, about once a second, sixty times a shot at most: enough to see how a patch sits in the picture, without reading
the film again."""

from collections.abc import Iterator

import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from tasks.types import FaceTrack
from wav2lip_core.face_crop import pixel_rect

STILL_EVERY_S = 1.0
FIRST_STILL_S = 0.5
MOST_STILLS = 60  # of a track: they are in memory together


def still_frames(times_s: np.ndarray) -> list[int]:
    """Which frames of a track are kept; times_s: float64 (n,), ascending. A short track has one in its middle, a long one MOST_STILLS."""
    if times_s[-1] - times_s[0] < FIRST_STILL_S:
        return [len(times_s) // 2]
    every_s = max(STILL_EVERY_S, float(times_s[-1] - times_s[0]) / MOST_STILLS)
    wanted_s = np.arange(times_s[0] + FIRST_STILL_S, times_s[-1] + 1e-6, every_s)
    return sorted({int(n) for n in np.clip(np.searchsorted(times_s, wanted_s), 0, len(times_s) - 1)})


class StillCutter:
    """Collects the stills of one track while its frames pass by."""

    def __init__(self, boxes: np.ndarray, times_s: np.ndarray, width: int, height: int) -> None:
        self._boxes, self._wanted, self._size = boxes, set(still_frames(times_s)), (width, height)
        self._stills: dict[int, np.ndarray] = {}

    def wants(self, n: int) -> bool:
        return n in self._wanted

    def see(self, n: int, picture: np.ndarray, left: int, top: int) -> None:
        """The track's frame n, which is wanted, at least where the face is: uint8 (h, w, 3) BGR, and where in the upright picture that lies."""
        x0, y0, x1, y1 = _inside(self._boxes[n], *self._size)
        if x0 < x1 and y0 < y1:
            self._stills[n] = picture[y0 - top : y1 - top, x0 - left : x1 - left].copy()

    def put(self, store: ArtifactStore) -> Artifact | None:
        if not self._stills:
            return None
        return store.put_arrays(**{f"still_{n:06d}": still for n, still in self._stills.items()})


def stills_of(store: ArtifactStore, track: FaceTrack, width: int, height: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(frame of the film, picture uint8 (h, w, 3) BGR, box (4,) in that picture) of each still: what of the track's box lies in the film's picture.

    Whatever is cut from or pasted into the picture through this box is as it would be in the film. width, height: of the upright film.
    """
    if track.stills is None:
        return
    boxes = store.load_arrays(track.geometry)["boxes"]
    for name, picture in sorted(store.load_arrays(track.stills).items()):
        n = int(name.removeprefix("still_"))
        left, top, _, _ = _inside(boxes[n], width, height)
        yield track.first_frame + n, picture, np.array(pixel_rect(boxes[n]), np.float32) - np.array([left, top, left, top], np.float32)


def _inside(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = pixel_rect(box)
    return max(0, x0), max(0, y0), min(width, x1), min(height, y1)
