"""The demo film's voices: spoken by espeak-ng, levelled, written as wav."""

import wave
from pathlib import Path

import numpy as np
import soxr

from infra import ffmpeg
from infra.video import read_audio

RATE_HZ = 48000
WORDS_PER_MINUTE = 150
SPEECH_TIMEOUT_S = 60.0
LEVEL = 0.6  # peak of every line
AUDIBLE = 0.01  # of the peak; quieter edges are cut off


def speak(text: str, voice: str, temporary: Path) -> np.ndarray:
    """float32 (n,) in [-1, 1] at RATE_HZ, spoken by espeak-ng. `temporary` is written and removed. Raises InputError where espeak-ng is missing."""
    ffmpeg.run_program("espeak-ng", ["-v", voice, "-s", str(WORDS_PER_MINUTE), "-w", str(temporary), "--", text], timeout_s=SPEECH_TIMEOUT_S)
    samples, rate_hz, _ = read_audio(temporary)
    temporary.unlink()
    spoken = soxr.resample(samples[:, 0], rate_hz, RATE_HZ)
    peak = np.abs(spoken).max()
    loud = np.flatnonzero(np.abs(spoken) > AUDIBLE * peak)
    return (spoken[loud[0] : loud[-1] + 1] * (LEVEL / peak)).astype(np.float32)


def write_wav(path: Path, sound: np.ndarray) -> None:
    """float32 (n,) in [-1, 1] at RATE_HZ as 16-bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())
