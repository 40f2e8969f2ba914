"""Cuts a film into shots, exact to the frame: PySceneDetect's adaptive, content and fade detectors, and guards against what only looks like it."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable

import cv2
import numpy as np
from av.video.frame import VideoFrame
from scenedetect import FrameTimecode
from scenedetect.detector import SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector, ThresholdDetector

from infra.artifacts import ArtifactStore
from infra.video import FrameReader, upright_bgr
from tasks.frame_changes import BLACK_LEVEL, LOOK_BACK, WHITE_LEVEL, FrameChanges
from tasks.types import Film, Shot, ShotList

STEP_VERSION = 2
PICTURE_WIDTH = 256  # px: PySceneDetect's own working size
MIN_FADE_SHOT_FRAMES = 15
MIN_PALETTE_STEP = 0.3  # a whip pan changes every pixel but few colours (measured: pans 0.05 to 0.28, cuts as strong 0.30 to 0.99)
WIDE_WINDOW = 8  # frames on either side
MAX_RIVALS = 2  # drawings on threes and films with every picture repeated change as much again and again: they are not cut at each
NUM_MIRRORED = WIDE_WINDOW + 1
SETTLES_AFTER = 2 * WIDE_WINDOW  # frames: more than what any part of the decision looks ahead, but for fades
SETTLE_EVERY = 4  # frames


def split_shots(store: ArtifactStore, film: Film) -> tuple[Shot, ...]:
    """The film's shots in order. They partition it: the first starts at frame 0, each ends where the next starts, the last ends with the film.

    A film without a cut is one shot. A fade through black or white is one cut in its middle; dissolves are not cut.
    """
    return keep_shots(store, film, lambda: _find_cuts(store, film))


def keep_shots(store: ArtifactStore, film: Film, find: Callable[[], list[int]]) -> tuple[Shot, ...]:
    """The film's shots; find() gives the cuts where they are not stored yet."""
    inputs = {"film": film.sha256, "num_frames": film.num_frames, "rotation": film.rotation_degrees}
    return store.get_or_make("split_shots", STEP_VERSION, inputs, ShotList, lambda: ShotList(shots=shots_between(find(), film.num_frames))).shots


def cut_picture(frame: VideoFrame, width: int, rotation_degrees: int) -> np.ndarray:
    """A frame as find_cuts wants it: uint8 (H, W, 3) BGR. width: of the upright film."""
    return upright_bgr(frame, rotation_degrees, min(PICTURE_WIDTH, width), roughly=True)


def shots_between(cuts: list[int], num_frames: int) -> tuple[Shot, ...]:
    """Shots from the first frames of all shots but the first; cuts outside the film and repeated ones count for nothing."""
    starts = sorted({0, *(cut for cut in cuts if 0 < cut < num_frames)})
    return tuple(Shot(index=i, first_frame=first, end_frame=end) for i, (first, end) in enumerate(itertools.pairwise([*starts, num_frames])))


def _find_cuts(store: ArtifactStore, film: Film) -> list[int]:
    timing = store.load_arrays(film.timing)
    reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
    return find_cuts(cut_picture(frame, film.width, film.rotation_degrees) for _, frame in reader.frames(0, film.num_frames))


def find_cuts(images: Iterable[np.ndarray]) -> list[int]:
    """The first frames of all shots but the first, of a film given as uint8 (H, W, 3) BGR pictures in order. Memory does not grow with pictures."""
    finder = CutFinder()
    for image in images:
        finder.add(image)
    return finder.finish()


class CutFinder:
    """Finds a film's cuts while its pictures come: uint8 (H, W, 3) BGR in order. Memory holds a few numbers per frame.

    Adaptive detectors compare with frames on either side and would see no cut near the film's ends: they are shown NUM_MIRRORED pictures before
    and after, as in a looking glass.
    """

    def __init__(self) -> None:
        self._changes = FrameChanges()
        # PySceneDetect's defaults, for cuts that stand out from two frames on either side.
        leader = _Leading(3.0, min_scene_len=0, window_width=2, min_content_val=15.0)
        self._near = _Bench(leader, first_number=-NUM_MIRRORED)
        # For cuts between like pictures, as two takes of one speaker: weak, but alone in a calm stretch.
        weak = _FollowingAdaptive(adaptive_threshold=4.5, min_content_val=4.5, window_width=WIDE_WINDOW, min_scene_len=0)
        self._wide = _Bench(weak, first_number=-NUM_MIRRORED)
        content = _FollowingContent(threshold=27.0, min_scene_len=0)
        self._content = _Bench(content)
        weak.leader = content.leader = leader
        self._fades = _Bench(
            ThresholdDetector(threshold=BLACK_LEVEL, min_scene_len=MIN_FADE_SHOT_FRAMES),
            ThresholdDetector(threshold=WHITE_LEVEL, min_scene_len=MIN_FADE_SHOT_FRAMES, method=ThresholdDetector.Method.CEILING),
        )
        self._head: list[np.ndarray] | None = []  # until there are enough to mirror
        self._tail: deque[np.ndarray] = deque(maxlen=NUM_MIRRORED + 1)
        self._num_settled = 0
        self._extreme_since: int | None = None

    def add(self, image: np.ndarray) -> None:
        if self._head is None:
            self._show(image)
            return
        self._head.append(image)
        if len(self._head) > NUM_MIRRORED:
            self._begin(self._head)

    def settled(self) -> list[int]:
        """The cuts that were told from all others since the last call: what comes later hardly ever changes them. finish() has the last word."""
        num_seen = len(self._changes)
        if num_seen == 0:
            return []
        if not self._changes.is_extreme(num_seen - 1):
            self._extreme_since = None
        elif self._extreme_since is None:
            self._extreme_since = num_seen - 1
        end = num_seen - SETTLES_AFTER if self._extreme_since is None else min(num_seen - SETTLES_AFTER, self._extreme_since)
        if end < self._num_settled + SETTLE_EVERY:
            return []
        cuts = [cut for cut in self._cuts(self._num_settled - SETTLES_AFTER, end) if cut >= self._num_settled]
        self._num_settled = end
        return cuts

    def finish(self) -> list[int]:
        """No picture is to come: the first frames of all shots but the first."""
        if self._head:
            self._begin(self._head)
        for n in range(1, NUM_MIRRORED + 1 if self._tail else 0):
            image = self._tail[max(-1 - n, -len(self._tail))]
            self._near.add(image)
            self._wide.add(image)
        return self._cuts(0, len(self._changes))

    def _begin(self, head: list[np.ndarray]) -> None:
        for n in range(NUM_MIRRORED, 0, -1):
            image = head[min(n, len(head) - 1)]
            self._near.add(image)
            self._wide.add(image)
        for image in head:
            self._show(image)
        self._head = None

    def _show(self, image: np.ndarray) -> None:
        self._tail.append(image)
        for bench in (self._near, self._wide, self._content):
            bench.add(image)
        self._fades.add(np.array([sum(cv2.sumElems(image)) / image.size]))  # their mean is all that fades are told from
        self._changes.add(image)

    def _cuts(self, first: int, end: int) -> list[int]:
        """The cuts among frames [first, end), as far as they can be told by now."""
        changes, here = self._changes, range(max(1, first), min(end, len(self._changes)))
        sudden = {n for n in self._near.cuts | self._content.cuts if n in here and changes.palette_step(n) >= MIN_PALETTE_STEP}
        alone = {n for n in self._near.cuts | self._wide.cuts if n in here and changes.num_rivals(n, WIDE_WINDOW) <= MAX_RIVALS}
        hard_cuts = [n for n in sorted(sudden | alone) if _is_cut(changes, n)]
        hard_cuts = _without_blends(changes, _without_flashes(changes, hard_cuts))
        fades = {n for n in self._fades.cuts if first <= n < end or end == len(changes)}
        return sorted({*hard_cuts, *(n for n in fades if _is_fade(changes, n, hard_cuts))})


class _Leading(AdaptiveDetector):
    """PySceneDetect's AdaptiveDetector: its measure of change, weighing hue, saturation and brightness alike, is summed by OpenCV here."""

    _last: np.ndarray | None = None

    def _calculate_frame_score(self, _timecode: FrameTimecode, frame_img: np.ndarray) -> float:
        hsv, last = cv2.cvtColor(frame_img, cv2.COLOR_BGR2HSV), self._last
        self._last = hsv
        return 0.0 if last is None else cv2.norm(hsv, last, cv2.NORM_L1) / hsv.size


class _Following:
    """Mixed into PySceneDetect's detectors of change: it takes over what the leader, shown each picture just before, has measured of it."""

    leader: ContentDetector

    def _calculate_frame_score(self, *_: object) -> float:
        return self.leader._frame_score or 0.0


class _FollowingAdaptive(_Following, AdaptiveDetector):
    """PySceneDetect's AdaptiveDetector with a leader."""


class _FollowingContent(_Following, ContentDetector):
    """PySceneDetect's ContentDetector with a leader."""


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
