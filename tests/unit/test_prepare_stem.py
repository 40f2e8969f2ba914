"""Sound tracks fit their film: sample 0 is heard with frame 0, the length is the film's, and what does not fit is said."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import ffmpeg
from infra.artifacts import ArtifactStore
from infra.errors import InputError
from infra.video import FrameReader
from tasks.inspect_film import inspect_film
from tasks.prepare_stem import ANALYSIS_RATE_HZ, analysis_length, check_language, prepare_original, prepare_stem
from tasks.types import Film, Stem
from tests import media

FLASH_FRAMES = (5, 100, 190)
NUM_FRAMES = 200


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def film(store, tmp_path) -> Film:
    """Four seconds at 25 fps."""
    return inspect_film(store, media.numbered_film(tmp_path / "film.mp4", 100))


def sound_file(path: Path, duration_s: float, rate: int = 48000, num_channels: int = 1) -> Path:
    return media.write_sound(path, media.Sound(media.tone(duration_s, rate, num_channels), rate, "pcm_s16le"))


def flash_times_s(store: ArtifactStore, film: Film) -> list[float]:
    """When, after the first frame, the picture turns white."""
    timing = store.load_arrays(film.timing)
    reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"])
    white = [n for n, image in reader.pictures(0, film.num_frames) if image.mean() > 128]
    return [float((timing["pts"][n] - timing["pts"][0]) * film.time_base) for n in white]


def beep_times_s(store: ArtifactStore, stem: Stem) -> list[float]:
    return media.beep_starts(store.load_array(stem.analysis), ANALYSIS_RATE_HZ)


# -- sound and picture stay together


@pytest.mark.parametrize("fps", ["25", "24000/1001", "60000/1001"])
@pytest.mark.parametrize(
    ("suffix", "codec", "rate"), [("mp4", "aac", 48000), ("mp4", "aac", 44100), ("mkv", "aac", 48000), ("mkv", "libopus", 48000)]
)
def test_a_flash_and_its_beep_are_within_a_frame_from_start_to_end(suffix, codec, rate, fps, store, tmp_path):
    fps = Fraction(fps)
    beeps = media.beeps(float(NUM_FRAMES / fps), [float(n / fps) for n in FLASH_FRAMES], rate)
    pictures = media.flash_pictures(NUM_FRAMES, FLASH_FRAMES)
    film = inspect_film(store, media.write_film(tmp_path / f"film.{suffix}", pictures, fps=fps, sound=media.Sound(beeps, rate, codec)))
    original = prepare_original(store, film, None)
    assert original is not None
    assert flash_times_s(store, film) == pytest.approx([float(n / fps) for n in FLASH_FRAMES], abs=0.001)
    assert beep_times_s(store, original) == pytest.approx(flash_times_s(store, film), abs=min(0.005, float(1 / fps)))


@pytest.mark.parametrize("kind", ["transport stream", "late start", "late sound", "fragmented", "early sound"])
def test_container_offsets_do_not_part_sound_and_picture(kind, store, tmp_path):
    beeps = media.beeps(8.0, [n / 25 for n in FLASH_FRAMES], num_channels=2)
    pictures = media.flash_pictures(NUM_FRAMES, FLASH_FRAMES)
    source = media.write_film(tmp_path / "source.mp4", pictures, sound=media.Sound(beeps))
    target = tmp_path / {"transport stream": "a.ts", "fragmented": "a.mp4"}.get(kind, "a.mkv")
    shift_s = {"late sound": 0.3, "early sound": -0.1}.get(kind, 0.0)
    if shift_s:
        maps = ["-map", "0:v", "-map", "1:a", "-c", "copy", "-avoid_negative_ts", "make_zero"]
        ffmpeg.run(["-y", "-i", str(source), "-itsoffset", str(shift_s), "-i", str(source), *maps, str(target)], timeout_s=60)
    elif kind == "fragmented":
        media.fragmented(source, target)
    else:
        media.remux(source, target, *(("-output_ts_offset", "5") if kind == "late start" else ()))
    film = inspect_film(store, target)
    stem = prepare_original(store, film, None)
    assert stem is not None
    assert beep_times_s(store, stem) == pytest.approx([at + shift_s for at in flash_times_s(store, film)], abs=0.04)
    assert store.load_array(stem.analysis).shape == (8 * ANALYSIS_RATE_HZ,)


@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("a.wav", "pcm_s24le", 48000), ("a.m4a", "aac", 44100), ("a.mp3", "libmp3lame", 44100), ("a.mka", "libopus", 48000)]
)
def test_a_dub_starts_with_the_films_first_frame(name, codec, rate, store, film, tmp_path):
    path = media.write_sound(tmp_path / name, media.Sound(media.beeps(4.0, [0.1, 2.0, 3.8], rate), rate, codec))
    assert beep_times_s(store, prepare_stem(store, film, path, "es", "dialogue")) == pytest.approx([0.1, 2.0, 3.8], abs=0.005)


# -- form


@pytest.mark.parametrize(("rate", "num_channels"), [(48000, 1), (44100, 2), (8000, 1), (96000, 2), (16000, 1)])
def test_the_analysis_is_16_khz_mono_of_exactly_the_films_length(rate, num_channels, store, film, tmp_path):
    stem = prepare_stem(store, film, sound_file(tmp_path / "dub.wav", 4.0, rate, num_channels), "fr", "dialogue")
    sound = store.load_array(stem.analysis)
    assert sound.dtype == np.float32
    assert sound.shape == (64000,)
    assert (stem.sample_rate_hz, stem.num_channels, stem.num_samples) == (rate, num_channels, 4 * rate)
    assert np.sqrt(np.mean(sound[8000:-8000] ** 2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.02)
    spectrum = np.abs(np.fft.rfft(sound[16000:48000]))
    assert np.argmax(spectrum) == pytest.approx(440 * 2, abs=1)
    assert (stem.language, stem.role, stem.warnings) == ("fr", "dialogue", ())


@given(
    num_frames=st.integers(1, 300_000), fps=st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(50), Fraction(60)])
)
def test_the_length_never_drifts_by_a_sample(num_frames, fps):
    assert abs(analysis_length(num_frames, fps) - num_frames / fps * ANALYSIS_RATE_HZ) <= Fraction(1, 2)


def test_five_point_one_is_read_and_named(store, film, tmp_path):
    path = media.write_sound(tmp_path / "dub.wav", media.Sound(media.tone(4.0, 48000, 6), 48000, "pcm_s16le", "5.1"))
    stem = prepare_stem(store, film, path, "de", "mix")
    assert stem.num_channels == 6
    assert np.abs(store.load_array(stem.analysis)).max() <= 1.0


# -- length


@pytest.mark.parametrize(
    ("duration_s", "words"), [(3.2, "0.80 s shorter than the film and was padded"), (4.9, "0.90 s longer than the film and was cut")]
)
def test_up_to_a_second_is_padded_or_cut_with_a_warning(duration_s, words, store, film, tmp_path):
    stem = prepare_stem(store, film, sound_file(tmp_path / "dub.wav", duration_s), "es", "dialogue")
    sound = store.load_array(stem.analysis)
    assert sound.shape == (64000,)
    assert any(words in warning for warning in stem.warnings)
    if duration_s < 4:
        assert not sound[int(3.21 * ANALYSIS_RATE_HZ) :].any()
        assert sound[: int(3.19 * ANALYSIS_RATE_HZ)].any()


@pytest.mark.parametrize("duration_s", [3.97, 4.03])
def test_a_frame_more_or_less_is_not_worth_a_word(duration_s, store, film, tmp_path):
    assert prepare_stem(store, film, sound_file(tmp_path / "dub.wav", duration_s), "es", "dialogue").warnings == ()


@pytest.mark.parametrize("duration_s", [2.8, 5.2, 30.0])
def test_more_than_a_second_is_refused_with_both_durations(duration_s, store, film, tmp_path):
    with pytest.raises(InputError, match=rf"lasts {duration_s:.2f} s, the film 4\.00 s"):
        prepare_stem(store, film, sound_file(tmp_path / "dub.wav", duration_s), "es", "dialogue")


# -- the original


def test_a_film_without_sound_and_stem_has_no_original(store, film):
    assert prepare_original(store, film, None) is None


def test_a_given_original_goes_before_the_films_own_sound(store, tmp_path):
    film = inspect_film(store, media.numbered_film(tmp_path / "film.mp4", 100, sound=media.Sound(media.tone(4.0))))
    own = prepare_original(store, film, None)
    given_stem = prepare_original(store, film, sound_file(tmp_path / "voices.wav", 4.0, 44100))
    assert own is not None
    assert given_stem is not None
    assert (own.path, own.sha256, own.role, own.sample_rate_hz) == (film.path, film.sha256, "original", 48000)
    assert (given_stem.path, given_stem.role, given_stem.sample_rate_hz) == (str(tmp_path / "voices.wav"), "original", 44100)


def test_a_films_own_sound_may_be_short(store, tmp_path):
    film = inspect_film(store, media.numbered_film(tmp_path / "film.mp4", 100, sound=media.Sound(media.tone(1.5))))
    stem = prepare_original(store, film, None)
    assert stem is not None
    assert any("shorter than the film" in warning for warning in stem.warnings)
    assert store.load_array(stem.analysis).shape == (64000,)


def test_the_same_sound_is_prepared_once(store, film, tmp_path):
    path = sound_file(tmp_path / "dub.wav", 4.0)
    spanish, french = (prepare_stem(store, film, path, language, "dialogue") for language in ("es", "fr"))
    assert store.counts()["prepare_stem"] == (1, 1)
    assert spanish.analysis == french.analysis
    assert (spanish.language, french.language) == ("es", "fr")


# -- refused


@pytest.mark.parametrize(
    "content", [b"", b"Hello, this is the dub.", b"RIFF\x00\x00\x00\x00WAVEfmt ", b"ffconcat version 1.0\nfile /etc/passwd\n", bytes(5000)]
)
def test_unreadable_sound_is_refused(content, store, film, tmp_path):
    path = tmp_path / "dub.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"dub\.wav"):
        prepare_stem(store, film, path, "es", "dialogue")


def test_a_picture_without_sound_is_no_dub(store, film):
    with pytest.raises(InputError, match="it has no audio stream"):
        prepare_stem(store, film, film.path, "es", "dialogue")


def test_a_dub_full_of_broken_packets_is_refused(store, film, tmp_path):
    whole = media.write_sound(
        tmp_path / "whole.mka", media.Sound(np.random.default_rng(0).normal(0, 0.1, (192000, 1)).astype(np.float32), codec="flac")
    )
    broken = media.damaged(whole, tmp_path / "broken.mka", 0.2, int(whole.stat().st_size * 0.6))
    with pytest.raises(InputError):
        prepare_stem(store, film, broken, "es", "dialogue")


@pytest.mark.parametrize("tag", ["es", "fr", "de", "cmn", "pt-BR", "zh-Hans", "es-419", "sr-Latn-RS", "tlh"])
def test_real_languages_are_taken(tag):
    assert check_language(tag) == tag


@pytest.mark.parametrize(
    "tag",
    ["", "xx", "zz", "jp", "english", "ES", "e", "es_MX", "es-", "und", "mul", "zxx", "../es", "es/..", "es\n", "es-MX-", "a" * 1000, "es;rm", "é"],
)
def test_unknown_languages_are_refused(tag):
    with pytest.raises(InputError, match="no known language tag"):
        check_language(tag)
