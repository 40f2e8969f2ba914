"""How well lips fit sound: offset, LSE-D and LSE-C from the embeddings of a sync network. numpy in, numpy out."""

from typing import NamedTuple

import numpy as np

MAX_SHIFT = 15  # frames at 25 fps, either way
_PAIRWISE_EPS = 1e-6  # added to every difference, as torch's pairwise_distance does; part of the published numbers
_ROWS_AT_ONCE = 1024  # keeps the working set in the processor's cache and the memory flat


class LipSync(NamedTuple):
    """offset in windows (frames at 25 fps; positive: the sound comes early, negative: late), LSE-D (lower is better), LSE-C (higher is better)."""

    offset: int
    lse_d: float
    lse_c: float


class Margin(NamedTuple):
    """How far the best shift stands out: best minus median mean cosine similarity, the best one's offset and its mean similarity."""

    margin: float
    offset: int
    similarity: float


def score(lip_embeddings: np.ndarray, audio_embeddings: np.ndarray, max_shift: int = MAX_SHIFT) -> LipSync:
    """Published LSE-D and LSE-C of one clip: lip (n, D) and audio (n, D) embeddings, row v of both from the same moment.

    Beyond either end the sound counts as zeros, and those rows are part of the mean, as in the published evaluation: for clips of
    a few dozen windows this pulls the numbers; score_in_context has no such edges. A clip of one window is scored.
    Raises ValueError for shapes that do not fit together, NaN or infinity. Source: Chung and Zisserman, ACCV 2016 workshops;
    Prajwal et al., ACM MM 2020, section 4.
    """
    return _judge(mean_distances(lip_embeddings, audio_embeddings, max_shift))


def score_in_context(
    lip_embeddings: np.ndarray, audio_embeddings: np.ndarray, weights: np.ndarray | None = None, max_shift: int = MAX_SHIFT
) -> LipSync:
    """LSE-D and LSE-C of a stretch of a longer sound: lip (n, D), audio (n + 2 * max_shift, D) beginning max_shift windows earlier.

    The neighbouring sound is real, so a short shot is judged as fairly as a long one. weights (n,) >= 0 say how much each window
    counts (0 where nobody speaks); None counts all alike. Raises ValueError as `score` does, and where the weights sum to 0.
    """
    lip, audio = _checked(lip_embeddings, audio_embeddings, max_shift, num_neighbours=2 * max_shift)
    share = _shares(weights, len(lip))
    return _judge(np.array([share @ _distances(lip, audio[k : k + len(lip)]) for k in range(2 * max_shift + 1)]))


def margin(lip_embeddings: np.ndarray, audio_embeddings: np.ndarray, weights: np.ndarray | None = None, max_shift: int = MAX_SHIFT) -> Margin:
    """Whether this face speaks this sound: arguments and errors as for `score_in_context`.

    A speaker's similarity peaks at one shift, a listener's is flat: so best minus median is large for the one and near 0 for the
    other, whatever the level of both.
    """
    lip, audio = _checked(lip_embeddings, audio_embeddings, max_shift, num_neighbours=2 * max_shift)
    share = _shares(weights, len(lip))
    lip, audio = _unit(lip), _unit(audio)
    similarity = np.array([share @ np.einsum("nd,nd->n", lip, audio[k : k + len(lip)]) for k in range(2 * max_shift + 1)])
    best = int(similarity.argmax())
    return Margin(float(similarity[best] - np.median(similarity)), max_shift - best, float(similarity[best]))


def mean_distances(lip_embeddings: np.ndarray, audio_embeddings: np.ndarray, max_shift: int = MAX_SHIFT) -> np.ndarray:
    """Mean distance at each shift -max_shift ... max_shift of the sound, zeros beyond its ends: (n, D), (n, D) -> float64 (2 * max_shift + 1,)."""
    lip, audio = _checked(lip_embeddings, audio_embeddings, max_shift, num_neighbours=0)
    num_windows = len(lip)
    against_zeros = _distances(lip, np.broadcast_to(np.float64(0), lip.shape))
    means = []
    for shift in range(-max_shift, max_shift + 1):
        first, end = min(max(0, -shift), num_windows), max(min(num_windows, num_windows - shift), 0)
        inside = _distances(lip[first:end], audio[first + shift : end + shift])
        outside = against_zeros[:first].sum() + against_zeros[end:].sum()
        means.append((inside.sum() + outside) / num_windows)
    return np.array(means)


def _judge(distances: np.ndarray) -> LipSync:
    best = int(distances.argmin())
    lse_d = float(distances[best])
    return LipSync(len(distances) // 2 - best, lse_d, float(np.median(distances)) - lse_d)


def _distances(lip: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Euclidean distance row by row, float64 (n,)."""
    out = np.empty(len(lip))
    for row in range(0, len(lip), _ROWS_AT_ONCE):
        rows = slice(row, row + _ROWS_AT_ONCE)
        difference = lip[rows].astype(np.float64) - audio[rows] + _PAIRWISE_EPS
        out[rows] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return out


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float64; a row of zeros stays zeros and so resembles nothing."""
    rows = embeddings.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _checked(lip: np.ndarray, audio: np.ndarray, max_shift: int, num_neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    lip, audio = np.asarray(lip), np.asarray(audio)
    if max_shift < 0:
        raise ValueError(f"max_shift must be 0 or more, not {max_shift}")
    shapes = f"lip embeddings of shape {lip.shape} and audio embeddings of shape {audio.shape}"
    if lip.ndim != 2 or audio.ndim != 2 or not lip.size:
        raise ValueError(f"scoring wants lip (n, D) and audio (n{f' + {num_neighbours}' if num_neighbours else ''}, D), got {shapes}")
    if lip.shape[1] != audio.shape[1]:
        raise ValueError(f"{shapes} are not from the same network: D differs")
    if len(audio) != len(lip) + num_neighbours:
        raise ValueError(f"{shapes} do not fit: {len(lip)} lip windows need {len(lip) + num_neighbours} audio windows")
    for name, rows in (("lip", lip), ("audio", audio)):
        if not np.issubdtype(rows.dtype, np.floating):
            raise ValueError(f"{name} embeddings must be floats, not {rows.dtype}")
        if not np.isfinite(rows).all():
            raise ValueError(f"{name} embeddings of shape {rows.shape} hold NaN or infinity")
    return lip, audio


def _shares(weights: np.ndarray | None, num_windows: int) -> np.ndarray:
    """Weights that sum to 1, float64 (n,)."""
    if weights is None:
        return np.full(num_windows, 1 / num_windows)
    share = np.asarray(weights, np.float64)
    if share.shape != (num_windows,):
        raise ValueError(f"weights of shape {share.shape} do not fit {num_windows} windows")
    if not np.isfinite(share).all() or (share < 0).any() or not share.sum() > 0:
        raise ValueError("weights must be finite, not negative, and at least one above 0")
    return share / share.sum()
