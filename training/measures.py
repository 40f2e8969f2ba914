"""Measures of pictures and of sync, with bootstrap intervals over clips. numpy in, numbers out."""

import cv2
import numpy as np

from training import dataset
from wav2lip_core import sync_scorer
from wav2lip_core.face_crop import mouth_mask
from wav2lip_core.sync_embedder import embed_faces, embed_mel
from wav2lip_core.sync_expert import SyncExpert

MAX_SHIFT = 15
MIN_APART = 5  # frames between a window and the wrong sound it is compared with
MIN_IN_CONTEXT = 8  # windows; shorter clips are scored with the published edges
Figure = dict[str, float]


def interval(values: np.ndarray, weights: np.ndarray, num_bootstrap: int = 1000, seed: int = 0) -> Figure:
    """Weighted mean over clips with a 95 % bootstrap interval: {"value", "low", "high"}; only "value" without bootstrap."""
    return ratio(values * weights, weights, num_bootstrap, seed)


def ratio(above: np.ndarray, below: np.ndarray, num_bootstrap: int = 1000, seed: int = 0) -> Figure:
    """Sum over clips of one thing as a share of the sum of another, with a 95 % bootstrap interval over clips."""
    value = float(above.sum() / max(below.sum(), 1e-12))
    if num_bootstrap == 0:
        return {"value": round(value, 4)}
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(above), (num_bootstrap, len(above)))
    shares = above[picks].sum(1) / np.maximum(below[picks].sum(1), 1e-12)
    low, high = np.percentile(shares, [2.5, 97.5])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def exact(value: float, num_bootstrap: int) -> Figure:
    """A figure that does not vary with the clips."""
    return dict.fromkeys(("value", "low", "high") if num_bootstrap else ("value",), float(value))


# -- sync


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
    fair = far_pairs(len(similarity))
    wins = (own > similarity) + 0.5 * (own == similarity)
    return float(wins[fair].mean()), float(fair.sum())


def far_pairs(num_windows: int) -> np.ndarray:
    """Which (window, sound) pairs are at least five frames apart: bool (n, n)."""
    index = np.arange(num_windows)
    return np.abs(index[:, None] - index[None, :]) >= MIN_APART


def lse(judge: SyncExpert, faces: np.ndarray, mel: np.ndarray) -> sync_scorer.LipSync:
    """Offset, LSE-D and LSE-C of a clip, faces uint8 (n, S, S, 3). Windows nearer than 15 frames to an end only serve as the others' context."""
    lips = embed_faces(judge, faces)
    sounds = embed_mel(judge, dataset.mel_at(mel, np.arange(len(lips))))
    if len(lips) >= 2 * MAX_SHIFT + MIN_IN_CONTEXT:
        return sync_scorer.score_in_context(lips[MAX_SHIFT : len(lips) - MAX_SHIFT], sounds)
    return sync_scorer.score(lips, sounds)


# -- pictures: uint8 (n, H, W, 3)


def psnr(made: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal to noise ratio in dB over all pictures together."""
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((made.astype(np.float32) - truth.astype(np.float32)) ** 2))))


def l1(made: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference, in [0, 1]."""
    return float(np.abs(made.astype(np.float32) - truth).mean() / 255)


def ssim(made: np.ndarray, truth: np.ndarray) -> float:
    """Mean structural similarity of the grey pictures, Gaussian window of 11 pixels and sigma 1.5 away from the edges.

    Source: Wang, Bovik, Sheikh, Simoncelli, IEEE Transactions on Image Processing 13(4), 2004.
    """
    return float(np.mean([_ssim(*(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY).astype(np.float64) for x in pair)) for pair in zip(made, truth, strict=True)]))


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    def blur(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    return float((((2 * mean_a * mean_b + c1) * (2 * cov + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def mouth_motion(faces: np.ndarray) -> float:
    """Mean absolute change from frame to frame in the mouth region, grey levels: uint8 (n, S, S, 3)."""
    weights = mouth_mask(faces.shape[2], faces.shape[1])[..., None]
    change = np.abs(np.diff(faces.astype(np.float32), axis=0)) * weights
    return float(change.sum() / (weights.sum() * 3 * max(1, len(faces) - 1)))


def frechet(made: list[np.ndarray], truth: list[np.ndarray], num_bootstrap: int, seed: int = 0) -> Figure:
    """Fréchet distance between Gaussians fitted to rows of embeddings, (n, D) per clip; the bootstrap draws clips, the same for both."""
    value = _frechet(np.concatenate(made), np.concatenate(truth))
    if num_bootstrap == 0:
        return {"value": round(value, 4)}
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(made), len(made)) for _ in range(num_bootstrap)]
    values = [_frechet(np.concatenate([made[i] for i in draw]), np.concatenate([truth[i] for i in draw])) for draw in draws]
    low, high = np.percentile(values, [2.5, 97.5])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _frechet(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of the root of a product of covariances is the sum of the roots of its eigenvalues, which are real and not negative.
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)
