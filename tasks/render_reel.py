"""Renders reels: runs of consecutive shots, read once, lip patches pasted in the film's own pixel format, encoded once."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from math import ceil

import numpy as np
from av.video.frame import VideoFrame

from infra.array_rows import ArrayRows
from infra.artifacts import ArtifactStore
from infra.planes import add_bgr_delta
from infra.video import FrameReader, upright_bgr
from infra.video_write import SEGMENT_MEDIA_TYPE, CodecName, choose_encoding, encode_segment
from tasks.types import Film, LipPatch, Reel, Shot
from wav2lip_core.face_crop import paste_delta

STEP_VERSION = 1


def plan_reels(film: Film, shots: Sequence[Shot], target_s: float = 60.0) -> list[tuple[int, int]]:
    """Half-open frame ranges that partition the film, each about target_s seconds long.

    Cut only where shots are cut, except that a shot longer than the target is divided evenly. shots: a partition of the film, in order.
    """
    target = max(1, round(target_s * film.fps))
    reels: list[tuple[int, int]] = []
    first = 0
    for shot in shots:
        if shot.end_frame - first <= target:
            continue
        if shot.first_frame > first:
            reels.append((first, shot.first_frame))
        first = shot.first_frame
        for end in _divisions(first, shot.end_frame, target):
            reels.append((first, end))
            first = end
    if first < film.num_frames:
        reels.append((first, film.num_frames))
    return reels


def _divisions(first: int, end: int, target: int) -> list[int]:
    """Where pieces of a shot longer than `target` end, all about as long; none for a shorter shot, which other shots may join."""
    if end - first <= target:
        return []
    num_pieces = ceil((end - first) / target)
    return [first + (end - first) * k // num_pieces for k in range(1, num_pieces + 1)]


def render_reel(store: ArtifactStore, film: Film, first: int, end: int, patches: Sequence[LipPatch], language: str, codec: CodecName) -> Reel:
    """Frames [first, end) of the film with the patches pasted, as one closed-GOP segment; stored once for the same inputs.

    Patches may reach out of the range: what lies in it is used. Frames without a patch go to the encoder as they were decoded. Raises InputError when
    the codec cannot keep the film's pixel format, OurTroubleError when the film cannot be read again.
    """
    encoding = choose_encoding(film, codec)
    here = sorted(
        (patch for patch in patches if patch.first_frame < end and patch.end_frame > first), key=lambda patch: (patch.first_frame, patch.track_id)
    )
    inputs = {
        "film": film.sha256,
        "frames": (first, end),
        "patches": [(patch.patch.sha256, patch.first_frame, patch.end_frame) for patch in here],
        "language": language,
        "encoding": encoding.settings,
    }

    def make() -> Reel:
        timing = store.load_arrays(film.timing)
        reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
        with store.scratch() as folder, closing(_Faces(store, here)) as faces:
            segment = folder / "segment.nut"
            frames = _patched(reader.frames(first, end), faces, film.rotation_degrees)
            encode_segment(segment, frames, film, timing["pts"][first:end], encoding)
            return Reel(language=language, first_frame=first, end_frame=end, segment=store.put_file(segment, SEGMENT_MEDIA_TYPE))

    return store.get_or_make("render_reel", STEP_VERSION, inputs, Reel, make)


class _Faces:
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


def _patched(frames: Iterator[tuple[int, VideoFrame]], faces: _Faces, rotation_degrees: int) -> Iterator[VideoFrame]:
    for n, frame in frames:
        found = faces.of_frame(n)
        if found:
            picture = upright_bgr(frame, rotation_degrees)  # as decoded: two faces of one frame do not see each other's change
            for box, face in found:
                change = paste_delta(picture, box, face)
                if change is not None:
                    frame = add_bgr_delta(frame, *change, rotation_degrees)
        yield frame
