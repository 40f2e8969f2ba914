"""A recording is known again after re-encoding and cutting; another one of the same voice is not."""

import numpy as np
import pytest

from infra.sound import SoundReader, read_mono
from tests.media import Sound, write_sound
from tests.training.people import voice
from training.fingerprint import KnownRecordings, fingerprint


@pytest.fixture(scope="module")
def known() -> KnownRecordings:
    recordings = KnownRecordings()
    for seed in range(20):
        recordings.add(f"clip{seed}", fingerprint(voice(seed, 75)))
    return recordings


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "m4a"), ("libmp3lame", "mp3"), ("libopus", "ogg")])
def test_a_recording_is_known_after_lossy_coding_at_another_rate(known, tmp_path, codec, suffix) -> None:
    path = write_sound(tmp_path / f"x.{suffix}", Sound(voice(7, 75, 48000)[:, None], 48000, codec))
    again = np.concatenate(list(read_mono(SoundReader(path), 16000)))
    assert known.find(fingerprint(again)) == "clip7"


def test_a_part_of_a_recording_is_known_quieter_and_noisier(known) -> None:
    part = voice(3, 75)[9_111:] * 0.3
    noise = np.random.default_rng(0).normal(0, 0.002, len(part)).astype(np.float32)
    assert known.find(fingerprint(part + noise)) == "clip3"


def test_other_recordings_are_new(known) -> None:
    assert [known.find(fingerprint(voice(seed, 75))) for seed in range(100, 130)] == [None] * 30


def test_silence_resembles_nothing(known) -> None:
    silence = np.zeros(48_000, np.float32)
    recordings = KnownRecordings()
    recordings.add("silence", fingerprint(silence))
    assert recordings.find(fingerprint(silence)) is None
    assert known.find(fingerprint(np.zeros(100, np.float32))) is None


def test_real_clips_of_one_person_are_each_other_s_copies_in_no_case(shared) -> None:
    """Same man, same studio, sentences of the same grammar."""
    recordings, copies = KnownRecordings(), []
    for path in sorted((shared / "media" / "grid" / "s1").glob("*.mp4"))[:25]:
        words = fingerprint(np.concatenate(list(read_mono(SoundReader(path), 16000))))
        copies.append(recordings.find(words))
        recordings.add(path.name, words)
    assert copies == [None] * len(copies)
    assert len(copies) > 10
