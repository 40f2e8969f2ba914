"""What the sync expert makes of a face and a sound: embeddings kept by content, and scores with a reason where there is none."""

import threading
from functools import lru_cache

import numpy as np
import torch

from infra.artifacts import Artifact, ArtifactStore
from infra.settings import get_settings, num_cpus
from tasks.timeline import TICKS_PER_S, Ticks, speech_share
from tasks.types import Models, Record, Stem, SyncScore
from wav2lip_core.checkpoint import load_sync_expert
from wav2lip_core.fast_expert import make_fast_expert
from wav2lip_core.mel import windows_from
from wav2lip_core.precision import describe_arithmetic, multiplies_bf16
from wav2lip_core.sync_embedder import embed_faces, embed_mel
from wav2lip_core.sync_expert import SyncExpert
from wav2lip_core.sync_interval import bootstrap, distance_rows, middle_columns
from wav2lip_core.sync_scorer import MAX_SHIFT, Margin, margin, score_in_context

VERSION = 1
MIN_SPEECH_WINDOWS = 8.0  # a third of a second of speech; less says nothing
MAX_PLANTED = 6  # frames by which the self-test moves the sound, either way
REACH = MAX_SHIFT + MAX_PLANTED
_BLOCK = 1024  # sounds embedded at a time
_loading = threading.Lock()


class Embeddings(Record):
    """Unit vectors of the sync expert, one row per window."""

    rows: Artifact  # .npy float32 (n, D)


def shared_expert(models: Models) -> SyncExpert:
    """The expert of this process, loaded once: in bf16 where the run is not in float32 and this processor multiplies bf16."""
    with _loading:
        return _loaded(models.expert_path, models.expert_sha256, _is_exact(models))


def _is_exact(models: Models) -> bool:
    return models.precision == "float32" or not multiplies_bf16()


@lru_cache(maxsize=2)
def _loaded(path: str, _sha256: str, is_exact: bool) -> SyncExpert:
    """_sha256: a changed file is another expert."""
    expert = load_sync_expert(path)
    num_at_once = max(1, num_cpus() // torch.get_num_threads())
    return expert if is_exact else make_fast_expert(expert, get_settings().models_folder / "compiled", num_at_once)


def expert_inputs(models: Models) -> dict[str, str]:
    """What the key of anything that the expert has a say in tells of it; its arithmetic is not told where it is float32, the reference."""
    arithmetic = {} if _is_exact(models) else {"expert_arithmetic": describe_arithmetic("bf16")}
    return {"expert": models.expert_sha256} | arithmetic


def lips_of(store: ArtifactStore, crops: Artifact, ticks: Ticks, models: Models) -> np.ndarray:
    """Embeddings of a track's crops (.npy uint8 (n, 96, 96, 3)) at the ticks: float32 (ticks - 4, D)."""

    def make() -> Embeddings:
        expert = shared_expert(models)
        return Embeddings(rows=store.put_array(embed_faces(expert, store.load_array(crops), ticks.frames)))

    inputs = {"crops": crops.sha256, "frames": ticks.frames.tolist()} | expert_inputs(models)
    return store.load_array(store.get_or_make("embed_lips", VERSION, inputs, Embeddings, make).rows)


def sound_of(store: ArtifactStore, stem: Stem, ticks: Ticks, models: Models) -> np.ndarray:
    """Embeddings of the stem at the windows' times and 15 before and after: float32 (windows + 30, D)."""
    return _sound_between(store, stem, ticks, -MAX_SHIFT, ticks.num_windows + MAX_SHIFT, models)


def sound_around(store: ArtifactStore, stem: Stem, ticks: Ticks, models: Models) -> np.ndarray:
    """The same with the six windows more on either side that planted offsets reach: float32 (windows + 42, D)."""
    before = _sound_between(store, stem, ticks, -REACH, -MAX_SHIFT, models)
    after = _sound_between(store, stem, ticks, ticks.num_windows + MAX_SHIFT, ticks.num_windows + REACH, models)
    return np.concatenate([before, sound_of(store, stem, ticks, models), after])


def _sound_between(store: ArtifactStore, stem: Stem, ticks: Ticks, first: int, end: int, models: Models) -> np.ndarray:
    """Embeddings of the windows [first, end), counted from the first tick's."""

    def make() -> Embeddings:
        expert, wave = shared_expert(models), store.load_array(stem.analysis)
        times = ticks.times_s[0] + np.arange(first, end) / TICKS_PER_S
        parts = [embed_mel(expert, windows_from(wave, times[i : i + _BLOCK])) for i in range(0, len(times), _BLOCK)]
        return Embeddings(rows=store.put_array(np.concatenate(parts)))

    inputs = {"stem": stem.analysis.sha256, "start_s": float(ticks.times_s[0])} | expert_inputs(models)
    if (first, end) == (-MAX_SHIFT, ticks.num_windows + MAX_SHIFT):
        inputs |= {"num_windows": ticks.num_windows}
    else:
        inputs |= {"first": first, "end": end}
    return store.load_array(store.get_or_make("embed_sound", VERSION, inputs, Embeddings, make).rows)


def speech_weights(store: ArtifactStore, stem: Stem, ticks: Ticks) -> np.ndarray:
    """How much of each window is speech: float64 (num_windows,) in [0, 1]."""
    return speech_share(store, stem, ticks.times_s[: ticks.num_windows])


def fit_of(lips: np.ndarray, sound: np.ndarray, weights: np.ndarray) -> Margin | None:
    """How far the best shift stands out over the weighted windows; None where too little is spoken."""
    return margin(lips, sound, weights) if weights.sum() >= MIN_SPEECH_WINDOWS else None


def score_of(lips: np.ndarray, sound: np.ndarray, weights: np.ndarray, models: Models) -> tuple[SyncScore, np.ndarray]:
    """LSE-D, LSE-C and offset over the weighted windows with their interval, or why there are none; and the distances that tell it.

    sound (n + 2 * r, D), r >= 15. The distances are float32 (n, 2 * r + 1), one row per window; where nothing is spoken they count for nothing.
    """
    if len(lips) == 0:
        reason = "the face is seen for less than a fifth of a second"
        return SyncScore(scorer_sha256=models.expert_sha256, reason=reason), np.zeros((0, len(sound) + 1), np.float32)
    rows = distance_rows(lips, sound)
    num_windows = round(float(weights.sum()))
    if weights.sum() < MIN_SPEECH_WINDOWS:
        return SyncScore(num_windows=num_windows, scorer_sha256=models.expert_sha256, reason="too little speech to judge"), rows
    spare = (len(sound) - len(lips)) // 2 - MAX_SHIFT
    offset, lse_d, lse_c = score_in_context(lips, sound[spare : len(sound) - spare], weights)
    low, high, agreement = bootstrap(middle_columns(rows), weights)
    score = SyncScore(
        offset_frames=offset,
        confidence=lse_c,
        distance=lse_d,
        confidence_low=low,
        confidence_high=high,
        offset_agreement=agreement,
        num_windows=num_windows,
        scorer_sha256=models.expert_sha256,
    )
    return score, rows
