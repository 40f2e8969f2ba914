"""Reading sound: no codec shifts it, no layout loses it, a hole in it is silence."""

from pathlib import Path

import av
import numpy as np
import pytest
import soxr

from infra.errors import InputError
from infra.sound import SoundReader, read_audio, read_mono, to_mono
from tests import media


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return media.numbered_film(tmp_path_factory.mktemp("film") / "film.mp4", 60, sound=media.Sound(media.tone(2.4)))


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.wav", "pcm_s16le", 44100),
        ("a.wav", "pcm_s24le", 48000),
        ("a.wav", "pcm_f32le", 96000),
        ("a.wav", "pcm_u8", 8000),
        ("a.flac", "flac", 48000),
        ("a.m4a", "aac", 44100),
        ("a.m4a", "aac", 48000),
        ("a.mp3", "libmp3lame", 44100),
        ("a.ogg", "libopus", 48000),
        ("a.mkv", "aac", 48000),
        ("a.mkv", "libopus", 48000),
    ],
)
def test_no_codec_shifts_the_sound(name, codec, rate, tmp_path):
    at_s = [0.2, 2.0, 3.9]
    path = media.write_sound(tmp_path / name, media.Sound(media.beeps(4.2, at_s, rate), rate, codec))
    samples, read_rate, start_s = read_audio(path)
    assert samples.dtype == np.float32
    assert samples.ndim == 2
    heard = [start_s + at for at in media.beep_starts(samples[:, 0], read_rate)]
    assert heard == pytest.approx(at_s, abs=0.003)


def test_a_hole_in_the_sound_is_silence_of_the_same_length(tmp_path):
    source = media.write_sound(tmp_path / "a.mkv", media.Sound(media.beeps(4.0, [0.5, 3.5]), 48000, "flac"))
    holed = tmp_path / "holed.mkv"
    with av.open(str(source)) as old, av.open(str(holed), "w") as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(audio=0):
            if packet.dts is not None and not 1.0 <= packet.pts * packet.time_base < 3.0:
                packet.stream = stream
                new.mux(packet)
    samples, rate, _ = read_audio(holed)
    assert len(samples) == pytest.approx(4.0 * rate, abs=rate // 100)
    assert media.beep_starts(samples[:, 0], rate) == pytest.approx([0.5, 3.5], abs=0.011)
    assert not samples[int(1.2 * rate) : int(2.8 * rate)].any()


@pytest.mark.parametrize(("layout", "num_channels"), [("mono", 1), ("stereo", 2), ("5.1", 6), ("7.1", 8)])
def test_every_layout_becomes_mono_by_the_stated_gains(layout, num_channels, tmp_path):
    for channel in range(num_channels):
        samples = np.zeros((9600, num_channels), np.float32)
        samples[:, channel] = 0.5
        path = media.write_sound(tmp_path / "a.wav", media.Sound(samples, 48000, "pcm_s16le", layout))
        reader = SoundReader(path)
        assert len(reader.channel_names) == num_channels
        mono = np.concatenate([to_mono(block, reader.channel_names) for block in reader.blocks()])
        gain = 1.0 if layout == "mono" else {"FL": 0.5, "FR": 0.5, "FC": 0.7071, "LFE": 0.0}.get(reader.channel_names[channel], 0.3536)
        assert mono == pytest.approx(0.5 * gain, abs=1e-3)


def test_eight_separate_channels_are_read_whole(tmp_path):
    samples = np.zeros((48000, 8), np.float32)
    samples[:, 2] = media.tone(1.0)[:, 0]
    path = media.write_sound(tmp_path / "a.flac", media.Sound(samples, 48000, "flac", "7.1"))
    aac = media.write_sound(tmp_path / "a.m4a", media.Sound(samples, 48000, "aac", "7.1"))
    for file in (path, aac):
        read, _, _ = read_audio(file)
        assert read.shape[1] == 8
        assert list(np.flatnonzero(np.abs(read).max(axis=0) > 0.1)) == [2]


def test_resampling_in_blocks_equals_resampling_at_once(tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.2, (3 * 44100, 1)).astype(np.float32)
    path = media.write_sound(tmp_path / "a.wav", media.Sound(noise, 44100, "pcm_f32le"))
    blocks = np.concatenate(list(read_mono(SoundReader(path), 16000)))
    once = soxr.resample(np.clip(noise[:, 0], -1, 1), 44100, 16000, quality="HQ")
    assert len(blocks) == len(once)
    assert np.abs(blocks - once).max() < 1e-3


def test_a_missing_audio_stream_is_said(film):
    with pytest.raises(InputError, match="audio stream 3 was asked for, it has 1"):
        read_audio(film, 3)
