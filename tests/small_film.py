"""A real little film for flow tests: a portrait, a cup, the portrait again; a synthetic voice; and networks with random weights."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.signal import lfilter
from skimage import data

from tests.media import Sound, write_film, write_sound
from wav2lip_core.checkpoint import save_model
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.model_card import ModelCard
from wav2lip_core.sync_expert import ExpertConfig, SyncExpert

FPS, WIDTH, HEIGHT = 25, 320, 240
FRAMES_PER_SHOT = (20, 12, 20)
NUM_FRAMES = sum(FRAMES_PER_SHOT)
DURATION_S = NUM_FRAMES / FPS
RATE = 16000


def make_small_film(path: Path, voice: np.ndarray | None, num_frames_per_shot: tuple[int, ...] = FRAMES_PER_SHOT) -> Path:
    """Shots 0 and 2 show one face, shot 1 none, and so on in turns of three. voice: float32 (n,) at RATE, or None for a film without any sound."""
    sound = None if voice is None else Sound(voice[:, None], RATE)
    return write_film(path, _pictures(num_frames_per_shot), sound=sound)


def make_voice(duration_s: float, pitch_hz: float = 120.0) -> np.ndarray:
    """A buzz through three formants in syllables, which a voice detector takes for speech: float32 (n,) at RATE."""
    n = np.arange(round(duration_s * RATE))
    wave = ((n * pitch_hz / RATE) % 1 < pitch_hz / RATE).astype(np.float64)
    for formant_hz, width_hz in ((700, 90), (1220, 110), (2600, 160)):
        radius = np.exp(-np.pi * width_hz / RATE)
        wave = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * formant_hz / RATE), radius**2], wave)
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * n / RATE)
    wave = wave * syllables
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def make_track(path: Path, duration_s: float = DURATION_S, pitch_hz: float = 180.0) -> Path:
    return write_sound(path, Sound(make_voice(duration_s, pitch_hz)[:, None], RATE, codec="pcm_s16le"))


def make_silent_track(path: Path, duration_s: float = DURATION_S) -> Path:
    return write_sound(path, Sound(np.zeros((round(duration_s * RATE), 1), np.float32), RATE, codec="pcm_s16le"))


def make_random_weights(folder: Path, name: str = "tiny", seed: int = 0) -> tuple[Path, Path]:
    """(generator, expert) files with a card of this name: they fit and run, and know nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    generator, expert = folder / "generator.safetensors", folder / "expert.safetensors"
    save_model(generator, LipGenerator(GeneratorConfig(width=0.125, output="edit")), _card(name, "generator"))
    save_model(expert, SyncExpert(ExpertConfig(width=0.125)), _card(name, "sync_expert"))
    return generator, expert


def _card(name: str, kind) -> ModelCard:
    return ModelCard(name=name, kind=kind, data="nothing: random numbers", licence="none", attribution="the tests")


def _pictures(num_frames_per_shot: tuple[int, ...]) -> Iterator[np.ndarray]:
    portrait = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    cup = cv2.cvtColor(data.coffee(), cv2.COLOR_RGB2BGR)
    mirrored = np.ascontiguousarray(portrait[:, ::-1])
    for shot, num_frames in enumerate(num_frames_per_shot):
        for n in range(num_frames):
            yield (
                _view(portrait, x=90 + 0.4 * n, y=20, width=280),
                _view(cup, x=60 + n, y=40, width=400),
                _view(mirrored, x=150, y=10 + 0.3 * n, width=260 - 0.5 * n),
            )[shot % 3]


def portrait_pictures(num_frames: int) -> Iterator[np.ndarray]:
    """One shot of one face, panned slowly."""
    portrait = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    for n in range(num_frames):
        yield _view(portrait, x=90 + 0.4 * n, y=20, width=280)


def _view(still: np.ndarray, x: float, y: float, width: float) -> np.ndarray:
    scale = WIDTH / width
    matrix = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]])
    return cv2.warpAffine(still, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
