"""Whether anybody is heard at all: in a whole stem, and in a run of frames."""

import numpy as np

from infra.artifacts import ArtifactStore
from tasks.timeline import frame_times_s, speech_share
from tasks.types import Film, Stem
from wav2lip_core.mel import SAMPLE_RATE_HZ
from wav2lip_core.speech import FRAMES_PER_S, speech_activity

LEAST_SPEECH_S = 0.3  # a third of a second of speech; less says nothing
_BLOCK_S = 60


def has_speech(store: ArtifactStore, stem: Stem) -> bool:
    """Whether a stem speaks for LEAST_SPEECH_S in any of its minutes. Memory is flat, and a talking film is known by its first minute."""
    wave = store.load_array(stem.analysis)
    block = _BLOCK_S * SAMPLE_RATE_HZ
    return any(speech_activity(np.asarray(wave[i : i + block])).sum() >= LEAST_SPEECH_S * FRAMES_PER_S for i in range(0, len(wave), block))


def is_heard(store: ArtifactStore, film: Film, stem: Stem, first: int, end: int) -> bool:
    """Whether the stem speaks while the frames [first, end) are on screen."""
    return bool((speech_share(store, stem, frame_times_s(store, film)[first:end]) > 0).any())


def spoken_frames(store: ArtifactStore, film: Film, stem: Stem, first: int, end: int, margin_s: float) -> np.ndarray:
    """The frames of [first, end) in which the stem is heard, or less than margin_s before or after: bool (end - first,)."""
    times = frame_times_s(store, film)[first:end]
    return speech_share(store, stem, times - margin_s, 2 * margin_s) > 0
