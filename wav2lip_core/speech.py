"""Where somebody speaks: WebRTC's voice detector with a level gate, smoothed; decides what is scored and where mouths rest."""

import numpy as np
import webrtcvad

SAMPLE_RATE_HZ = 16000
FRAMES_PER_S = 100
_FRAME = SAMPLE_RATE_HZ // FRAMES_PER_S
_AGGRESSIVENESS = 2
_FLOOR_DB = -55.0  # full scale; nothing below is speech
_BELOW_LOUD_DB = 35.0  # under the loudest tenth of what is heard here nothing is speech
_BRIDGE, _SHORTEST = 12, 6  # frames of 10 ms: shorter pauses are bridged, shorter bursts dropped


def speech_activity(waveform: np.ndarray) -> np.ndarray:
    """Mono float waveform (n,) in [-1, 1] at 16 kHz -> bool (n // 160,): speech, per 10 ms."""
    num_frames = len(waveform) // _FRAME
    frames = np.clip(np.asarray(waveform[: num_frames * _FRAME], np.float32).reshape(num_frames, _FRAME), -1, 1)
    if num_frames == 0:
        return np.zeros(0, bool)
    level_db = 10 * np.log10(np.maximum(1e-12, np.square(frames).mean(axis=1)))
    loud = level_db > max(_FLOOR_DB, float(np.percentile(level_db, 95)) - _BELOW_LOUD_DB)
    detector = webrtcvad.Vad(_AGGRESSIVENESS)
    pcm = (frames * 32767).astype("<i2")
    voiced = np.fromiter((detector.is_speech(frame.tobytes(), SAMPLE_RATE_HZ) for frame in pcm), bool, num_frames)
    return _without_runs(~_without_runs(~(voiced & loud), _BRIDGE), _SHORTEST)


def _without_runs(active: np.ndarray, shortest: int) -> np.ndarray:
    """Runs of True shorter than `shortest` become False."""
    out = active.copy()
    for first, end in runs(active):
        if end - first < shortest:
            out[first:end] = False
    return out


def runs(active: np.ndarray) -> list[tuple[int, int]]:
    """Half-open ranges in which a bool (n,) array is True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
