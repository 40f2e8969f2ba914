"""Prepared clips in memory and the windows cut from them, augmented so that the person changes and the mouth's motion stays."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from wav2lip_core.mel import COLUMNS_PER_S, NUM_BANDS, SILENCE, WINDOW_COLUMNS, log_mel, windows_at

FPS = 25
MARGIN = 0.15  # prepared crops show this share of the canonical box more on each side, so that shifts and turns have pixels to show
PREPARED_SIZE = 144
DB_TO_MEL = 8 / 100  # one dB in units of the scaled log-mel


@dataclass(frozen=True)
class Clip:
    """One person speaking: crops uint8 (n, 144, 144, 3) BGR at 25 fps with MARGIN around the canonical box, mel (80, T)."""

    person: str
    name: str
    crops: np.ndarray
    mel: np.ndarray

    @property
    def num_windows(self) -> int:
        """Start frames f for which five frames and sixteen mel columns exist."""
        return min(len(self.crops) - 5, int((self.mel.shape[1] - WINDOW_COLUMNS) * FPS / COLUMNS_PER_S)) + 1


def load_clips(folder: Path, *, without: frozenset[str] = frozenset(), only: frozenset[str] | None = None) -> list[Clip]:
    """Clips in single .npz files, of everybody but `without`, or of `only` these people."""
    clips = []
    for path in sorted(folder.glob("*.npz")):
        person = path.name.split("__")[0]
        if person in without or (only is not None and person not in only):
            continue
        with np.load(path, allow_pickle=False) as data:
            clips.append(Clip(person, path.stem, data["crops"], log_mel(data["audio"])))
    if not clips:
        raise ValueError(f"no prepared clips in {folder} for these people; run `dub data prepare` first")
    return clips


class PersonSampler:
    """Draws clips so that people with many clips do not drown the others: P(person) ~ clips ** power."""

    def __init__(self, clips: list[Clip], rng: np.random.Generator, power: float = 0.35) -> None:
        people: dict[str, list[Clip]] = {}
        for clip in clips:
            people.setdefault(clip.person, []).append(clip)
        self.people = list(people.values())
        weight = np.array([len(p) ** power for p in self.people])
        self.weight, self.rng = weight / weight.sum(), rng

    def draw(self) -> Clip:
        clips = self.people[self.rng.choice(len(self.people), p=self.weight)]
        return clips[self.rng.integers(len(clips))]


def plain_crop(crops: np.ndarray, size: int = 96) -> np.ndarray:
    """The canonical crop out of prepared crops, as inference would cut it: uint8 (n, size, size, 3)."""
    edge = crops.shape[1] * MARGIN / (1 + 2 * MARGIN)
    first, last = round(edge), round(crops.shape[1] - edge)
    return np.stack([cv2.resize(c[first:last, first:last], (size, size), interpolation=cv2.INTER_AREA) for c in crops])


@dataclass(frozen=True)
class Warp:
    """One geometric change, the same for every frame of a window: maps for cv2.remap from the prepared crop to the network's crop."""

    map_x: np.ndarray
    map_y: np.ndarray

    @property
    def lower_half(self) -> "Warp":
        """The same for the lower half of the network's crop alone."""
        first = len(self.map_x) // 2
        return Warp(self.map_x[first:], self.map_y[first:])

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.stack([cv2.remap(c, self.map_x, self.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for c in crops])


def random_warp(rng: np.random.Generator, size: int, strength: float = 1.0, mirror: bool = True) -> Warp:
    """Shift, zoom, stretch, turn, mirror and a smooth bend: the detector's errors and other people's proportions."""
    angle = rng.normal(0, 4 * strength) * np.pi / 180
    zoom = np.exp(rng.normal(0, 0.05 * strength))
    stretch = np.exp(rng.normal(0, 0.04 * strength))
    shift = np.clip(rng.normal(0, 0.025 * strength, 2), -0.09, 0.09)
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = np.meshgrid(grid * (-1 if mirror and rng.random() < 0.5 else 1), grid)
    u = (np.cos(angle) * x - np.sin(angle) * y) * zoom * stretch + shift[0]
    v = (np.sin(angle) * x + np.cos(angle) * y) * zoom / stretch + shift[1]
    bend = cv2.resize(rng.normal(0, 0.018 * strength, (4, 4, 2)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    scale = PREPARED_SIZE / (1 + 2 * MARGIN)
    middle = PREPARED_SIZE / 2 - 0.5
    return Warp(((u + bend[..., 0]) * scale + middle).astype(np.float32), ((v + bend[..., 1]) * scale + middle).astype(np.float32))


def random_light(rng: np.random.Generator, faces: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Colour, contrast, gamma, grey, side light: uint8 (n, H, W, 3) -> float32 in [0, 1], the same change for every frame."""
    if rng.random() < 0.15 * strength:
        faces = np.repeat(faces.mean(axis=3, keepdims=True).round().astype(np.uint8), 3, axis=3)
    if rng.random() < 0.1 * strength:
        faces = np.ascontiguousarray(faces[..., rng.permutation(3)])
    gain = np.exp(rng.normal(0, 0.18 * strength) + rng.normal(0, 0.08 * strength, 3)).astype(np.float32)
    levels = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    levels = np.clip(levels * gain + np.float32(rng.normal(0, 0.04 * strength)), 0, 1) ** np.float32(np.exp(rng.normal(0, 0.22 * strength)))
    out = cv2.LUT(faces.reshape(-1, *faces.shape[2:]), levels[None]).reshape(faces.shape)
    if rng.random() < 0.3 * strength:
        ramp = np.linspace(-1, 1, faces.shape[2], dtype=np.float32) * np.float32(rng.normal(0, 0.2))
        out = np.clip(out * (1 + ramp)[:, None], 0, 1)
    return out


def random_skin(rng: np.random.Generator, faces: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Another person's shading, stubble and make-up: a smooth field of light and colour, the same for every frame. float32 (n, H, W, 3) in [0, 1]."""
    if rng.random() >= 0.5 * strength:
        return faces
    cells = int(rng.integers(3, 9))
    field = rng.normal(0, 0.10, (cells, cells, 1)) + rng.normal(0, 0.04, (cells, cells, 3))
    height, width = faces.shape[1:3]
    smooth = cv2.resize(field.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(faces * np.exp(smooth), 0, 1)


def random_distance(rng: np.random.Generator, faces: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """A face small in its film, and a tracker that trembles: fewer pixels for every frame, part of a pixel's shift for each. float32 (n, H, W, 3)."""
    height, width = faces.shape[1:3]
    if rng.random() < 0.25 * strength:
        share = rng.uniform(0.33, 0.75)
        small = round(width * share), round(height * share)
        faces = np.stack([cv2.resize(cv2.resize(f, small, interpolation=cv2.INTER_AREA), (width, height)) for f in faces])
    if rng.random() < 0.3 * strength:
        moves = [np.array([[1, 0, x], [0, 1, y]], np.float32) for x, y in rng.normal(0, 0.5, (len(faces), 2))]
        faces = np.stack([cv2.warpAffine(f, m, (width, height), borderMode=cv2.BORDER_REPLICATE) for f, m in zip(faces, moves, strict=True)])
    return faces


def random_blemish(rng: np.random.Generator, mouths: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Blur, noise and a covered patch, as soft lenses, grain and hands leave them: float32 (n, H, W, 3) in [0, 1]."""
    rows, columns = mouths.shape[1:3]
    if rng.random() < 0.4 * strength:
        sigma = rng.uniform(0.3, 1.4)
        mouths = np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in mouths])
    if rng.random() < 0.3 * strength:
        noise = rng.standard_normal(mouths.shape, dtype=np.float32) * np.float32(rng.uniform(0.005, 0.03))
        mouths = np.clip(mouths + noise, 0, 1)
    if rng.random() < 0.2 * strength:
        mouths = mouths.copy()
        height, width = rng.integers(columns // 12, columns // 4, 2)
        row, column = rng.integers(0, rows - height), rng.integers(0, columns - width)
        mouths[:, row : row + height, column : column + width] = rng.random(3, dtype=np.float32)
    return mouths


def random_voice(rng: np.random.Generator, mel: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Another voice and room, the same words: loudness, tilt, band warp and a noise floor on a clip's mel (80, T) in [-4, 4]."""
    bands = np.arange(NUM_BANDS, dtype=np.float32)
    factor = np.exp(rng.normal(0, 0.06 * strength))
    source = np.clip(bands * factor, 0, NUM_BANDS - 1)
    low = source.astype(int)
    high, part = np.minimum(low + 1, NUM_BANDS - 1), (source - low)[:, None]
    out = mel[low] * (1 - part) + mel[high] * part
    if rng.random() < 0.5 * strength:  # a voice without audible pitch, as a whisper is: what remains are the formants
        out = gaussian_filter1d(out, rng.uniform(0.5, 2.5), axis=0, mode="nearest")
    curve = np.interp(bands, np.linspace(0, NUM_BANDS - 1, 5), rng.normal(0, 4 * strength, 5))
    out = out + (curve[:, None] + rng.normal(0, 6 * strength)) * DB_TO_MEL
    if rng.random() < 0.5:
        loud = float(np.percentile(out, 75))
        floor = rng.uniform(SILENCE - 1, max(SILENCE - 1, loud - 1.5 * strength)) + rng.normal(0, 0.3, out.shape)
        out = np.logaddexp(out / DB_TO_MEL * 0.115, floor / DB_TO_MEL * 0.115) / 0.115 * DB_TO_MEL
    return np.clip(out, -4, 4).astype(np.float32)


def silent_columns(mel: np.ndarray) -> np.ndarray:
    """Where nobody speaks, bool (T,): mean level 25 dB under the clip's loud parts, widened by nothing."""
    level = mel.mean(axis=0)
    return level < np.percentile(level, 95) - 25 * DB_TO_MEL


def mel_at(mel: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Windows (n, 80, 16) for frame numbers at 25 fps: the same rule in training and use."""
    return windows_at(mel, np.asarray(frames) / FPS)


__all__ = ["FPS", "SILENCE", "Clip", "PersonSampler", "load_clips", "mel_at", "plain_crop"]
