"""When things are seen and heard: frame times, the 25 Hz ticks of the sync expert, and what is spoken around them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from tasks.types import Film, Stem
from wav2lip_core.mel import SAMPLE_RATE_HZ
from wav2lip_core.speech import FRAMES_PER_S, speech_activity
from wav2lip_core.sync_expert import NUM_FRAMES

TICKS_PER_S = 25  # the rate at which the sync expert sees and hears
WINDOW_S = NUM_FRAMES / TICKS_PER_S
_CONTEXT_S = 2.0  # sound heard around a stretch, so that the voice detector settles


def frame_times_s(store: ArtifactStore, film: Film) -> np.ndarray:
    """Seconds from the film's first frame to each frame: float64 (num_frames,)."""
    return _frame_times(
        store,
        film.timing,  # pyright: ignore[reportArgumentType] - frozen records hash
        film.time_base.numerator,
        film.time_base.denominator,
    )


@lru_cache(maxsize=8)
def _frame_times(store: ArtifactStore, timing: Artifact, numerator: int, denominator: int) -> np.ndarray:
    pts = store.load_arrays(timing)["pts"]
    times = (pts - pts[0]) * (numerator / denominator)
    times.setflags(write=False)
    return times


@dataclass(frozen=True, eq=False)
class Ticks:
    """25 moments a second from the first to the last of a run of frames, and which frame is on screen at each."""

    times_s: np.ndarray  # (m,)
    frames: np.ndarray  # (m,) counted from the run's first frame

    @property
    def num_windows(self) -> int:
        """Five-frame windows of the sync expert."""
        return max(0, len(self.times_s) - NUM_FRAMES + 1)


def ticks_of(frame_times: np.ndarray, first: int, end: int, fps: float) -> Ticks:
    """Ticks over the frames [first, end). At 25 fps they are the frames themselves."""
    times = frame_times[first:end]
    duration_s = times[-1] - times[0] + 1 / fps
    tick_times = times[0] + np.arange(max(1, round(duration_s * TICKS_PER_S))) / TICKS_PER_S
    tolerance_s = 0.002  # Matroska rounds to whole milliseconds
    frames = np.searchsorted(times, tick_times + tolerance_s, side="right") - 1
    return Ticks(tick_times, np.clip(frames, 0, end - first - 1))


@lru_cache(maxsize=64)
def _speech_between(store: ArtifactStore, analysis: Artifact, first: int, end: int) -> np.ndarray:
    """Speech per 10 ms over [first, end) hundredths of a second of a stem; outside the sound nobody speaks."""
    wave = store.load_array(analysis)
    samples = SAMPLE_RATE_HZ // FRAMES_PER_S
    context = int(_CONTEXT_S * FRAMES_PER_S)
    from_frame = max(0, first - context)
    heard = speech_activity(np.asarray(wave[from_frame * samples : (end + context) * samples]))
    out = np.zeros(end - first, bool)
    known = heard[max(0, first - from_frame) :][: end - max(first, 0)]
    offset = max(0, -first)
    out[offset : offset + len(known)] = known[: len(out) - offset]
    return out


def speech_share(store: ArtifactStore, stem: Stem, times_s: np.ndarray, window_s: float = WINDOW_S) -> np.ndarray:
    """For each time, the share of the following `window_s` in which the stem speaks: float64 (n,) in [0, 1]. Times must ascend."""
    if len(times_s) == 0:
        return np.zeros(0)
    first = int(np.floor(times_s[0] * FRAMES_PER_S))
    end = int(np.ceil((times_s[-1] + window_s) * FRAMES_PER_S)) + 1
    spoken = _speech_between(store, stem.analysis, first, end)  # pyright: ignore[reportArgumentType] - frozen records hash
    total = np.concatenate([[0], np.cumsum(spoken)])
    length = max(1, round(window_s * FRAMES_PER_S))
    begin = np.clip(np.round(times_s * FRAMES_PER_S).astype(int) - first, 0, len(total) - 1 - length)
    return (total[begin + length] - total[begin]) / length
