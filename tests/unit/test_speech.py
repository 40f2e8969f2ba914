"""Where somebody speaks."""

import numpy as np
import pytest

from wav2lip_core.speech import runs, speech_activity


def test_silence_and_nothing_hold_no_speech() -> None:
    assert not speech_activity(np.zeros(16000, np.float32)).any()
    assert len(speech_activity(np.zeros(10, np.float32))) == 0


def test_faint_noise_is_no_speech() -> None:
    noise = (np.random.default_rng(0).standard_normal(32000) * 1e-4).astype(np.float32)
    assert not speech_activity(noise).any()


def test_runs_are_half_open() -> None:
    assert runs(np.array([1, 1, 0, 0, 1], bool)) == [(0, 2), (4, 5)]
    assert runs(np.zeros(3, bool)) == []


@pytest.mark.shared
def test_a_real_sentence_is_found_between_its_pauses(shared) -> None:
    import librosa

    from infra.video import read_audio

    samples, rate, _ = read_audio(shared / "media" / "grid" / "s26_m" / "pbbg5p.mpg")
    wave = librosa.resample(samples.mean(axis=1), orig_sr=rate, target_sr=16000)
    active = speech_activity(np.concatenate([np.zeros(16000, np.float32), wave, np.zeros(16000, np.float32)]))
    assert not active[:100].any()
    assert not active[-95:].any()
    assert 100 < active.sum() < 290
