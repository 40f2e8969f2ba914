"""MFCC of any length: the right number of rows, the same rows however the work is cut, and no silent answer to the wrong kind of sound."""

import numpy as np
import pytest

from wav2lip_core import mfcc as module
from wav2lip_core.mfcc import filter_bank, mfcc


def noise(num_samples: int) -> np.ndarray:
    return np.random.default_rng(4).integers(-20000, 20000, num_samples).astype(np.int16)


@pytest.mark.parametrize(("num_samples", "num_rows"), [(1, 1), (399, 1), (400, 1), (401, 2), (560, 2), (561, 3), (48000, 299)])
def test_rows_cover_the_whole_sound_every_10_ms(num_samples: int, num_rows: int) -> None:
    found = mfcc(noise(num_samples))
    assert found.shape == (num_rows, 13)
    assert np.isfinite(found).all()


def test_the_last_row_is_padded_with_zeros_after_the_emphasis() -> None:
    wave = noise(500).astype(np.float64)
    last = (wave - 0.97 * np.r_[0, wave[:-1]])[160:]
    assert mfcc(noise(500))[1, 0] == pytest.approx(np.log((np.abs(np.fft.rfft(last, 512)) ** 2).sum() / 512), rel=1e-12)


def test_a_long_sound_worked_through_in_pieces_gives_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mfcc(noise(16000))
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(mfcc(noise(16000)), whole, rtol=1e-12)


def test_the_first_column_is_the_logarithm_of_the_frame_energy() -> None:
    impulse = np.zeros(400, np.int16)
    impulse[100] = 1000
    spectrum = np.abs(np.fft.rfft(np.r_[np.zeros(100), 1000, -970, np.zeros(410)])) ** 2 / 512
    assert mfcc(impulse)[0, 0] == pytest.approx(np.log(spectrum.sum()), rel=1e-12)


def test_digital_silence_is_finite_and_has_no_shape() -> None:
    found = mfcc(np.zeros(1600, np.int16))
    np.testing.assert_allclose(found[:, 0], np.log(np.finfo(float).eps))
    np.testing.assert_allclose(found[:, 1:], 0, atol=1e-10)


def test_filters_are_triangles_that_touch_their_neighbours_peaks() -> None:
    filters = filter_bank()
    assert filters.shape == (26, 257)
    assert (filters.max(axis=1) == 1).all()
    assert ((filters > 0).sum(axis=0) <= 2).all()


@pytest.mark.parametrize("wave", [np.zeros(800, np.float32), np.zeros((800, 2), np.int16), np.zeros(0, np.int16), np.zeros(800, np.int32)])
def test_anything_but_mono_int16_is_refused(wave: np.ndarray) -> None:
    with pytest.raises(ValueError, match=rf"mono int16 samples .* got {wave.dtype}"):
        mfcc(wave)
