"""How sure a sync score is: the interval narrows with evidence, is the same every time, and its agreement tells a clear offset from noise."""

import numpy as np
import pytest

from wav2lip_core.sync_interval import bootstrap, distance_rows, middle_columns, offset_of, weighted_curve
from wav2lip_core.sync_scorer import score_in_context

SPEECH = np.random.default_rng(1).standard_normal((400, 32)).astype(np.float32)


def rows_of(num_windows: int, noise: float, early: int = 0, reach: int = 15) -> np.ndarray:
    lips = SPEECH[100 : 100 + num_windows] + noise * np.random.default_rng(2).standard_normal((num_windows, 32)).astype(np.float32)
    return distance_rows(lips, SPEECH[100 - reach + early : 100 + num_windows + reach + early])


def test_the_rows_tell_what_the_scorer_tells() -> None:
    lips, sound, weights = SPEECH[100:160] * 0.9, SPEECH[83:173], np.linspace(0, 1, 60)
    curve = weighted_curve(distance_rows(lips, sound), weights)
    assert (offset_of(curve), np.median(curve) - curve.min()) == pytest.approx(score_in_context(lips, sound, weights)[::2], rel=1e-4)


def test_the_interval_holds_the_score_and_narrows_with_more_windows() -> None:
    widths = []
    for num_windows in (20, 200):
        rows, weights = rows_of(num_windows, noise=1.0), np.ones(num_windows)
        curve = weighted_curve(rows, weights)
        found = bootstrap(rows, weights)
        assert found.low <= np.median(curve) - curve.min() <= found.high
        assert found.low > 0
        widths.append(found.high - found.low)
    assert widths[1] < 0.7 * widths[0]


def test_resamples_agree_on_a_clear_offset_and_not_on_noise() -> None:
    assert bootstrap(rows_of(100, noise=0.5, early=3), np.ones(100)).agreement == 1.0
    stranger = distance_rows(SPEECH[300:340], SPEECH[85:155])
    assert bootstrap(stranger, np.ones(40)).agreement < 0.8


def test_the_same_windows_give_the_same_interval_and_silent_ones_do_not_count() -> None:
    rows, weights = rows_of(60, noise=1.0), np.ones(60)
    assert bootstrap(rows, weights) == bootstrap(rows, weights)
    spoilt = np.concatenate([rows, np.full((20, rows.shape[1]), 99.0, np.float32)])
    assert bootstrap(spoilt, np.concatenate([weights, np.zeros(20)])) == pytest.approx(bootstrap(rows, weights), rel=1e-9)


@pytest.mark.parametrize("num_windows", [1, 2, 3, 7])
def test_a_handful_of_windows_has_an_interval_too(num_windows: int) -> None:
    found = bootstrap(rows_of(num_windows, noise=0.1), np.ones(num_windows))
    assert 0 < found.low <= found.high


@pytest.mark.parametrize("planted", [-6, -1, 0, 4, 6])
def test_a_planted_offset_adds_to_the_shots_own(planted: int) -> None:
    rows = rows_of(80, noise=0.5, early=2, reach=21)
    assert offset_of(weighted_curve(middle_columns(rows, planted), np.ones(80))) == 2 + planted


def test_planting_beyond_the_known_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="7 frames"):
        middle_columns(rows_of(10, noise=1.0, reach=21), 7)
