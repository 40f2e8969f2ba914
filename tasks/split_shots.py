"""Cuts a film into shots, exact to the frame: PySceneDetect's adaptive, content and fade detectors, and guards against what only looks like it."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detector import SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector, ThresholdDetector

from infra.artifacts import ArtifactStore
from infra.video import FrameReader
from tasks.frame_changes import BLACK_LEVEL, LOOK_BACK, WHITE_LEVEL, FrameChanges
from tasks.types import Film, Shot, ShotList

STEP_VERSION = 1
PICTURE_WIDTH = 256  # px: PySceneDetect's own working size
MIN_FADE_SHOT_FRAMES = 15
MIN_PALETTE_STEP = 0.3  # a whip pan changes every pixel but few colours (measured: pans 0.05 to 0.28, cuts as strong 0.30 to 0.99)
WIDE_WINDOW = 8  # frames on either side
MAX_RIVALS = 2  # drawings on threes and films with every picture repeated change as much again and again: they are not cut at each
NUM_MIRRORED = WIDE_WINDOW + 1


def split_shots(store: ArtifactStore, film: Film) -> tuple[Shot, ...]:
    """The film's shots in order. They partition it: the first starts at frame 0, each ends where the next starts, the last ends with the film.

    A film without a cut is one shot. A fade through black or white is one cut in its middle; dissolves are not cut.
    """
    inputs = {"film": film.sha256, "num_frames": film.num_frames, "rotation": film.rotation_degrees}

    def make() -> ShotList:
        return ShotList(shots=shots_between(_find_cuts(store, film), film.num_frames))

    return store.get_or_make("split_shots", STEP_VERSION, inputs, ShotList, make).shots


def shots_between(cuts: list[int], num_frames: int) -> tuple[Shot, ...]:
    """Shots from the first frames of all shots but the first; cuts outside the film and repeated ones count for nothing."""
    starts = sorted({0, *(cut for cut in cuts if 0 < cut < num_frames)})
    return tuple(Shot(index=i, first_frame=first, end_frame=end) for i, (first, end) in enumerate(itertools.pairwise([*starts, num_frames])))


def _find_cuts(store: ArtifactStore, film: Film) -> list[int]:
    timing = store.load_arrays(film.timing)
    reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
    return find_cuts(image for _, image in reader.pictures(0, film.num_frames, width=min(PICTURE_WIDTH, film.width)))


def find_cuts(images: Iterable[np.ndarray]) -> list[int]:
    """The first frames of all shots but the first, of a film given as uint8 (H, W, 3) BGR pictures in order. Memory does not grow with pictures."""
    changes = FrameChanges()
    # PySceneDetect's defaults, for cuts that stand out from two frames on either side.
    near = _Bench(AdaptiveDetector(3.0, min_scene_len=0, window_width=2, min_content_val=15.0), first_number=-NUM_MIRRORED)
    # For cuts between like pictures, as two takes of one speaker: weak, but alone in a calm stretch.
    wide = _Bench(
        AdaptiveDetector(adaptive_threshold=4.5, min_content_val=4.5, window_width=WIDE_WINDOW, min_scene_len=0), first_number=-NUM_MIRRORED
    )
    content = _Bench(ContentDetector(threshold=27.0, min_scene_len=0))
    fades = _Bench(
        ThresholdDetector(threshold=BLACK_LEVEL, min_scene_len=MIN_FADE_SHOT_FRAMES),
        ThresholdDetector(threshold=WHITE_LEVEL, min_scene_len=MIN_FADE_SHOT_FRAMES, method=ThresholdDetector.Method.CEILING),
    )
    for image, is_film in _with_mirrored_ends(images):
        near.add(image)
        wide.add(image)
        if is_film:
            content.add(image)
            fades.add(image)
            changes.add(image)
    recoloured = {n for n in near.cuts | content.cuts if 0 < n < len(changes) and changes.palette_step(n) >= MIN_PALETTE_STEP}
    alone = {n for n in near.cuts | wide.cuts if 0 < n < len(changes) and changes.num_rivals(n, WIDE_WINDOW) <= MAX_RIVALS}
    hard_cuts = [n for n in sorted(recoloured | alone) if _is_cut(changes, n)]
    hard_cuts = _without_blends(changes, _without_flashes(changes, hard_cuts))
    return sorted({*hard_cuts, *(n for n in fades.cuts if _is_fade(changes, n, hard_cuts))})


class _Bench:
    """PySceneDetect detectors fed side by side; cuts are collected as frame numbers of the film."""

    def __init__(self, *detectors: SceneDetector, first_number: int = 0) -> None:
        self.cuts: set[int] = set()
        self._detectors, self._first_number, self._num_shown = detectors, first_number, 0

    def add(self, image_bgr: np.ndarray) -> None:
        timecode = FrameTimecode(self._num_shown, fps=1.0)  # frames are only counted: this rate stands for nothing
        for detector in self._detectors:
            self.cuts.update(cut.frame_num + self._first_number for cut in detector.process_frame(timecode, image_bgr))
        self._num_shown += 1


def _with_mirrored_ends(images: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """(picture, is it the film's) with NUM_MIRRORED pictures before and after, as in a looking glass: adaptive detectors compare with
    frames on either side, and would see no cut near the film's ends."""
    images = iter(images)
    head = list(itertools.islice(images, NUM_MIRRORED + 1))
    if not head:
        return
    for n in range(NUM_MIRRORED, 0, -1):
        yield head[min(n, len(head) - 1)], False
    tail = deque(head, maxlen=NUM_MIRRORED + 1)
    for image in head:
        yield image, True
    for image in images:
        tail.append(image)
        yield image, True
    for n in range(1, NUM_MIRRORED + 1):
        yield tail[max(-1 - n, -len(tail))], False


def _is_cut(changes: FrameChanges, n: int) -> bool:
    """False for a change of light, and for the last step of a fade out or the first of a fade in."""
    return 0 < n < len(changes) and not changes.is_light_change(n) and not changes.is_fade_end(n)


def _without_flashes(changes: FrameChanges, cuts: list[int]) -> list[int]:
    lengths = range(1, LOOK_BACK)
    return [n for n in cuts if not any(changes.is_flash(n, n + length) or changes.is_flash(n - length, n) for length in lengths)]


def _without_blends(changes: FrameChanges, cuts: list[int]) -> list[int]:
    """Of two cuts around one frame that mixes its neighbours, the larger."""
    kept = set(cuts)
    for n, following in itertools.pairwise(cuts):
        if following == n + 1 and changes.is_blend(n):
            kept.discard(n if changes.step(n) < changes.step(following) else following)
    return sorted(kept)


def _is_fade(changes: FrameChanges, n: int, hard_cuts: list[int]) -> bool:
    """A fade through real black or white inside the film, no mere flash, that no hard cut bounds already."""
    first, end = changes.blank_run(n)
    if first == 0 or end == len(changes) or changes.is_flash(first, end) or not any(changes.is_blank(i) for i in range(first, end)):
        return False
    return not any(first - 2 <= cut <= end + 2 for cut in hard_cuts)
