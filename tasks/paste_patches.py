"""Pastes lip patches into decoded frames, in the film's own pixel format; what has no patch stays as it was decoded."""

from collections.abc import Sequence

import numpy as np
from av.video.frame import VideoFrame

from infra.array_rows import ArrayRows
from infra.artifacts import ArtifactStore
from infra.planes import add_bgr_delta
from infra.regions import upright_region
from tasks.types import LipPatch
from wav2lip_core.face_crop import paste_delta, pixel_rect


class PatchFaces:
    """The generated faces of a run of frames, read one at a time: neither a long shot nor many short ones fill memory or hold many files open."""

    def __init__(self, store: ArtifactStore, patches: Sequence[LipPatch]):
        self._store, self._patches = store, patches
        self._open: dict[int, tuple[ArrayRows, ArrayRows]] = {}

    def of_frame(self, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """(canonical box (4,), face uint8 (S, S, 3) BGR) of each patch that covers frame n. Ask for frames in rising order."""
        for index in [index for index in self._open if self._patches[index].end_frame <= n]:
            for rows in self._open.pop(index):
                rows.close()
        found = []
        for index, patch in enumerate(self._patches):
            if patch.first_frame <= n < patch.end_frame:
                boxes, faces = self._open.get(index) or self._open_patch(index)
                found.append((boxes[n - patch.first_frame], faces[n - patch.first_frame]))
        return found

    def _open_patch(self, index: int) -> tuple[ArrayRows, ArrayRows]:
        path = self._store.path(self._patches[index].patch)
        self._open[index] = ArrayRows(path, "boxes"), ArrayRows(path, "faces")
        return self._open[index]

    def close(self) -> None:
        for pair in self._open.values():
            for rows in pair:
                rows.close()


def in_order(patches: Sequence[LipPatch], first: int, end: int) -> list[LipPatch]:
    """The patches that touch frames [first, end), in the order in which they are pasted."""
    here = (patch for patch in patches if patch.first_frame < end and patch.end_frame > first)
    return sorted(here, key=lambda patch: (patch.first_frame, patch.track_id))


def paste(frame: VideoFrame, faces: Sequence[tuple[np.ndarray, np.ndarray]], rotation_degrees: int) -> VideoFrame:
    """A frame, coded orientation and native format, with (box, face) pasted; the frame handed in must not be used after."""
    # As decoded: two faces of one frame do not see each other's change.
    looked_at = [upright_region(frame, rotation_degrees, pixel_rect(box)) for box, _ in faces]
    for (box, face), (picture, left, top) in zip(faces, looked_at, strict=True):
        change = paste_delta(picture, box - np.array([left, top, left, top], box.dtype), face)
        if change is not None:
            (x0, y0, x1, y1), delta = change
            frame = add_bgr_delta(frame, (x0 + left, y0 + top, x1 + left, y1 + top), delta, rotation_degrees)
    return frame
