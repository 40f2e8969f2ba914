"""Renders reels: a shot, or a piece of a long one, read once, lip patches pasted in the film's own pixel format, encoded once."""

from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from math import ceil

from infra.artifacts import ArtifactStore
from infra.video import FrameReader
from infra.video_write import SEGMENT_MEDIA_TYPE, CodecName, choose_encoding, encode_segment
from tasks.paste_patches import PatchFaces, in_order, patched_frames
from tasks.types import Film, LipPatch, Reel, Shot

STEP_VERSION = 1


def plan_reels(shots: Sequence[Shot], fps: Fraction, longest_s: float) -> list[tuple[int, int]]:
    """Half-open frame ranges that partition the film: a reel for each shot; a shot longer than longest_s is divided evenly.

    Nothing but the cuts decides where reels end, so a shot that is made again leaves every other shot's encoded pictures as they are. shots: a
    partition of the film, in order.
    """
    longest = max(1, round(longest_s * fps))
    return [piece for shot in shots for piece in _pieces(shot.first_frame, shot.end_frame, longest)]


def _pieces(first: int, end: int, longest: int) -> list[tuple[int, int]]:
    num_pieces = ceil((end - first) / longest)
    borders = [first + (end - first) * k // num_pieces for k in range(num_pieces + 1)]
    return list(pairwise(borders))


def render_reel(store: ArtifactStore, film: Film, first: int, end: int, patches: Sequence[LipPatch], language: str, codec: CodecName) -> Reel:
    """Frames [first, end) of the film with the patches pasted, as one closed-GOP segment; stored once for the same inputs.

    Patches may reach out of the range: what lies in it is used. Frames without a patch go to the encoder as they were decoded. Raises InputError when
    the codec cannot keep the film's pixel format, OurTroubleError when the film cannot be read again.
    """
    encoding = choose_encoding(film, codec)
    here = in_order(patches, first, end)
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
        with store.scratch() as folder, closing(PatchFaces(store, here)) as faces:
            segment = folder / "segment.nut"
            frames = patched_frames(reader.frames(first, end), faces, film.rotation_degrees)
            encode_segment(segment, frames, film, timing["pts"][first:end], encoding)
            return Reel(language=language, first_frame=first, end_frame=end, segment=store.put_file(segment, SEGMENT_MEDIA_TYPE))

    return store.get_or_make("render_reel", STEP_VERSION, inputs, Reel, make)
