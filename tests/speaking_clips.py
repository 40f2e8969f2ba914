"""Little films of people who speak, made here: one portrait in many looks, its mouth opening with the loudness of a synthetic voice."""

from pathlib import Path

import cv2
import numpy as np
from skimage import data

from tests.media import Sound, write_film

FPS, RATE, WIDTH, HEIGHT = 25, 16000, 240, 240
MOUTH = (222, 148)  # x, y in the portrait
FRAMES_PER_SYLLABLE = 4


def write_speaking_clip(path: Path, person: int, clip: int, num_frames: int = 50, sound: str = "voice") -> Path:
    """Person and clip number decide everything in it. sound: voice, silence (a silent track) or none (no track)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    level = loudness(person, clip, num_frames)
    track = None
    if sound != "none":
        wave = voice(person, clip, level) if sound == "voice" else np.zeros(num_frames * RATE // FPS, np.float32)
        track = Sound(wave[:, None], RATE)
    return write_film(path, pictures(person, level), sound=track)


def write_drop(folder: Path, people: dict[str, int], num_clips: int, num_frames: int = 50, first_clip: int = 0) -> Path:
    """PERSON/clip-N.mp4 for each person, who is given by a number that decides looks and voice."""
    for name, person in people.items():
        for clip in range(first_clip, first_clip + num_clips):
            write_speaking_clip(folder / name / f"clip {clip}.mp4", person, clip, num_frames)
    return folder


def loudness(person: int, clip: int, num_frames: int) -> np.ndarray:
    """How loud at each frame, in [0, 1]: syllables of random strength."""
    strengths = np.random.default_rng([7, person, clip]).random(num_frames // FRAMES_PER_SYLLABLE + 2) ** 1.5
    curve = np.interp(np.arange(num_frames), np.arange(len(strengths)) * FRAMES_PER_SYLLABLE, strengths)
    return np.clip(curve, 0.03, 1)


def voice(person: int, clip: int, level: np.ndarray) -> np.ndarray:
    """Vowels that change with every syllable, of this loudness, float32 (n,) at RATE: a voice detector takes it for speech."""
    rng = np.random.default_rng([8, person, clip])
    n, knots = np.arange(len(level) * RATE // FPS), np.arange(0, len(level) + 2 * FRAMES_PER_SYLLABLE, FRAMES_PER_SYLLABLE)
    frame = n / RATE * FPS
    pitch_hz = 95 + 25 * (person % 5) + np.interp(frame, knots, rng.uniform(-15, 15, len(knots)))
    formants = [np.interp(frame, knots, rng.uniform(low, high, len(knots))) for low, high in ((300, 850), (900, 2300), (2400, 3400))]
    phase, wave = 2 * np.pi * np.cumsum(pitch_hz) / RATE, np.zeros(len(n))
    for harmonic in range(1, 30):
        loudest = sum(np.exp(-(((harmonic * pitch_hz - formant) / 160) ** 2)) for formant in formants)
        wave += (0.02 + loudest) / harmonic**0.5 * np.sin(harmonic * phase)
    wave += 0.05 * rng.standard_normal(len(n))
    return (0.5 * wave / np.abs(wave).max() * np.interp(frame, np.arange(len(level)), level)).astype(np.float32)


def pictures(person: int, level: np.ndarray) -> list[np.ndarray]:
    """uint8 (HEIGHT, WIDTH, 3) BGR, one for each loudness."""
    rng = np.random.default_rng([9, person])
    portrait = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    tint = rng.uniform(0.75, 1.2, 3)
    width, stretch = rng.uniform(170, 215), rng.uniform(0.92, 1.08)
    frames = []
    for n, loud in enumerate(level):
        still = portrait.copy()
        cv2.ellipse(still, MOUTH, (15, round(1 + 13 * float(loud))), 0, 0, 360, (25, 20, 60), cv2.FILLED, cv2.LINE_AA)
        scale = WIDTH / width
        matrix = np.array([[scale, 0, -(MOUTH[0] - width / 2 + 0.1 * n) * scale], [0, scale * stretch, -(MOUTH[1] - 0.62 * width) * scale * stretch]])
        view = cv2.warpAffine(still, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        view = view[:, ::-1] if person % 2 else view
        frames.append(np.clip(view * tint, 0, 255).astype(np.uint8))
    return frames
