"""The colour sync expert over whole tracks: faces and mel windows in, embeddings out, numpy both ways."""

import numpy as np
import torch

from wav2lip_core.sync_expert import NUM_FRAMES, SyncExpert

BATCH = 64


def embed_faces(expert: SyncExpert, faces: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """faces uint8 (n, S, S, 3) BGR -> float32 (m - 4, D), row v for the five faces index[v] ... index[v + 4]; (0, D) when m < 5.

    index (m,) picks faces at 25 a second out of a track of any rate; by default all of them. faces may be memory-mapped. Float32, deterministic.
    """
    size = expert.config.face_size
    if faces.ndim != 4 or faces.shape[1:] != (size, size, 3) or faces.dtype != np.uint8:
        raise ValueError(f"embed_faces wants uint8 (n, {size}, {size}, 3), got {faces.dtype} {faces.shape}")
    index = np.arange(len(faces)) if index is None else index
    num_windows = max(0, len(index) - NUM_FRAMES + 1)
    rows = [np.zeros((0, expert.num_features), np.float32)]
    with torch.inference_mode():
        for first in range(0, num_windows, BATCH):
            count = min(BATCH, num_windows - first)
            lower = np.asarray(faces[index[first : first + count + NUM_FRAMES - 1], size // 2 :]).transpose(0, 3, 1, 2)
            windows = np.concatenate([lower[t : t + count] for t in range(NUM_FRAMES)], axis=1)
            rows.append(expert.embed_face(torch.from_numpy(windows).float().div_(255)).numpy())
    return np.concatenate(rows)


def embed_mel(expert: SyncExpert, windows: np.ndarray) -> np.ndarray:
    """Mel windows float32 (n, 80, 16) -> float32 (n, D)."""
    with torch.inference_mode():
        parts = [expert.embed_audio(torch.from_numpy(windows[i : i + 4 * BATCH]).unsqueeze(1)).numpy() for i in range(0, len(windows), 4 * BATCH)]
    return np.concatenate(parts)
