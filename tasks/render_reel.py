"""Renders reels: a shot, or a piece of a long one, read once, lip patches pasted in the film's own pixel format, encoded once."""

import logging
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil

from infra.artifacts import Artifact, ArtifactStore
from infra.errors import OurTroubleError
from infra.video_write import CodecName, choose_encoding
from tasks.one_reading import Side, keep_small_pictures, missing_sides, read_once
from tasks.paste_patches import in_order
from tasks.types import Film, LipPatch, Reel, Shot

logger = logging.getLogger(__name__)
STEP_VERSION = 2
REEL_S = 10.0  # of a long shot's pieces; no setting: where segments are cut must not depend on the machine


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


def render_reel(
    store: ArtifactStore,
    film: Film,
    first: int,
    end: int,
    patches: Sequence[LipPatch],
    language: str,
    codec: CodecName,
    small: Sequence[Side] = (),
) -> Reel:
    """Frames [first, end) of the film with the patches pasted, as one closed-GOP segment; stored once for the same inputs.

    Patches may reach out of the range: what lies in it is used. Frames without a patch go to the encoder as they were decoded. small: of which sides
    small pictures are kept for the previews, made in the same reading. Raises InputError when the codec cannot keep the film's pixel format,
    OurTroubleError when the film cannot be read again.
    """
    encoding = choose_encoding(film, codec)
    inputs = {
        "film": film.sha256,
        "frames": (first, end),
        "patches": [(patch.patch.sha256, patch.first_frame, patch.end_frame) for patch in in_order(patches, first, end)],
        "language": language,
        "encoding": encoding.settings,
    }
    made: dict[str, Artifact] = {}

    def make() -> Reel:
        sides = missing_sides(store, film, first, end, patches, small)
        try:
            made.update(read_once(store, film, first, end, patches, encoding, sides))
        except OurTroubleError as error:
            if not sides:
                raise
            logger.warning("frames %d to %d are rendered without small pictures: %s", first, end, error)
            made.update(read_once(store, film, first, end, patches, encoding, ()))
        return Reel(language=language, first_frame=first, end_frame=end, segment=made["reel"])

    reel = store.get_or_make("render_reel", STEP_VERSION, inputs, Reel, make)
    try:
        keep_small_pictures(store, film, first, end, patches, small, made)
    except OurTroubleError as error:  # a preview never costs an episode; its own step tries again, and tells
        logger.warning("frames %d to %d have no small pictures: %s", first, end, error)
    return reel
