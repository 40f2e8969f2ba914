"""What inspect_film says of a film is true."""

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from infra import ffmpeg
from infra.artifacts import ArtifactStore
from tasks.inspect_film import inspect_film
from tests import media

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture(scope="module")
def film_file(tmp_path_factory) -> Path:
    sound = media.Sound(media.tone(4.0, num_channels=2))
    return media.numbered_film(tmp_path_factory.mktemp("film") / "film.mp4", 100, sound=sound)


def inspect_lossy(store: ArtifactStore, path: Path, **how):
    return inspect_film(store, media.numbered_film(path, 30, **how))


# -- accepted, and told truly


def test_a_plain_film_is_told_in_full(store, film_file):
    film = inspect_film(store, film_file)
    assert (film.width, film.height, film.num_frames, film.fps) == (192, 112, 100, Fraction(25))
    assert (film.pixel_format, film.video_codec, film.rotation_degrees) == ("yuv420p", "h264", 0)
    assert (film.is_vfr, film.is_interlaced, film.start_timecode, film.num_subtitle_streams, film.warnings) == (False, False, None, 0, ())
    assert film.path == str(film_file)
    (audio,) = film.audio_streams
    assert (audio.index, audio.codec, audio.sample_rate_hz, audio.num_channels, audio.language) == (0, "aac", 48000, 2, None)
    timing = store.load_arrays(film.timing)
    assert timing["pts"].dtype == np.int64
    assert [float(p * film.time_base) for p in timing["pts"]] == pytest.approx([n / 25 for n in range(100)])
    assert timing["is_keyframe"][0]
    assert timing["is_keyframe"].shape == (100,)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("fps", ["24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60"])
def test_every_usual_frame_rate_is_kept_as_an_exact_fraction(fps, suffix, store, tmp_path):
    film = inspect_lossy(store, tmp_path / f"film.{suffix}", fps=Fraction(fps))
    assert film.fps == Fraction(fps)
    assert not film.is_vfr
    assert film.num_frames == 30


def test_matroska_rounding_to_milliseconds_is_no_variable_frame_rate(store, tmp_path):
    film = inspect_film(store, media.numbered_film(tmp_path / "film.mkv", 500, fps=Fraction(24000, 1001), width=64, height=48))
    steps = np.diff(store.load_arrays(film.timing)["pts"])
    assert set(steps) == {41, 42}
    assert not film.is_vfr
    assert film.fps == Fraction(24000, 1001)


def test_a_variable_frame_rate_is_seen_and_its_average_keeps_the_length(store, tmp_path):
    pts = np.cumsum([0] + [33, 33, 50, 67] * 10).tolist()[:40]
    path = media.numbered_film(tmp_path / "film.mp4", 40, pts=pts, time_base=Fraction(1, 1000))
    film = inspect_film(store, path)
    assert film.is_vfr
    assert film.duration_s == pytest.approx(1.83, abs=0.07)
    seconds = store.load_arrays(film.timing)["pts"] * float(film.time_base)
    assert seconds == pytest.approx(np.array(pts) / 1000, abs=0.001)
    assert any("variable frame rate" in warning for warning in film.warnings)


@pytest.mark.parametrize(("degrees", "size"), [(0, (192, 112)), (90, (112, 192)), (180, (192, 112)), (270, (112, 192))])
def test_sizes_are_those_of_the_upright_picture(degrees, size, store, film_file, tmp_path):
    film = inspect_film(store, media.rotated(film_file, tmp_path / "turned.mp4", degrees))
    assert film.rotation_degrees == degrees
    assert (film.width, film.height) == size


def test_a_mirrored_film_is_accepted_with_a_warning(store, film_file, tmp_path):
    mirrored = media.remux(film_file, tmp_path / "mirrored.mp4", input_options=("-display_hflip",))
    film = inspect_film(store, mirrored)
    assert film.rotation_degrees == 0
    assert any("mirror" in warning for warning in film.warnings)


@pytest.mark.parametrize("size", [(191, 111), (17, 9), (3, 3)])
def test_odd_and_tiny_sizes_are_accepted(size, store, tmp_path):
    path = media.write_film(tmp_path / "film.mkv", media.shot_pictures(1, 5, *size), codec="ffv1", pixel_format="yuv444p")
    film = inspect_film(store, path)
    assert (film.width, film.height, film.num_frames) == (*size, 5)


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [
        ("libx264", "yuv420p10le"),
        ("libx264", "yuv444p"),
        ("ffv1", "yuv422p10le"),
        ("ffv1", "gray"),
        ("prores_ks", "yuv422p10le"),
        ("libx264", "nv12"),
    ],
)
def test_pixel_formats_are_told_as_they_are(codec, pixel_format, store, tmp_path):
    path = media.write_film(tmp_path / "film.mkv", media.shot_pictures(1, 4), codec=codec, pixel_format=pixel_format)
    assert inspect_film(store, path).pixel_format == ("yuv420p" if pixel_format == "nv12" else pixel_format)


def test_colour_tags_are_kept(store, film_file, tmp_path):
    tagged = tmp_path / "tagged.mp4"
    tags = "h264_metadata=colour_primaries=9:transfer_characteristics=16:matrix_coefficients=9:video_full_range_flag=0"
    ffmpeg.run(["-y", "-i", str(film_file), "-an", "-c:v", "copy", "-bsf:v", tags, str(tagged)], timeout_s=60)
    film = inspect_film(store, tagged)
    assert (film.color_space, film.color_primaries, film.color_transfer, film.color_range) == (9, 9, 16, 1)


def test_pixel_aspect_ratio_is_kept(store, film_file, tmp_path):
    wide = tmp_path / "wide.mp4"
    ffmpeg.run(["-y", "-i", str(film_file), "-vf", "setsar=64/45", "-c:v", "libx264", "-preset", "ultrafast", str(wide)], timeout_s=60)
    assert inspect_film(store, wide).sample_aspect_ratio == Fraction(64, 45)


def test_interlacing_is_told_from_the_frames_themselves(store, film_file, tmp_path):
    for name, options in (("woven.mp4", ["-flags", "+ilme+ildct", "-x264-params", "tff=1"]), ("plain.mp4", [])):
        ffmpeg.run(
            ["-y", "-i", str(film_file), "-frames:v", "20", "-c:v", "libx264", "-preset", "ultrafast", *options, str(tmp_path / name)], timeout_s=60
        )
    assert inspect_film(store, tmp_path / "woven.mp4").is_interlaced
    assert not inspect_film(store, tmp_path / "plain.mp4").is_interlaced


@pytest.mark.parametrize(
    ("suffix", "given", "told"), [("mov", "01:00:00:00", "01:00:00:00"), ("mp4", "10:11:12:13", "10:11:12:13"), ("mxf", "01:02:03:04", "01:02:03:04")]
)
def test_the_start_timecode_is_found(suffix, given, told, store, film_file, tmp_path):
    codec = ["-c:v", "mpeg2video", "-an"] if suffix == "mxf" else ["-c", "copy"]
    path = tmp_path / f"timed.{suffix}"
    ffmpeg.run(["-y", "-i", str(film_file), *codec, "-timecode", given, str(path)], timeout_s=60)
    assert inspect_film(store, path).start_timecode == given


def test_a_drop_frame_timecode_keeps_its_semicolon(store, tmp_path):
    source = media.numbered_film(tmp_path / "film.mp4", 30, fps=Fraction(30000, 1001))
    path = media.remux(source, tmp_path / "timed.mov", "-timecode", "01:00:00;02")
    assert inspect_film(store, path).start_timecode == "01:00:00;02"


def test_a_film_without_sound_is_accepted_and_says_so(store, tmp_path):
    film = inspect_lossy(store, tmp_path / "silent.mp4")
    assert film.audio_streams == ()
    assert any("no sound" in warning for warning in film.warnings)


def test_audio_streams_are_listed_with_layout_and_language(store, film_file, tmp_path):
    mono = media.write_sound(tmp_path / "mono.wav", media.Sound(media.tone(4.0, 44100), 44100, "pcm_s16le"))
    surround = media.write_sound(tmp_path / "surround.wav", media.Sound(media.tone(4.0, 48000, 6), 48000, "pcm_s16le", "5.1"))
    path = tmp_path / "film.mkv"
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-c", "copy", "-metadata:s:a:0", "language=fre", "-metadata:s:a:1", "language=eng"]
    ffmpeg.run(["-y", "-i", str(film_file), "-i", str(mono), "-i", str(surround), *maps, str(path)], timeout_s=60)
    told = [(audio.index, audio.sample_rate_hz, audio.num_channels, audio.language) for audio in inspect_film(store, path).audio_streams]
    assert told == [(0, 44100, 1, "fre"), (1, 48000, 6, "eng")]


def test_subtitles_are_counted(store, film_file, tmp_path):
    text = tmp_path / "a.srt"
    text.write_text("1\n00:00:00,000 --> 00:00:02,000\nHello\n")
    path = tmp_path / "film.mkv"
    ffmpeg.run(["-y", "-i", str(film_file), "-i", str(text), "-map", "0", "-map", "1", "-c", "copy", "-c:s", "srt", str(path)], timeout_s=60)
    film = inspect_film(store, path)
    assert film.num_subtitle_streams == 1
    assert film.num_frames == 100


def test_one_frame_is_a_film(store, tmp_path):
    film = inspect_film(store, media.numbered_film(tmp_path / "film.mp4", 1))
    assert (film.num_frames, film.fps) == (1, Fraction(25))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "webm"])
def test_whole_files_of_every_kind_are_not_called_truncated(suffix, store, tmp_path):
    codec = {"webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}}.get(suffix, {})
    sound = media.Sound(media.tone(3.0), codec="libopus" if suffix == "webm" else "aac")  # longer than the picture
    assert inspect_film(store, media.numbered_film(tmp_path / f"film.{suffix}", 50, sound=sound, **codec)).num_frames == 50


def test_fragments_and_edit_lists_are_not_called_truncated(store, film_file, tmp_path):
    assert inspect_film(store, media.fragmented(film_file, tmp_path / "fragmented.mp4")).num_frames == 100
    cut = tmp_path / "cut.mp4"
    ffmpeg.run(["-y", "-ss", "1.5", "-i", str(film_file), "-t", "1.2", "-c", "copy", str(cut)], timeout_s=60)
    assert inspect_film(store, cut).num_frames == pytest.approx(30, abs=3)


def test_the_same_bytes_are_inspected_once_wherever_they_lie(store, film_file, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first = inspect_film(store, film_file)
    copy = tmp_path / "elsewhere.mp4"
    copy.write_bytes(film_file.read_bytes())
    second = inspect_film(store, copy)
    assert store.counts()["inspect_film"] == (1, 1)
    assert second.path == str(copy)
    assert second.model_copy(update={"path": first.path, "state": first.state}) == first
