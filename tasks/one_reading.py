"""One reading of a run of frames for everything that is made of it: the encoded reel, and the small pictures before and after."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Literal

from av.video.frame import VideoFrame

from infra.artifacts import Artifact, ArtifactStore
from infra.encoder_memory import encoder_bytes
from infra.room import Room
from infra.video import FrameReader
from infra.video_write import SEGMENT_MEDIA_TYPE, Encoding, written_segment
from tasks import small_pictures
from tasks.paste_patches import PatchFaces, in_order, paste
from tasks.types import Film, LipPatch

Side = Literal["before", "after"]
BOTH: tuple[Side, Side] = ("before", "after")
ENCODERS = Room(1 << 30)  # five reels of 1080p side by side, one of 4K with ten bits


def patches_of(side: Side, patches: Sequence[LipPatch], first: int, end: int) -> list[LipPatch]:
    """What is pasted into the frames [first, end) on this side."""
    return [] if side == "before" else in_order(patches, first, end)


def keep_small_pictures(
    store: ArtifactStore, film: Film, first: int, end: int, patches: Sequence[LipPatch], sides: Sequence[Side], made: dict[str, Artifact]
) -> dict[Side, Artifact]:
    """The small pictures of frames [first, end) on these sides: stored, or as `made`, or read from the film now, all in one reading."""
    found: dict[Side, Artifact] = {}
    for side in sides:
        here = patches_of(side, patches, first, end)

        def make(side: Side = side) -> Artifact:
            if side not in made:
                made.update(read_once(store, film, first, end, patches, None, missing_sides(store, film, first, end, patches, sides)))
            return made[side]

        found[side] = small_pictures.keep(store, film, first, end, here, make).video
    return found


def missing_sides(store: ArtifactStore, film: Film, first: int, end: int, patches: Sequence[LipPatch], sides: Sequence[Side]) -> list[Side]:
    """The sides that are not stored yet. Where nothing is pasted both are the same pictures: one of them is enough."""
    if not in_order(patches, first, end):
        sides = sides[:1]
    return [side for side in sides if not small_pictures.are_stored(store, film, first, end, patches_of(side, patches, first, end))]


def read_once(
    store: ArtifactStore, film: Film, first: int, end: int, patches: Sequence[LipPatch], reel: Encoding | None, sides: Sequence[Side]
) -> dict[str, Artifact]:
    """Decode frames [first, end) once; the files made of them: `reel` where an encoding is given, and each of the sides.

    Memory holds one frame, beside what the encoders keep; reels whose encoders would fill it together wait for each other.
    """
    timing = store.load_arrays(film.timing)
    reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
    pts, here = timing["pts"][first:end], in_order(patches, first, end)
    with store.scratch() as folder:
        with ExitStack() as stack:
            if reel is not None:
                stack.enter_context(ENCODERS.taking(encoder_bytes(film, reel)))
            faces = stack.enter_context(closing(PatchFaces(store, here)))
            add: dict[str, Callable[[VideoFrame], None]] = {
                side: stack.enter_context(small_pictures.written_small(_file(folder, side), film, pts)) for side in sides
            }
            if reel is not None:
                add["reel"] = stack.enter_context(written_segment(_file(folder, "reel"), film, pts, reel))
            for n, frame in reader.frames(first, end):
                _hand_out(frame, faces.of_frame(n), film, add)
        media_types = {"reel": SEGMENT_MEDIA_TYPE}
        return {name: store.put_file(_file(folder, name), media_types.get(name, small_pictures.MEDIA_TYPE)) for name in add}


def _hand_out(frame: VideoFrame, faces: list, film: Film, add: dict[str, Callable[[VideoFrame], None]]) -> None:
    """One frame to all that want it, the reel last: its encoder takes the frame over."""
    small = small_pictures.shrink(frame, film) if "before" in add or ("after" in add and not faces) else None
    if small is not None and "before" in add:
        add["before"](small)
    if faces:
        frame = paste(frame, faces, film.rotation_degrees)
    if "after" in add:
        shown = small_pictures.shrink(frame, film) if faces or small is None else small
        add["after"](shown)
    if "reel" in add:
        add["reel"](frame)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.nut"
