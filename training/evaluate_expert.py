"""How well an expert tells which sound belongs to which lips, on people who were not in training."""

import time

import numpy as np

from training import dataset, measures
from training.measures import Figure, best_offset, interval, ratio, two_way
from wav2lip_core.sync_embedder import embed_faces, embed_mel
from wav2lip_core.sync_expert import SyncExpert

LONG = 75  # frames of a three-second stretch
SECOND = 25
SPEECH_SHARE = 0.6  # of a stretch's columns, for it to be one with speech
PLANTED = range(-6, 7)
DETECTION_THRESHOLD = 0.5


def evaluate_expert(expert: SyncExpert, clips: list[dataset.Clip], num_bootstrap: int = 1000) -> dict[str, Figure]:
    """Two-way accuracy per single window; detection at threshold 0.5; offset found within one frame on stretches of three seconds, as they are and
    with the sound moved by -6 to +6 frames, and on one-second stretches with speech; margin of the best offset over the median one; frames (faces and
    their sound) looked at in a second, and parameters."""
    table = np.array([_judge_expert(expert, clip) for clip in clips], float)
    figures = {name: ratio(table[:, 2 * k], table[:, 2 * k + 1], num_bootstrap) for k, name in enumerate(_EXPERT_SHARES)}
    figures["margin"] = interval(table[:, -1], np.ones(len(table)), num_bootstrap)
    return figures | {"num_parameters": measures.exact(sum(parameter.numel() for parameter in expert.parameters()), num_bootstrap)}


_EXPERT_SHARES = (
    "two_way_accuracy", "off_sync_detection", "in_sync_detection", "detection_accuracy", "offset_within_1_3s", "offset_within_1_1s",
    "planted_offset_within_1_3s", "frames_per_second",
)  # fmt: skip


def _judge_expert(expert: SyncExpert, clip: dataset.Clip) -> list[float]:
    """For each share, how often and out of how many; then the margin."""
    faces = dataset.plain_crop(clip.crops, expert.config.face_size)
    started = time.perf_counter()
    lips = embed_faces(expert, faces)
    reach = max(abs(offset) for offset in PLANTED)
    sounds = embed_mel(expert, dataset.mel_at(clip.mel, np.arange(-reach, len(lips) + reach)))
    took_s = time.perf_counter() - started
    similarity = lips @ sounds[reach : reach + len(lips)].T
    n, far = len(lips), measures.far_pairs(len(lips))
    accuracy, num_pairs = two_way(similarity)
    off, near = float((similarity[far] < DETECTION_THRESHOLD).mean()) if far.any() else 0.0, np.diag(similarity) >= DETECTION_THRESHOLD
    long = _stretches(n, LONG - 4, LONG - 4)
    hits = sum(abs(best_offset(similarity, a, b)[0]) <= 1 for a, b in long)
    quiet = dataset.silent_columns(clip.mel)
    seconds = [
        (a, b)
        for a, b in _stretches(n, SECOND, SECOND // 2)
        if quiet[int(a * 3.2) : int((b + 4) * 3.2)].mean() < 1 - SPEECH_SHARE and b - a == SECOND
    ]
    hits_1s = sum(abs(best_offset(similarity, a, b)[0]) <= 1 for a, b in seconds)
    planted = 0
    for offset in PLANTED:  # the sound comes `offset` frames early: at frame f there is what belongs to f + offset
        moved = lips @ sounds[reach + offset : reach + offset + n].T
        planted += sum(abs(best_offset(moved, a, b)[0] - offset) <= 1 for a, b in long)
    num_far = float(far.sum())
    detected = (off + float(near.mean())) / 2
    return [
        accuracy * num_pairs, num_pairs, off * num_far, num_far, float(near.sum()), n, detected * n, n, hits, len(long), hits_1s, len(seconds),
        planted, len(long) * len(PLANTED), len(faces), took_s, best_offset(similarity)[1],
    ]  # fmt: skip


def _stretches(num_windows: int, length: int, step: int) -> list[tuple[int, int]]:
    """Ranges of windows of this length; one of all windows where there are fewer."""
    return [(a, a + length) for a in range(0, num_windows - length + 1, step)] or [(0, num_windows)]
