"""How sure a sync score is: distances window by window, and a block bootstrap over them. numpy in, numpy out."""

from typing import NamedTuple

import numpy as np

from wav2lip_core.sync_scorer import MAX_SHIFT

NUM_RESAMPLES = 200
BLOCK_WINDOWS = 10  # 0.4 s: windows overlap by four of their five frames, and a syllable is longer, so neighbours are no independent witnesses
FEWEST_BLOCKS = 4  # shorter blocks rather than fewer
_SEED = 5


class Interval(NamedTuple):
    """95 % of LSE-C at the offset that was found, and the share of resamples whose own offset lies within one frame of it."""

    low: float
    high: float
    agreement: float


def distance_rows(lips: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Distance of every window to the sound at every shift: lips (n, D), sound (n + 2 * r, D) -> float32 (n, 2 * r + 1), column k at shift k - r."""
    num_windows, num_shifts = len(lips), len(sound) - len(lips) + 1
    lips, sound = lips.astype(np.float64), sound.astype(np.float64)
    rows = np.empty((num_windows, num_shifts), np.float32)
    for k in range(num_shifts):
        rows[:, k] = np.linalg.norm(lips - sound[k : k + num_windows], axis=1)
    return rows


def weighted_curve(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean distance at each shift: rows (n, S), weights (n,) with a positive sum -> float64 (S,)."""
    return weights @ rows.astype(np.float64) / weights.sum()


def offset_of(curve: np.ndarray) -> int:
    """Where the curve is lowest, as an offset in frames; positive: the sound comes early."""
    return len(curve) // 2 - int(curve.argmin())


def middle_columns(rows: np.ndarray, shift: int = 0) -> np.ndarray:
    """The columns of rows (n, S) that a scorer would search, had the sound been moved so that the offset grows by `shift` frames."""
    middle = rows.shape[1] // 2 + shift
    if not MAX_SHIFT <= middle < rows.shape[1] - MAX_SHIFT:
        raise ValueError(f"a shift of {shift} frames lies outside {rows.shape[1]} columns")
    return rows[:, middle - MAX_SHIFT : middle + MAX_SHIFT + 1]


def bootstrap(rows: np.ndarray, weights: np.ndarray) -> Interval:
    """Resample the windows in blocks, going round at the end: rows (n, S), weights (n,) >= 0 with a positive sum. Deterministic."""
    spoken = weights > 0
    rows, weights = rows[spoken].astype(np.float64), weights[spoken].astype(np.float64)
    length = min(BLOCK_WINDOWS, max(1, len(rows) // FEWEST_BLOCKS))
    sums, totals = _blocks(rows * weights[:, None], length), _blocks(weights[:, None], length)[:, 0]
    best = int((weights @ rows).argmin())
    num_blocks = -(-len(rows) // length)
    counts = np.random.default_rng(_SEED).multinomial(num_blocks, np.full(len(rows), 1 / len(rows)), NUM_RESAMPLES)
    curves = counts @ sums / (counts @ totals)[:, None]
    low, high = np.percentile(np.median(curves, axis=1) - curves[:, best], [2.5, 97.5])
    agreement = float((np.abs(curves.argmin(axis=1) - best) <= 1).mean())
    return Interval(float(low), float(high), agreement)


def _blocks(values: np.ndarray, length: int) -> np.ndarray:
    """Sums of `length` rows from each row on, going round: (n, S) -> (n, S)."""
    total = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values, values[: length - 1]]), axis=0)
    return total[length:] - total[:-length]
