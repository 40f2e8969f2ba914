"""Log-mel features exactly as the Wav2Lip networks were trained on: 16 kHz sound -> 80 bands, 80 columns a second.

librosa is loaded with the first sound, not with this module: it takes as long as all else that a command loads before a film can be looked at.
"""

from functools import lru_cache

import numpy as np

SAMPLE_RATE_HZ = 16000
FFT_SIZE = 800  # 50 ms
HOP = 200  # samples: 12.5 ms, 80 columns a second
COLUMNS_PER_S = SAMPLE_RATE_HZ // HOP
NUM_BANDS = 80
WINDOW_COLUMNS = 16  # 200 ms, one network window
SILENCE = -4.0
_PREEMPHASIS, _REF_DB, _MIN_DB, _MAX_ABS = 0.97, 20.0, -100.0, 4.0


@lru_cache(maxsize=1)
def mel_basis() -> np.ndarray:
    """Slaney mel filters, float32 (80, 401), 55 to 7600 Hz."""
    from librosa import filters

    return filters.mel(sr=SAMPLE_RATE_HZ, n_fft=FFT_SIZE, n_mels=NUM_BANDS, fmin=55, fmax=7600)


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """Mono float waveform (n,) in [-1, 1] at 16 kHz -> float32 (80, 1 + n // 200) in [-4, 4]; silence is -4.

    Raises ValueError for a waveform that is not one-dimensional or holds NaN or infinity. A waveform too short for one window is
    padded with silence.
    """
    from librosa import stft

    wave = np.asarray(waveform, np.float32)
    if wave.ndim != 1:
        raise ValueError(f"log_mel wants a mono waveform (n,), got shape {wave.shape}")
    if not np.isfinite(wave).all():
        raise ValueError("log_mel got a waveform with NaN or infinity")
    num_columns = 1 + len(wave) // HOP
    if len(wave) <= FFT_SIZE // 2:
        wave = np.pad(wave, (0, FFT_SIZE // 2 + 1 - len(wave)))
    emphasised = np.append(wave[:1], wave[1:] - _PREEMPHASIS * wave[:-1]).astype(np.float32)
    spectrum = np.abs(stft(emphasised, n_fft=FFT_SIZE, hop_length=HOP, win_length=FFT_SIZE, pad_mode="reflect"))
    db = 20 * np.log10(np.maximum(1e-5, mel_basis() @ spectrum)) - _REF_DB
    scaled = 2 * _MAX_ABS * (db - _MIN_DB) / -_MIN_DB - _MAX_ABS
    return np.clip(scaled, -_MAX_ABS, _MAX_ABS).astype(np.float32)[:, :num_columns]


def first_columns(times_s: np.ndarray) -> np.ndarray:
    """Where the window of a frame at time t begins: column int(80 * t), the published inference rule at any frame rate."""
    return np.floor(np.asarray(times_s, np.float64) * COLUMNS_PER_S + 1e-6).astype(np.int64)


def windows_at(mel: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """One 16-column window per time, starting at int(80 * t): (80, T), (N,) -> float32 (N, 80, 16). Beyond either end there is silence."""
    columns = first_columns(times_s)[:, None] + np.arange(WINDOW_COLUMNS)
    outside = (columns < 0) | (columns >= mel.shape[1])
    windows = mel[:, np.clip(columns, 0, mel.shape[1] - 1)].transpose(1, 0, 2).copy()
    windows.transpose(1, 0, 2)[:, outside] = SILENCE
    return windows.astype(np.float32)


_EDGE_COLUMNS = 4  # on each side of a stretch, computed and dropped, so that it equals the same stretch of the whole
_BLOCK_COLUMNS = 4800  # one minute at a time keeps memory flat


def log_mel_columns(waveform: np.ndarray, first: int, end: int) -> np.ndarray:
    """Columns [first, end) of log_mel(waveform) without computing the rest: float32 (80, end - first). Outside the sound there is silence.

    waveform may be a memory-mapped array: only the stretch is read.
    """
    num_columns = 1 + len(waveform) // HOP
    out = np.full((NUM_BANDS, end - first), SILENCE, np.float32)
    for block in range(max(first, 0), min(end, num_columns), _BLOCK_COLUMNS):
        block_end = min(block + _BLOCK_COLUMNS, end, num_columns)
        from_column, to_column = max(0, block - _EDGE_COLUMNS), min(num_columns, block_end + _EDGE_COLUMNS)
        to_sample = len(waveform) if to_column == num_columns else to_column * HOP
        columns = log_mel(np.asarray(waveform[from_column * HOP : to_sample]))
        out[:, block - first : block_end - first] = columns[:, block - from_column : block_end - from_column]
    return out


def windows_from(waveform: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """windows_at(log_mel(waveform), times_s), reading only the sound around these times: (n,), (N,) -> float32 (N, 80, 16)."""
    if len(times_s) == 0:
        return np.zeros((0, NUM_BANDS, WINDOW_COLUMNS), np.float32)
    first = int(np.floor(np.min(times_s) * COLUMNS_PER_S)) - 1
    end = int(np.floor(np.max(times_s) * COLUMNS_PER_S)) + WINDOW_COLUMNS + 2
    starts = first_columns(times_s) - first
    part = log_mel_columns(waveform, first, end)
    return part[:, starts[:, None] + np.arange(WINDOW_COLUMNS)].transpose(1, 0, 2)
