"""Pastes lip patches into decoded frames, in the film's own pixel format; what has no patch stays as it was decoded."""

from collections.abc import Iterator, Sequence

import numpy as np
from av.video.frame import VideoFrame

from infra.array_rows import ArrayRows
from infra.artifacts import ArtifactStore
from infra.planes import add_bgr_delta
from infra.video import upright_bgr
from tasks.types import LipPatch
from wav2lip_core.face_crop import paste_delta


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


def patched_frames(frames: Iterator[tuple[int, VideoFrame]], faces: PatchFaces, rotation_degrees: int) -> Iterator[VideoFrame]:
    """The frames, coded orientation and native format, with the faces pasted."""
    for n, frame in frames:
        found = faces.of_frame(n)
        if found:
            picture = upright_bgr(frame, rotation_degrees)  # as decoded: two faces of one frame do not see each other's change
            for box, face in found:
                change = paste_delta(picture, box, face)
                if change is not None:
                    frame = add_bgr_delta(frame, *change, rotation_degrees)
        yield frame
