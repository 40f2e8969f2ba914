"""A frame rate is known as an exact fraction, or is said to vary."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.frame_rate import find_rate


@pytest.mark.parametrize("rate", ["24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60", "120000/1001", "15"])
@pytest.mark.parametrize("time_base", ["1/1000", "1/90000", "1/12800", "1/1000000000"])
def test_a_constant_rate_is_known_exactly_through_any_rounding(rate, time_base):
    rate, time_base = Fraction(rate), Fraction(time_base)
    for num_frames in (2, 50, 5000):
        pts = np.array([round(n / rate / time_base) for n in range(num_frames)], np.int64)
        assert find_rate(pts, time_base, 0, rate) == (rate, False)
    assert find_rate(pts, time_base, 0, None) == (rate, False)


@settings(max_examples=50, deadline=None)
@given(drop=st.integers(1, 98), rate=st.sampled_from([Fraction(25), Fraction(24000, 1001), Fraction(50)]))
def test_one_dropped_frame_makes_the_rate_variable(drop, rate):
    time_base = Fraction(1, 1000)
    pts = np.array([round(n / rate / time_base) for n in range(100) if n != drop], np.int64)
    fps, is_vfr = find_rate(pts, time_base, 0, rate)
    assert is_vfr
    assert abs(float(len(pts) / fps) - float(100 / rate)) < 0.002  # the average keeps the film's length


def test_an_odd_but_steady_rate_is_constant():
    pts = np.arange(300, dtype=np.int64) * 7
    assert find_rate(pts, Fraction(1, 90), 7, None) == (Fraction(90, 7), False)
