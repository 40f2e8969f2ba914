"""A little film with two people side by side, then one of them alone; their pictures, their cast file, and voices for them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from tests.media import Sound, write_film, write_sound
from tests.small_film import RATE, make_voice

FPS, WIDTH, HEIGHT = 25, 640, 240
TOGETHER, ALONE = 32, 16  # frames: ANNA on the left and BEN on the right; then BEN
DURATION_S = (TOGETHER + ALONE) / FPS


def faces() -> tuple[np.ndarray, np.ndarray]:
    """(ANNA, BEN), uint8 BGR: one portrait as it is, and in the mirror in other colours; by likeness they are strangers (0.62)."""
    anna = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    tinted = np.ascontiguousarray(anna[:, ::-1]) * np.array([0.5, 0.6, 0.9])
    return anna, tinted.clip(0, 255).astype(np.uint8)


def make_film_of_two(path: Path, voice: np.ndarray | None) -> Path:
    """voice: float32 (n,) at RATE, the original's; or None for a film without sound."""
    return write_film(path, _pictures(), sound=None if voice is None else Sound(voice[:, None], RATE))


def make_spoken(path: Path, *spoken_s: tuple[float, float], pitch_hz: float = 180.0, duration_s: float = DURATION_S) -> Path:
    """A track in which somebody speaks from .. to, and is silent elsewhere."""
    return write_sound(path, Sound(spoken(*spoken_s, pitch_hz=pitch_hz, duration_s=duration_s)[:, None], RATE, codec="pcm_s16le"))


def spoken(*spoken_s: tuple[float, float], pitch_hz: float = 180.0, duration_s: float = DURATION_S) -> np.ndarray:
    wave = np.zeros(round(duration_s * RATE), np.float32)
    for first, end in spoken_s:
        wave[round(first * RATE) : round(end * RATE)] = make_voice(end - first, pitch_hz)[: round(end * RATE) - round(first * RATE)]
    return wave


def make_cast(folder: Path) -> Path:
    """cast.toml with a picture of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, face in zip(("anna", "ben"), faces(), strict=True):
        assert cv2.imwrite(str(folder / f"{name}.png"), face)
    path = folder / "cast.toml"
    path.write_text('[[character]]\nname = "ANNA"\npictures = ["anna.png"]\n\n[[character]]\nname = "BEN"\npictures = ["ben.png"]\n')
    return path


def _pictures() -> Iterator[np.ndarray]:
    anna, ben = faces()
    for n in range(TOGETHER):
        yield np.concatenate([_view(anna, 90 + 0.4 * n, 280, WIDTH // 2), _view(ben, 140 - 0.4 * n, 280, WIDTH // 2)], axis=1)
    for n in range(ALONE):
        yield _view(ben, 60 + n, 480, WIDTH)


def _view(still: np.ndarray, x: float, width: float, width_px: int) -> np.ndarray:
    scale = width_px / width
    matrix = np.array([[scale, 0, -x * scale], [0, scale, -20 * scale]])
    return cv2.warpAffine(still, matrix, (width_px, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
