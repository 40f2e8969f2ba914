"""Both ways of face_crop in a film's own planes: the crop out of them, the generated face back into them, with no picture in colours in between.

Each plane is shrunk to the network's size; what changes there is enlarged to the plane's own samples, chroma at its own size. Both ways are products
with small matrices, so that a box may lie anywhere among chroma samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from wav2lip_core.face_crop import DETAIL_TOLERANCE, match_colour, mouth, pixel_rect

MARGIN = 4  # rows of the network's picture above the mouth that still reach into it, through blur and enlargement
CUBIC = -0.75  # OpenCV's cubic kernel


@dataclass(frozen=True)
class Plane:
    """One plane of an upright picture: sample (i, j) covers picture rows [i * rows - above, (i + 1) * rows - above), and columns likewise.

    samples: uint8 or uint16 (rows, columns), a writable view; it may be turned.
    """

    samples: np.ndarray
    rows: int = 1
    columns: int = 1
    above: int = 0
    left: int = 0


@dataclass(frozen=True)
class Colours:
    """What samples mean: levels of the planes = matrix (planes, 3) @ BGR levels of 0..255 + offset (planes,).

    to_bgr: (3, planes), the change in BGR that a change in the planes is; of gray, the same in each.
    """

    matrix: np.ndarray
    offset: np.ndarray
    to_bgr: np.ndarray

    def seen(self, levels: np.ndarray) -> np.ndarray:
        """uint8 (h, w, 3) BGR of float32 (planes, h, w)."""
        picture = self.to_bgr @ (levels.reshape(len(levels), -1) - self.offset[:, None])
        return np.clip(np.rint(picture.T), 0, 255).astype(np.uint8).reshape(*levels.shape[1:], 3)

    def of(self, picture_bgr: np.ndarray) -> np.ndarray:
        """float32 (planes, h, w) of a uint8 (h, w, 3) BGR picture."""
        levels = self.matrix @ picture_bgr.reshape(-1, 3).T.astype(np.float32) + self.offset[:, None]
        return levels.reshape(len(self.matrix), *picture_bgr.shape[:2])


@dataclass(frozen=True)
class Change:
    """What to add to a plane's samples from (top, left) on: float32 (h, w) in levels of the plane, exactly 0 outside the mouth."""

    top: int
    left: int
    levels: np.ndarray


@dataclass(frozen=True)
class _Place:
    """Where a face goes: its box in whole pixels, the part of it that holds the mouth and is on the picture (both x0, y0, x1, y1), the network's
    size, and the first of the network's rows that matters."""

    box: tuple[int, int, int, int]
    inside: tuple[int, int, int, int]
    size: int
    begin: int


@dataclass(frozen=True)
class _Axis:
    """One side of a box among a plane's samples of `step` pixels each: it starts `phase` pixels into sample `first`."""

    first: int
    phase: int
    step: int
    length: int


def plane_crop(planes: Sequence[Plane], colours: Colours, box: np.ndarray, size: int = 96) -> np.ndarray:
    """Canonical face crop: uint8 (size, size, 3) BGR; to within rounding what face_crop.crop cuts from the picture in colours."""
    rect = pixel_rect(box)
    place = _Place(rect, rect, size, 0)
    return colours.seen(np.stack([_shrunk(plane, place) for plane in planes]))


def plane_changes(planes: Sequence[Plane], colours: Colours, box: np.ndarray, face: np.ndarray) -> list[Change]:
    """What to add to each plane so that the film's mouth becomes the generated one; nothing for a mouth off the picture.

    planes: of one upright picture, the first of its full size. box: canonical (4,). face: generated uint8 (S, S, 3) BGR for that box.
    A chroma sample changes only if one of the pixels that it covers does.
    """
    place = _place_of(box, planes[0].samples.shape, len(face))
    if place is None:
        return []
    small = np.stack([_shrunk(plane, place) for plane in planes])
    change = match_colour((colours.of(face[place.begin :]) - small).transpose(1, 2, 0)).transpose(2, 0, 1)
    amount = _amount(change, colours, place)
    return [_change(plane, place, np.stack([change[index], small[index], amount])) for index, plane in enumerate(planes)]


def _place_of(box: np.ndarray, shape: tuple[int, ...], size: int) -> _Place | None:
    x0, y0, x1, y1 = pixel_rect(box)
    (top, bottom, left, right), _ = mouth(x1 - x0, y1 - y0)
    inside = (max(x0 + left, 0), max(y0 + top, 0), min(x0 + right, shape[1]), min(y0 + bottom, shape[0]))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None
    return _Place((x0, y0, x1, y1), inside, size, max(0, top * size // (y1 - y0) - MARGIN))


def _axes(plane: Plane, place: _Place) -> tuple[_Axis, _Axis]:
    """(down, across) of the box in this plane."""
    x0, y0, x1, y1 = place.box
    rows, columns = divmod(y0 + plane.above, plane.rows), divmod(x0 + plane.left, plane.columns)
    return _Axis(*rows, plane.rows, y1 - y0), _Axis(*columns, plane.columns, x1 - x0)


def _shrunk(plane: Plane, place: _Place) -> np.ndarray:
    """The box at the network's size, from the row on that matters: float32 (size - begin, size), levels of the plane."""
    down, across = _axes(plane, place)
    (top, by_row), (left, by_column) = (
        _shrinking(axis.length, axis.phase, axis.step, place.size, begin) for axis, begin in ((down, place.begin), (across, 0))
    )
    samples = _samples_at(plane.samples, down.first + top, across.first + left, by_row.shape[1], by_column.shape[1])
    return by_row @ samples.astype(np.float32) @ by_column.T


def _samples_at(samples: np.ndarray, top: int, left: int, num_rows: int, num_columns: int) -> np.ndarray:
    """A part of a plane; where it leaves the picture the border is repeated."""
    if top >= 0 and left >= 0 and top + num_rows <= samples.shape[0] and left + num_columns <= samples.shape[1]:
        return samples[top : top + num_rows, left : left + num_columns]
    rows = np.clip(np.arange(top, top + num_rows), 0, samples.shape[0] - 1)
    columns = np.clip(np.arange(left, left + num_columns), 0, samples.shape[1] - 1)
    return samples[rows[:, None], columns]


def _amount(change: np.ndarray, colours: Colours, place: _Place) -> np.ndarray:
    """How much each place changes: the largest of the three colours' changes in levels of 0..255, softened; float32 (size - begin, size)."""
    x0, y0, x1, y1 = place.box
    by_colour = np.abs(colours.to_bgr @ change.reshape(len(change), -1))
    sigma = max(1.0, (x1 - x0) / place.size)  # pixels
    largest = by_colour.max(axis=0).reshape(change.shape[1:])
    return cv2.GaussianBlur(largest, (0, 0), sigma * place.size / (x1 - x0), sigmaY=sigma * place.size / (y1 - y0))


def _change(plane: Plane, place: _Place, small: np.ndarray) -> Change:
    """small (3, size - begin, size): change and film in levels of the plane, and amount.

    As in face_crop.paste_delta the film's own fine detail gives way where the change is large.
    """
    down, across = _axes(plane, place)
    x0, y0, x1, y1 = place.inside
    top, bottom = (y0 + plane.above) // plane.rows, -(-(y1 + plane.above) // plane.rows)
    left, right = (x0 + plane.left) // plane.columns, -(-(x1 + plane.left) // plane.columns)
    by_row = _enlarging(down.length, down.phase, down.step, place.size, place.begin, top - down.first, bottom - down.first)
    by_column = _enlarging(across.length, across.phase, across.step, place.size, 0, left - across.first, right - across.first)
    change, film, amount = by_row @ (small.reshape(-1, place.size) @ by_column.T).reshape(3, -1, right - left)
    detail = np.subtract(plane.samples[top:bottom, left:right], film, out=film)
    amount *= amount
    amount *= -1 / DETAIL_TOLERANCE**2
    share = np.subtract(1, np.exp(amount, out=amount), out=amount)
    detail *= share
    change -= detail
    change *= _mask(plane, place, bottom - top, right - left)
    return Change(top, left, change)


def _mask(plane: Plane, place: _Place, num_rows: int, num_columns: int) -> np.ndarray:
    """How much of each sample may change: the mouth's mask, of the pixels that a sample covers their mean."""
    (left, top, right, bottom), (x0, y0, x1, y1) = place.box, place.inside
    above, before = (y0 + plane.above) % plane.rows, (x0 + plane.left) % plane.columns
    return _sample_mask(
        (right - left, bottom - top),
        (y0 - top, y1 - top, x0 - left, x1 - left),
        (above, num_rows, plane.rows),
        (before, num_columns, plane.columns),
    )


@lru_cache(maxsize=12)  # of a 4K close-up one takes 4 MB
def _sample_mask(box: tuple[int, int], part: tuple[int, int, int, int], down: tuple[int, int, int], across: tuple[int, int, int]) -> np.ndarray:
    """box: (width, height); part: its rows and columns (top, bottom, left, right) that may change; for each axis: how many pixels of the first sample
    lie before the part, how many samples, how many pixels to a sample."""
    (top, _, left, _), mask = mouth(*box)
    (above, num_rows, rows), (before, num_columns, columns) = down, across
    wide = np.zeros((num_rows * rows, num_columns * columns), np.float32)
    there = mask[part[0] - top : part[1] - top, part[2] - left : part[3] - left]
    wide[above : above + there.shape[0], before : before + there.shape[1]] = there
    total = wide[::rows, ::columns].copy()
    for row, column in [(row, column) for row in range(rows) for column in range(columns)][1:]:
        total += wide[row::rows, column::columns]
    return total / np.float32(rows * columns)


@lru_cache(maxsize=64)
def _shrinking(length: int, phase: int, step: int, size: int, begin: int) -> tuple[int, np.ndarray]:
    """(first sample, weights (size - begin, samples)) that make the network's rows out of a plane's samples, counted from the box's first one: means
    over what each row covers, or between samples where there are fewer of them than rows."""
    scale = length / size / step  # samples to a row
    edges = phase / step + np.arange(begin, size + 1) * scale
    if scale < 1:
        places = (edges[:-1] + edges[1:]) / 2 - 0.5
        first = int(np.floor(places[0])) - 1
        return first, _cubic(places - first, int(places[-1]) + 3 - first)
    first, end = int(edges[0]), int(np.ceil(edges[-1]))
    samples = np.arange(first, end)
    covered = np.minimum(edges[1:, None], samples + 1) - np.maximum(edges[:-1, None], samples)
    return first, (np.clip(covered, 0, None) / scale).astype(np.float32)


@lru_cache(maxsize=64)
def _enlarging(length: int, phase: int, step: int, size: int, begin: int, first: int, end: int) -> np.ndarray:
    """Weights (end - first, size - begin) that make a plane's samples [first, end), counted from the box's first one, out of the network's rows."""
    places = ((np.arange(first, end) + 0.5) * step - phase) * size / length - 0.5 - begin
    return _cubic(places, size - begin)


def _cubic(places: np.ndarray, num_samples: int) -> np.ndarray:
    """Weights (places, samples) of cubic interpolation at these places; beyond the first and the last sample are more of the same."""
    weights, whole = np.zeros((len(places), num_samples), np.float32), np.floor(places).astype(int)
    rows, part = np.arange(len(places)), places - whole
    before, after = 1 + part, 2 - part
    outer = [CUBIC * (((far - 5) * far + 8) * far - 4) for far in (before, after)]
    inner = [((CUBIC + 2) * far - (CUBIC + 3)) * far * far + 1 for far in (part, 1 - part)]
    for offset, share in zip((-1, 0, 1, 2), (outer[0], *inner, outer[1]), strict=True):
        weights[rows, np.clip(whole + offset, 0, num_samples - 1)] += share
    return weights
