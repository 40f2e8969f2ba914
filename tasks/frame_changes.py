"""Measures, frame by frame, how a picture differs from those just before it: tells light changes, flashes and blended frames from cuts."""

from array import array
from collections import deque

import cv2
import numpy as np

THUMBNAIL = (64, 36)  # width, height in pixels: small enough to be blind to grain
LOOK_BACK = 4  # frames: the longest flash, plus one
EVEN_DEVIATION = 6.0  # grey levels: a picture with less is one even tone
BLACK_LEVEL, WHITE_LEVEL = 12.0, 243.0  # mean grey levels below and above which a picture is nearly black or white: the end of a fade
PURE_MARGIN = 6.0  # grey levels from black or white within which a fade must arrive; a night scene does not


class FrameChanges:
    """Numbers on every frame added, a few bytes each; memory holds LOOK_BACK + 1 thumbnails. Pictures are uint8 (H, W, 3) BGR, in order."""

    def __init__(self) -> None:
        self._thumbnails: deque[np.ndarray] = deque(maxlen=LOOK_BACK + 1)
        self._histogram: np.ndarray | None = None
        self._level, self._deviation = array("f"), array("f")
        self._palette_step = array("f")
        self._step = [array("f") for _ in range(LOOK_BACK)]
        self._likeness, self._relit = array("f"), array("f")
        self._blended = array("f")

    def __len__(self) -> int:
        return len(self._level)

    def add(self, image_bgr: np.ndarray) -> None:
        thumbnail = cv2.resize(image_bgr, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        past = [*self._thumbnails][::-1]
        self._level.append(float(thumbnail.mean()))
        self._deviation.append(float(cv2.meanStdDev(thumbnail)[1].max()))
        for back, steps in enumerate(self._step):
            steps.append(_mean_difference(thumbnail, past[back]) if back < len(past) else 0.0)
        self._likeness.append(_likeness(past[0], thumbnail) if past else 1.0)
        self._relit.append(_relit_residue(past[0], thumbnail) if past else 0.0)
        self._blended.append(_blend_residue(past[1], past[0], thumbnail) if len(past) > 1 else 1.0)
        histogram = _palette(image_bgr)
        self._palette_step.append(0.0 if self._histogram is None else cv2.compareHist(self._histogram, histogram, cv2.HISTCMP_BHATTACHARYYA))
        self._histogram = histogram
        self._thumbnails.append(thumbnail)

    def step(self, n: int, back: int = 1) -> float:
        """Mean difference in grey levels between frames n and n - back, for back in 1..LOOK_BACK."""
        return self._step[back - 1][n]

    def palette_step(self, n: int) -> float:
        """Distance of the colour histograms of frames n - 1 and n: 0 same colours (a camera move), 1 none in common (Bhattacharyya)."""
        return self._palette_step[n]

    def is_blank(self, n: int) -> bool:
        """One even tone that is black or white."""
        return self._deviation[n] < EVEN_DEVIATION and not PURE_MARGIN <= self._level[n] <= 255 - PURE_MARGIN

    def is_fade_end(self, n: int) -> bool:
        """Between frames n - 1 and n a fade arrives at black or white, or leaves it: the step is no larger than its neighbour within the fade."""
        arrives = n > 1 and self.is_blank(n) and self.step(n) < 2 * self.step(n - 1)
        leaves = n + 1 < len(self) and self.is_blank(n - 1) and self.step(n) < 2 * self.step(n + 1)
        return arrives or leaves

    def blank_run(self, n: int) -> tuple[int, int]:
        """The half-open range of frames around n that are, on average, as dark as black or as light as white; [n, n) if n is not."""
        first = end = n
        while first > 0 and self.is_extreme(first - 1):
            first -= 1
        while end < len(self) and self.is_extreme(end):
            end += 1
        return first, end

    def is_extreme(self, n: int) -> bool:
        """On average as dark as black or as light as white."""
        return not BLACK_LEVEL <= self._level[n] < WHITE_LEVEL

    def is_light_change(self, n: int) -> bool:
        """Frame n is frame n - 1 in another light: brighter, darker, more or less contrast, the same picture."""
        is_even = min(self._deviation[n - 1], self._deviation[n]) < EVEN_DEVIATION
        return not is_even and self._likeness[n] > 0.9 and self._relit[n] < 0.4

    def is_blend(self, n: int) -> bool:
        """Frame n is a mixture of frames n - 1 and n + 1, as rate converters and interlaced cuts make it."""
        return n + 1 < len(self) and self._blended[n + 1] < 0.25

    def is_flash(self, first: int, end: int) -> bool:
        """Frames [first, end) are empty, or the same picture much lighter or darker, and what was seen before is seen again after them."""
        if end - first >= LOOK_BACK or first < 1 or end >= len(self):
            return False
        if self.step(end, end - first + 1) >= 0.2 * min(self.step(first), self.step(end)):
            return False
        shift = min(abs(self._level[n] - self._level[first - 1]) for n in range(first, end))
        is_relit = self._likeness[first] > 0.5 and shift > 0.5 * self.step(first)
        return is_relit or self._deviation[first] < EVEN_DEVIATION

    def num_rivals(self, n: int, window: int) -> float:
        """How many of the `window` frames on either side of n change at least half as much as n does; near the ends, in proportion."""
        others = np.delete(np.asarray(self._step[0])[max(0, n - window) : n + window + 1], min(n, window))
        return 2 * window * float((others >= 0.5 * self.step(n)).mean()) if len(others) else 0.0


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two pictures: 1 same structure in any light, 0 nothing in common."""
    a, b = a - a.mean(), b - b.mean()
    power = float((a * a).sum()) * float((b * b).sum())
    return float((a * b).sum()) / power**0.5 if power > 0 else 0.0


def _mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return cv2.norm(a, b, cv2.NORM_L1) / a.size


def _relit_residue(before: np.ndarray, after: np.ndarray) -> float:
    """What remains of the difference when `before` may be given another gain and offset, the same for all colours: 0 none of it, 1 all."""
    difference = _mean_difference(before, after)
    before, after = before - before.mean(), after - after.mean()
    spread = float((before * before).mean())
    if difference < 1 or spread == 0:
        return 1.0
    return _mean_difference(before * (float((before * after).mean()) / spread), after) / difference


def _blend_residue(before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> float:
    """What remains of `middle` when the best mixture of its neighbours is taken off, as a share of the neighbours' difference. 1 where one neighbour
    alone explains it."""
    across = after - before
    power = float((across * across).mean())
    if power < 1:
        return 1.0
    share = float(((middle - before) * across).mean()) / power
    if not 0.2 <= share <= 0.8:
        return 1.0
    return _mean_difference(before + share * across, middle) / _mean_difference(before, after)


def _palette(image_bgr: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2HSV)
    histogram = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 8], [0, 180, 0, 256, 0, 256])
    return histogram / histogram.sum()
