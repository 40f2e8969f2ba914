"""How good weights are on people who were not in training, with bootstrap intervals over clips."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from training import dataset
from wav2lip_core.generator import LipGenerator
from wav2lip_core.sync_embedder import embed_faces, embed_mel
from wav2lip_core.sync_expert import SyncExpert

MAX_SHIFT = 15
MIN_APART = 5  # frames between a window and the wrong sound it is compared with


def interval(values: np.ndarray, weights: np.ndarray, num_bootstrap: int = 1000, seed: int = 0) -> dict[str, float]:
    """Weighted mean over clips with a 95 % bootstrap interval: {"value", "low", "high"}."""
    value = float(np.average(values, weights=weights))
    if num_bootstrap == 0:
        return {"value": round(value, 4)}
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(values), (num_bootstrap, len(values)))
    means = (values[picks] * weights[picks]).sum(1) / weights[picks].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def similarities(expert: SyncExpert, faces: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """Cosine of every five-frame window (row) with every sound of the clip (column): (n, n)."""
    lips = embed_faces(expert, faces)
    return lips @ embed_mel(expert, dataset.mel_at(mel, np.arange(len(lips)))).T


def best_offset(similarity: np.ndarray, first: int = 0, end: int | None = None) -> tuple[int, float]:
    """Shift of the sound (frames) at which rows first..end fit best on average, and by how much over the median."""
    end = len(similarity) if end is None else end
    rows = np.arange(first, end)
    means = []
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        columns = rows + shift
        inside = (columns >= 0) & (columns < similarity.shape[1])
        means.append(similarity[rows[inside], columns[inside]].mean() if inside.sum() >= max(3, len(rows) // 3) else -1.0)
    best = int(np.argmax(means))
    return MAX_SHIFT - best, float(means[best] - np.median([m for m in means if m > -1]))


def two_way(similarity: np.ndarray) -> tuple[float, float]:
    """Share of (window, wrong sound at least five frames off) pairs in which the right sound wins, and how many pairs."""
    own = np.diag(similarity)[:, None]
    index = np.arange(len(similarity))
    fair = np.abs(index[:, None] - index[None, :]) >= MIN_APART
    wins = (own > similarity) + 0.5 * (own == similarity)
    return float(wins[fair].mean()), float(fair.sum())


def evaluate_expert(expert: SyncExpert, clips: list[dataset.Clip], num_bootstrap: int = 1000) -> dict[str, dict[str, float]]:
    """Two-way accuracy per single window, offset found within one frame on whole clips and on one-second stretches with speech."""
    rows = []
    for clip in clips:
        similarity = similarities(expert, dataset.plain_crop(clip.crops, expert.config.face_size), clip.mel)
        accuracy, num_pairs = two_way(similarity)
        quiet = dataset.silent_columns(clip.mel)
        seconds = [
            abs(best_offset(similarity, first, first + 25)[0]) <= 1
            for first in range(0, len(similarity) - 24, 12)
            if quiet[int(first * 3.2) : int((first + 29) * 3.2)].mean() < 0.4
        ]
        offset, margin = best_offset(similarity)
        rows.append((accuracy, num_pairs, abs(offset) <= 1, sum(seconds), len(seconds), margin))
    table = np.array(rows, float)
    ones = np.ones(len(table))
    mean: Callable = lambda v, w: interval(v, w, num_bootstrap)  # noqa: E731
    return {
        "two_way_accuracy": mean(table[:, 0], table[:, 1]),
        "offset_within_1_3s": mean(table[:, 2], ones),
        "offset_within_1_1s": mean(table[:, 3] / np.maximum(table[:, 4], 1), table[:, 4]),
        "margin": mean(table[:, 5], ones),
    }


def generate(model: LipGenerator, frames: np.ndarray, reference: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """frames, reference uint8 (n, S, S, 3), mel windows (n, 80, 16) -> uint8 (n, S, S, 3)."""
    size, out = model.config.face_size, []
    hidden = frames.copy()
    hidden[:, size // 2 :] = 0
    face = np.concatenate([hidden, reference], axis=3).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        for i in range(0, len(frames), 32):
            batch = torch.from_numpy(np.ascontiguousarray(face[i : i + 32])).float() / 255
            made = model(torch.from_numpy(windows[i : i + 32]).unsqueeze(1), batch)
            out.append((made * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))))


def evaluate_generator(model: LipGenerator, clips: list[dataset.Clip], judge: SyncExpert, num_bootstrap: int = 1000) -> dict[str, dict[str, float]]:
    """Same sound: lower half against the truth, beside copying the reference frame. Another clip's sound: what the judge says of it,
    as a share of what it says of the real clip."""
    rows = []
    for i, clip in enumerate(clips):
        faces = dataset.plain_crop(clip.crops, model.config.face_size)
        n, half = clip.num_windows, model.config.face_size // 2
        frames, own = faces[:n], dataset.mel_at(clip.mel, np.arange(n))
        reference = faces[(np.arange(n) + n // 2) % n]
        made = generate(model, frames, reference, own)
        other = clips[(i + len(clips) // 2) % len(clips)]
        foreign = dataset.mel_at(other.mel, np.arange(n))
        dubbed = generate(model, frames, frames, foreign)
        real_margin = best_offset(similarities(judge, faces, clip.mel))[1]
        dub_offset, dub_margin = best_offset(similarities(judge, dubbed, other.mel))
        undubbed_margin = best_offset(similarities(judge, faces, other.mel))[1]
        silent = generate(model, frames, frames, np.full_like(own, -4.0))
        motion = [float(np.abs(np.diff(v[:, half:].astype(np.float32), axis=0)).mean()) for v in (silent, dubbed)]
        psnr, copy = _psnr(made[:, half:], frames[:, half:]), _psnr(reference[:, half:], frames[:, half:])
        l1 = [float(np.abs(v[:, half:].astype(np.float32) - frames[:, half:]).mean() / 255) for v in (made, reference)]
        rows.append((psnr, copy, *l1, dub_margin, real_margin, undubbed_margin, abs(dub_offset) <= 1, motion[0] / max(motion[1], 1e-6)))
    table = np.array(rows, float)
    keys = ("psnr_lower", "copy_psnr_lower", "l1_lower", "copy_l1_lower", "margin_dubbed", "margin_real", "margin_undubbed", "offset_within_1")
    ones = np.ones(len(table))
    out = {key: interval(table[:, k], ones, num_bootstrap) for k, key in enumerate(keys)}
    return out | {"silence_motion_share": interval(table[:, 8], ones, num_bootstrap)}


def picture_strip(model: LipGenerator, clips: list[dataset.Clip], path: Path, num_people: int = 6) -> None:
    """PNG: per person a row of real frames and under it the same frames speaking another clip's sound."""
    people = list({clip.person: clip for clip in clips}.values())[:num_people]
    rows = []
    for i, clip in enumerate(people):
        faces = dataset.plain_crop(clip.crops, model.config.face_size)
        pick = np.linspace(15, clip.num_windows - 15, 10).astype(int)
        foreign = dataset.mel_at(people[(i + 1) % len(people)].mel, pick)
        made = generate(model, faces[pick], faces[pick], foreign)
        rows += [np.concatenate(list(faces[pick]), axis=1), np.concatenate(list(made), axis=1)]
    cv2.imwrite(str(path), np.concatenate(rows))
