"""Which crops show the same face, told from its upper half: directions of edges, and colour. For faces of one film; no trained descriptor.

The lower half moves with speech and is what gets repainted, so it has no part in this. numpy in, numpy out.
"""

import cv2
import numpy as np

ROWS = slice(8, 56)  # of a 96 x 96 canonical crop: from the hairline to under the eyes
COLUMNS = slice(8, 88)
CELL = 8
NUM_DIRECTIONS = 8
COLOUR_WEIGHT = 0.5  # of the whole length


def looks(crops: np.ndarray) -> np.ndarray:
    """What a face looks like over crops uint8 (n, 96, 96, 3) BGR, n >= 1: float32 (D,), length 1."""
    shape = np.mean([_directions(crop) for crop in crops], axis=0)
    colour = np.mean([_colours(crop) for crop in crops], axis=0)
    both = np.concatenate([np.sqrt(1 - COLOUR_WEIGHT) * _unit(shape - shape.mean()), np.sqrt(COLOUR_WEIGHT) * _unit(colour)])
    return _unit(both).astype(np.float32)


def group(all_looks: np.ndarray, least: float) -> list[int]:
    """The person of each face: looks (n, D) -> n numbers from 0, in order of first appearance. Two faces are one person's when their groups'
    mean likeness (cosine) is at least `least`; the likeliest are joined first."""
    groups = [[i] for i in range(len(all_looks))]
    likeness = all_looks @ all_looks.T
    while len(groups) > 1:
        pairs = [(float(likeness[np.ix_(a, b)].mean()), i, j) for i, a in enumerate(groups) for j, b in enumerate(groups) if i < j]
        best, i, j = max(pairs)
        if best < least:
            break
        groups[i] += groups.pop(j)
    person = {face: number for number, members in enumerate(sorted(groups, key=min)) for face in members}
    return [person[face] for face in range(len(all_looks))]


def _directions(crop: np.ndarray) -> np.ndarray:
    """Histograms of edge directions in cells of 8 x 8 pixels, each of length 1, float64."""
    grey = cv2.GaussianBlur(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (0, 0), 1.0).astype(np.float64)[ROWS, COLUMNS]
    dy, dx = np.gradient(grey)
    direction = np.floor((np.arctan2(dy, dx) % np.pi) / np.pi * NUM_DIRECTIONS).astype(int) % NUM_DIRECTIONS
    strength = np.hypot(dx, dy)
    height, width = grey.shape
    cell = (np.arange(height)[:, None] // CELL) * (width // CELL) + np.arange(width)[None] // CELL
    num_cells = (height // CELL) * (width // CELL)
    counts = np.bincount((cell * NUM_DIRECTIONS + direction).ravel(), strength.ravel(), num_cells * NUM_DIRECTIONS)
    cells = counts.reshape(num_cells, NUM_DIRECTIONS)
    return (cells / (np.linalg.norm(cells, axis=1, keepdims=True) + 20.0)).ravel()


def _colours(crop: np.ndarray) -> np.ndarray:
    """Lightness and colour of a coarse mosaic, float64, in units in which an unlike face is about 1 away."""
    mosaic = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2LAB)[ROWS, COLUMNS], (5, 3), interpolation=cv2.INTER_AREA).astype(np.float64)
    return ((mosaic - 128.0) * (0.5, 2.0, 2.0)).ravel()


def _unit(values: np.ndarray) -> np.ndarray:
    return values / max(float(np.linalg.norm(values)), 1e-9)


def lower_looks(crops: np.ndarray) -> np.ndarray:
    """The same of the lower half, averaged over frames so that single mouth shapes count little: uint8 (n, 96, 96, 3) -> float32 (D,), length 1."""
    mean = crops.astype(np.float32).mean(axis=0).round().astype(np.uint8)
    return looks(np.roll(mean, -40, axis=0)[None])  # rows 48 to 96 come to stand where `looks` looks
