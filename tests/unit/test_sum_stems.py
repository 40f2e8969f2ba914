"""A dub made of character stems: each where it was, as loud as it was, and never clipped."""

from pathlib import Path

import numpy as np
import pytest

from infra.artifacts import ArtifactStore
from infra.sound import read_audio
from tasks.sum_stems import RATE_HZ, SummedStems, sum_stems
from tasks.types import Stem
from tests.media import Sound, beep_starts, beeps, tone, write_sound


def stem(path: Path, samples: np.ndarray, rate: int = RATE_HZ) -> Stem:
    write_sound(path, Sound(samples, rate, codec="pcm_s16le"))
    store = ArtifactStore(path.parent / "unused")
    analysis = store.put_array(np.zeros(1, np.float32))
    return Stem(
        path=str(path), sha256=f"{len(path.name):064d}", language="fr", role="dialogue", sample_rate_hz=rate, num_channels=samples.shape[1],
        num_samples=len(samples), analysis=analysis,
    )  # fmt: skip


def heard(store: ArtifactStore, made: SummedStems) -> np.ndarray:
    samples, rate, _ = read_audio(store.path(made.sound))
    assert rate == RATE_HZ
    return samples


def test_the_sum_holds_each_stem_where_it_was_and_as_loud_as_it_was(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "work")
    anna, ben = beeps(21.0, [1.0, 12.0], RATE_HZ) * 0.5, beeps(20.0, [4.0], RATE_HZ) * 0.25
    made = sum_stems(store, {"ANNA": stem(tmp_path / "anna.wav", anna), "BEN": stem(tmp_path / "benny.wav", ben)}, "fr")
    assert (made.gain_db, made.warnings) == (0.0, ())
    expected = anna.copy()
    expected[: len(ben)] += ben
    samples = heard(store, made)
    assert samples.shape == expected.shape
    assert np.abs(samples - expected).max() < 1e-3


def test_a_sum_that_would_clip_is_turned_down_as_a_whole_and_that_is_said(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "work")
    loud = tone(1.0, RATE_HZ) * 2.2
    made = sum_stems(store, {"ANNA": stem(tmp_path / "anna.wav", loud), "BEN": stem(tmp_path / "benny.wav", loud)}, "fr")
    samples = heard(store, made)
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    assert np.abs(samples - 2 * loud * 10 ** (made.gain_db / 20)).max() < 3e-3
    assert any("turned down by 5.9 dB" in text for text in made.warnings)


def test_stems_of_other_rates_and_channels_meet_in_mono_at_the_right_time(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "work")
    low = stem(tmp_path / "anna.wav", beeps(3.0, [0.5], 16000) * 0.5, 16000)
    stereo = stem(tmp_path / "benny.wav", beeps(3.0, [2.0], 44100, num_channels=2) * 0.5, 44100)
    made = sum_stems(store, {"ANNA": low, "BEN": stereo}, "fr")
    samples = heard(store, made)
    assert samples.shape[1] == 1
    assert beep_starts(samples[:, 0], RATE_HZ) == pytest.approx([0.5, 2.0], abs=0.003)
    assert any("their sum is mono" in text for text in made.warnings)


def test_stems_of_the_same_channels_keep_them(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "work")
    left = np.concatenate([beeps(2.0, [0.5], RATE_HZ), np.zeros((2 * RATE_HZ, 1), np.float32)], axis=1) * 0.5
    right = np.concatenate([np.zeros((2 * RATE_HZ, 1), np.float32), beeps(2.0, [1.0], RATE_HZ)], axis=1) * 0.5
    samples = heard(store, sum_stems(store, {"ANNA": stem(tmp_path / "anna.wav", left), "BEN": stem(tmp_path / "benny.wav", right)}, "fr"))
    assert beep_starts(samples[:, 0], RATE_HZ) == pytest.approx([0.5], abs=0.001)
    assert beep_starts(samples[:, 1], RATE_HZ) == pytest.approx([1.0], abs=0.001)
