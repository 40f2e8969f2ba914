"""Mel-frequency cepstra as the original VGG SyncNet was trained on: 100 rows of 13 numbers a second."""

from functools import lru_cache

import numpy as np
from scipy.fft import dct

SAMPLE_RATE_HZ = 16000
FRAME = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms
FFT_SIZE = 512
NUM_COEFFICIENTS = 13
NUM_FILTERS = 26  # triangles from 0 Hz to half the sample rate
_PREEMPHASIS, _LIFTER = 0.97, 22
_TINY = np.finfo(np.float64).eps  # stands in for an energy of 0 under the logarithm
_ROWS_AT_ONCE = 4096  # bounds memory to some 40 MB whatever the length


@lru_cache(maxsize=1)
def filter_bank() -> np.ndarray:
    """Triangular filters spaced evenly in mel (2595 log10(1 + f / 700)), corners rounded down to FFT bins: float64 (26, 257)."""
    top_mel = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top_mel, NUM_FILTERS + 2) / 2595) - 1)
    corners = np.floor((FFT_SIZE + 1) * corners_hz / SAMPLE_RATE_HZ)
    low, centre, high = (corners[i : i + NUM_FILTERS, None] for i in range(3))
    bins = np.arange(FFT_SIZE // 2 + 1)
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    return np.where((bins >= low) & (bins < centre), rising, np.where((bins >= centre) & (bins < high), falling, 0.0))


def mfcc(waveform_int16: np.ndarray) -> np.ndarray:
    """Mono int16 samples (n,) at 16 kHz -> float64 (1 + ceil((n - 400) / 160), 13); the last row is padded with zeros.

    Column 0 is the natural logarithm of the frame's energy, columns 1-12 the liftered cepstra (DCT-II, orthonormal). No window
    function; the energy of digital silence counts as 2.2e-16. The same numbers as python_speech_features with its defaults.
    Raises ValueError for anything but a one-dimensional, non-empty int16 array: scaled floats would give other numbers.
    """
    wave = np.asarray(waveform_int16)
    if wave.dtype != np.int16 or wave.ndim != 1 or not wave.size:
        raise ValueError(f"mfcc wants mono int16 samples (n,), got {wave.dtype} of shape {wave.shape}")
    num_rows = 1 + max(0, -(-(len(wave) - FRAME) // HOP))
    signal = np.zeros((num_rows - 1) * HOP + FRAME)
    num_samples = min(len(wave), len(signal))
    signal[:num_samples] = wave[:num_samples]
    signal[1:num_samples] -= _PREEMPHASIS * wave[: num_samples - 1]
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP]
    return np.concatenate([_cepstra(frames[row : row + _ROWS_AT_ONCE]) for row in range(0, num_rows, _ROWS_AT_ONCE)])


def _cepstra(frames: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(frames, FFT_SIZE)) ** 2 / FFT_SIZE
    energy = power.sum(axis=1)
    bands = power @ filter_bank().T
    log_bands = np.log(np.where(bands == 0, _TINY, bands))
    cepstra = np.asarray(dct(log_bands, type=2, axis=1, norm="ortho"))[:, :NUM_COEFFICIENTS]
    cepstra *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(NUM_COEFFICIENTS) / _LIFTER)
    cepstra[:, 0] = np.log(np.where(energy == 0, _TINY, energy))
    return cepstra
