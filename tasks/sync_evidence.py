"""What the sync expert makes of a face and a sound: embeddings kept by content, and scores with a reason where there is none."""

from functools import lru_cache

import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from tasks.timeline import TICKS_PER_S, Ticks, speech_share
from tasks.types import Models, Record, Stem, SyncScore
from wav2lip_core.checkpoint import load_sync_expert
from wav2lip_core.mel import windows_from
from wav2lip_core.sync_embedder import embed_faces, embed_mel
from wav2lip_core.sync_expert import SyncExpert
from wav2lip_core.sync_scorer import MAX_SHIFT, Margin, margin, score_in_context

VERSION = 1
MIN_SPEECH_WINDOWS = 8.0  # a third of a second of speech; less says nothing
_BLOCK = 1024  # sounds embedded at a time


class Embeddings(Record):
    """Unit vectors of the sync expert, one row per window."""

    rows: Artifact  # .npy float32 (n, D)


@lru_cache(maxsize=2)
def shared_expert(path: str, sha256: str) -> SyncExpert:
    """The expert of this process, loaded once. sha256 is part of the name: a changed file is another expert."""
    return load_sync_expert(path)


def lips_of(store: ArtifactStore, crops: Artifact, ticks: Ticks, models: Models) -> np.ndarray:
    """Embeddings of a track's crops (.npy uint8 (n, 96, 96, 3)) at the ticks: float32 (ticks - 4, D)."""

    def make() -> Embeddings:
        expert = shared_expert(models.expert_path, models.expert_sha256)
        return Embeddings(rows=store.put_array(embed_faces(expert, store.load_array(crops), ticks.frames)))

    inputs = {"crops": crops.sha256, "frames": ticks.frames.tolist(), "expert": models.expert_sha256}
    return store.load_array(store.get_or_make("embed_lips", VERSION, inputs, Embeddings, make).rows)


def sound_of(store: ArtifactStore, stem: Stem, ticks: Ticks, models: Models) -> np.ndarray:
    """Embeddings of the stem at the windows' times and 15 before and after: float32 (windows + 30, D)."""

    def make() -> Embeddings:
        expert, wave = shared_expert(models.expert_path, models.expert_sha256), store.load_array(stem.analysis)
        times = ticks.times_s[0] + np.arange(-MAX_SHIFT, ticks.num_windows + MAX_SHIFT) / TICKS_PER_S
        parts = [embed_mel(expert, windows_from(wave, times[i : i + _BLOCK])) for i in range(0, len(times), _BLOCK)]
        return Embeddings(rows=store.put_array(np.concatenate(parts)))

    inputs = {"stem": stem.analysis.sha256, "start_s": float(ticks.times_s[0]), "num_windows": ticks.num_windows, "expert": models.expert_sha256}
    return store.load_array(store.get_or_make("embed_sound", VERSION, inputs, Embeddings, make).rows)


def speech_weights(store: ArtifactStore, stem: Stem, ticks: Ticks) -> np.ndarray:
    """How much of each window is speech: float64 (num_windows,) in [0, 1]."""
    return speech_share(store, stem, ticks.times_s[: ticks.num_windows])


def fit_of(lips: np.ndarray, sound: np.ndarray, weights: np.ndarray) -> Margin | None:
    """How far the best shift stands out over the weighted windows; None where too little is spoken."""
    return margin(lips, sound, weights) if weights.sum() >= MIN_SPEECH_WINDOWS else None


def score_of(lips: np.ndarray, sound: np.ndarray, weights: np.ndarray, models: Models) -> SyncScore:
    """LSE-D, LSE-C and offset over the weighted windows, or why there are none."""
    if len(lips) == 0:
        return SyncScore(scorer_sha256=models.expert_sha256, reason="the face is seen for less than a fifth of a second")
    num_windows = round(float(weights.sum()))
    if weights.sum() < MIN_SPEECH_WINDOWS:
        return SyncScore(num_windows=num_windows, scorer_sha256=models.expert_sha256, reason="too little speech to judge")
    offset, lse_d, lse_c = score_in_context(lips, sound, weights)
    return SyncScore(offset_frames=offset, confidence=lse_c, distance=lse_d, num_windows=num_windows, scorer_sha256=models.expert_sha256)
