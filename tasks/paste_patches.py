"""Pastes lip patches into decoded frames, in the film's own pixel format; what has no patch stays as it was decoded."""

from collections.abc import Sequence

import numpy as np
from av.video.frame import VideoFrame

from infra.array_rows import ArrayRows
from infra.artifacts import ArtifactStore
from infra.planes import add_levels, addable, colours_of, upright_planes
from tasks.types import LipPatch
from wav2lip_core.face_planes import Colours, Plane, plane_changes


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
    """A frame, coded orientation and native format, with (box, face) pasted; it comes back in the planar layout of its samples.

    Samples away from the mouths stay what they were, to the bit. The frame handed in must not be used after: its memory may be what was changed.
    """
    frame = addable(frame)
    planes, colours = [Plane(*plane) for plane in upright_planes(frame, rotation_degrees)], Colours(*colours_of(frame))
    # All as decoded: two faces of one frame do not see each other's change.
    changes = [plane_changes(planes, colours, box, face) for box, face in faces]
    frame.make_writable()  # the decoder may still need these planes to predict from
    writable = upright_planes(frame, rotation_degrees)
    for change in changes:
        for plane, part in zip(writable, change, strict=False):
            add_levels(frame, plane, part.top, part.left, part.levels)
    return frame
