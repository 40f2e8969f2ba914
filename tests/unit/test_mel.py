"""Mel features: silence, stretches, and windows at any frame rate."""

import numpy as np
import pytest

from wav2lip_core.mel import SILENCE, first_columns, log_mel, log_mel_columns, windows_at, windows_from


def _noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(16000 * seconds)) * 0.1).astype(np.float32)


def test_digital_silence_is_minus_four_and_nothing_is_nan() -> None:
    assert (log_mel(np.zeros(16000, np.float32)) == SILENCE).all()


@pytest.mark.parametrize("num_samples", [0, 1, 399, 400, 401, 3199])
def test_a_sound_shorter_than_a_window_still_gives_windows(num_samples: int) -> None:
    mel = log_mel(_noise(1)[:num_samples])
    assert mel.shape == (80, 1 + num_samples // 200)
    windows = windows_at(mel, np.array([0.0, 0.04]))
    assert windows.shape == (2, 80, 16)
    assert np.isfinite(windows).all()


@pytest.mark.parametrize("bad", [np.zeros((2, 100), np.float32), np.array([0.0, np.nan], np.float32)])
def test_stereo_and_nan_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"mono|NaN"):
        log_mel(bad)


@pytest.mark.parametrize(("first", "end"), [(0, 80), (-20, 30), (4700, 5100), (5580, 5620)])
def test_a_stretch_of_a_long_sound_equals_the_same_stretch_of_the_whole(first: int, end: int) -> None:
    wave = _noise(70)
    whole = log_mel(wave)
    part = log_mel_columns(wave, first, end)
    padded = np.pad(whole, ((0, 0), (100, 100)), constant_values=SILENCE)[:, first + 100 : end + 100]
    assert np.abs(part - padded).max() < 1e-5


@pytest.mark.parametrize("fps", [23.976, 24, 25, 29.97, 50, 60])
def test_windows_start_where_the_published_inference_starts_them(fps: float) -> None:
    frames = np.arange(200)
    assert first_columns(frames / fps).tolist() == [int(i * (80.0 / fps) + 1e-6) for i in frames]


def test_windows_from_the_waveform_are_the_windows_of_its_mel() -> None:
    wave, times = _noise(4), np.array([-0.3, 0.0, 0.5, 1.237, 3.7, 3.99, 4.5])
    assert np.abs(windows_from(wave, times) - windows_at(log_mel(wave), times)).max() < 1e-5


def test_chunk_starts_are_those_of_the_published_code(shared) -> None:
    reference = np.load(shared / "fixtures" / "reference_audio.npz")
    names = [name for name in reference.files if name.startswith("chunk_starts_fps")]
    assert names
    for name in names:
        fps = float(name.removeprefix("chunk_starts_fps").replace("_", "."))
        ours = first_columns(np.arange(len(reference[name])) / fps)
        assert ours[:-1].tolist() == reference[name][:-1].tolist()  # the last published chunk is the tail, moved to the end
