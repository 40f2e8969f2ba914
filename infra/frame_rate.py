"""How the timestamps of a film run: at a constant rate (which one, exactly) or not."""

from fractions import Fraction

import numpy as np

WELL_KNOWN_RATES = tuple(
    sorted(
        [Fraction(n) for n in (5, 6, 8, 10, 12, 15, 16, 18, 20, 24, 25, 30, 48, 50, 60, 72, 90, 96, 100, 120, 240)]
        + [Fraction(n * 1000, 1001) for n in (12, 15, 24, 30, 48, 60, 96, 120, 240)]
    )
)
JITTER_FRAMES = 0.02  # a timestamp this far (in frames) from a constant rate still counts as constant
ROUNDING_UNITS = 1.05  # rounding to whole units spreads timestamps by up to one unit (Matroska: 1 ms), as long as a unit is
ROUNDING_FRAMES = 0.25  # short beside a frame


def find_rate(pts: np.ndarray, time_base: Fraction, last_duration: int, declared: Fraction | None) -> tuple[Fraction, bool]:
    """(frames per second, is_vfr) of int64 timestamps in units of time_base seconds, strictly increasing.

    A constant rate is one that explains every timestamp but for rounding (see is_constant). The rate
    that the container declares is tried first, then the well-known ones, then the measured one. Otherwise the film is VFR and the rate is its
    average, with the last frame counted as long as `last_duration` units (or as most frames, where that is 0).
    """
    if len(pts) == 1:
        known = declared or (1 / (last_duration * time_base) if last_duration else Fraction(25))
        return nearest_known(known) or known, False
    span_s = Fraction(int(pts[-1] - pts[0])) * time_base
    measured = (len(pts) - 1) / span_s
    candidates = sorted(WELL_KNOWN_RATES, key=lambda rate: abs(rate - measured))[:3]
    if declared:
        candidates.insert(0, nearest_known(declared) or declared)
    for rate in (*candidates, measured.limit_denominator(1001), measured):
        if is_constant(pts, time_base, rate):
            return rate, False
    last_s = (last_duration or int(np.median(np.diff(pts)))) * time_base
    return (len(pts) / (span_s + last_s)).limit_denominator(1_000_000), True


def is_constant(pts: np.ndarray, time_base: Fraction, rate: Fraction) -> bool:
    """Whether all timestamps follow `rate` with one common offset, but for rounding to the time base."""
    step = float(1 / (rate * time_base))  # units per frame; float64 keeps a day of film exact to 0.01 unit at any usual time base
    deviation = (pts - pts[0]).astype(np.float64) - np.arange(len(pts)) * step
    spread = deviation.max() - deviation.min()
    return bool(spread <= max(JITTER_FRAMES * step, min(ROUNDING_UNITS, ROUNDING_FRAMES * step)))


def nearest_known(rate: Fraction) -> Fraction | None:
    """The well-known rate within 1 part in 5000 of `rate` (24 and 23.976 are 1 in 1000 apart), or None."""
    nearest = min(WELL_KNOWN_RATES, key=lambda known: abs(known - rate))
    return nearest if abs(nearest - rate) <= nearest / 5000 else None
