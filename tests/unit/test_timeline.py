"""Ticks at any frame rate, and how much is spoken when."""

from pathlib import Path

import numpy as np
import pytest

from infra.artifacts import ArtifactStore
from tasks.timeline import speech_share, ticks_of
from tasks.types import Stem


@pytest.mark.parametrize("fps", [23.976, 25.0, 29.97, 50.0, 60.0])
def test_ticks_are_25_a_second_and_show_the_frame_on_screen(fps: float) -> None:
    times = np.arange(600) / fps
    first, end = 37, 501
    ticks = ticks_of(times, first, end, fps)
    assert len(ticks.times_s) == round((end - first) / fps * 25)
    shown = times[first + ticks.frames]
    assert (shown <= ticks.times_s + 0.0021).all()
    assert (ticks.times_s - shown < 1 / fps + 0.001).all()


def test_at_25_fps_the_ticks_are_the_frames() -> None:
    assert ticks_of(np.arange(100) / 25, 10, 60, 25.0).frames.tolist() == list(range(50))


def test_timestamps_rounded_to_milliseconds_change_nothing() -> None:
    exact, rounded = np.arange(500) / 25, np.round(np.arange(500) / 25, 3)
    assert np.array_equal(ticks_of(exact, 0, 500, 25.0).frames, ticks_of(rounded, 0, 500, 25.0).frames)


def test_a_one_frame_shot_has_a_tick_and_no_window() -> None:
    ticks = ticks_of(np.arange(10) / 25, 3, 4, 25.0)
    assert len(ticks.times_s) == 1
    assert ticks.num_windows == 0


def test_variable_frame_rate_shows_the_last_frame_that_has_come() -> None:
    times = np.array([0, 0.04, 0.08, 0.5, 0.54])
    ticks = ticks_of(times, 0, 5, 25.0)
    assert ticks.frames[2] == 2
    assert ticks.frames[10] == 2  # 0.40 s: the frame of 0.08 s still stands
    assert ticks.frames[13] == 3


def _stem(store: ArtifactStore, wave: np.ndarray) -> Stem:
    return Stem(
        path="x", sha256="0" * 64, role="dialogue", sample_rate_hz=16000, num_channels=1, num_samples=len(wave), analysis=store.put_array(wave)
    )


def test_silence_before_within_and_after_the_sound_is_no_speech(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    stem = _stem(store, np.zeros(32000, np.float32))
    share = speech_share(store, stem, np.arange(-10, 70) / 25)
    assert share.shape == (80,)
    assert (share == 0).all()


def test_speech_is_found_at_its_time_from_any_starting_point(tmp_path: Path, shared: Path) -> None:
    import librosa

    from infra.video import read_audio

    samples, rate, _ = read_audio(shared / "media" / "grid" / "s26_m" / "pbbg5p.mpg")
    voice = librosa.resample(samples.mean(axis=1), orig_sr=rate, target_sr=16000)
    wave = np.concatenate([np.zeros(16000 * 5), voice, np.zeros(16000 * 5)]).astype(np.float32)
    store = ArtifactStore(tmp_path)
    stem = _stem(store, wave)
    whole = speech_share(store, stem, np.arange(0, 300) / 25)
    assert whole[:125].max() == 0
    assert whole[140:190].mean() > 0.5
    assert whole[210:].max() == 0
    assert np.abs(speech_share(store, stem, np.arange(130, 190) / 25) - whole[130:190]).mean() < 0.05
