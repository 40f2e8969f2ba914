"""What comes out is the film, but for the mouths and the voice; what is not, is not published."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from infra import ffmpeg
from infra.artifacts import ArtifactStore
from infra.errors import InputError, OurTroubleError
from infra.mux import DubTrack, language_code
from infra.scan import scan
from tasks.assemble_episode import assemble_episode, check_deliverable, verify_episode
from tasks.inspect_film import inspect_film
from tasks.prepare_stem import prepare_stem
from tasks.render_reel import plan_reels, render_reel
from tasks.types import DubbedEpisode, Film, Shot
from tests import media
from tests.film_clips import SUBTITLES, click_after_picture_s, make_film, make_picture, make_sound, make_vfr_picture, reader_of

CODECS = ("h264", "ffv1")


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def shots_of(*borders: int) -> list[Shot]:
    return [Shot(index=k, first_frame=first, end_frame=end) for k, (first, end) in enumerate(pairwise(borders))]


def dub_film(store, film_path: Path, dub_path: Path, out: Path, codec="h264") -> tuple[Path, DubbedEpisode]:
    """The whole way from files to the dubbed film, in several reels."""
    film = inspect_film(store, film_path)
    dub = prepare_stem(store, film, dub_path, "fr", "dialogue")
    middle = film.num_frames // 3
    plan = plan_reels(shots_of(0, middle, film.num_frames) if middle else shots_of(0, film.num_frames), film.fps, longest_s=0.8)
    reels = [render_reel(store, film, first, end, [], "fr", codec) for first, end in plan]
    episode = assemble_episode(store, film, reels, dub, "ep-1", "fr", codec, out)
    return out / episode.output, episode


# -- the whole film


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rate", ["25", "24000/1001", "30000/1001"])
def test_every_frame_comes_out_in_order_at_its_time(store, tmp_path, rate, codec):
    duration_s = 40 / float(Fraction(rate))
    film_path = media.numbered_film(tmp_path / "film.mp4", 40, fps=Fraction(rate), width=96, height=64, sound=media.Sound(media.tone(duration_s)))
    out, episode = dub_film(store, film_path, make_sound(tmp_path / "dub.wav", duration_s=duration_s), tmp_path / "out", codec)
    facts = scan(out)
    assert (facts.num_frames, facts.fps, facts.is_vfr, episode.num_frames) == (40, Fraction(rate), False, 40)
    assert [media.read_number(picture) for _, picture in reader_of(facts).pictures(0, 40)] == list(range(40))
    assert episode.output == f"fr/ep-1.fr.{'mp4' if codec == 'h264' else 'mkv'}"
    assert episode.warnings == ()


@pytest.mark.parametrize("codec", CODECS)
def test_a_variable_frame_rate_is_kept(store, tmp_path, codec):
    film_path = make_vfr_picture(tmp_path / "film.mp4")
    duration_s = inspect_film(store, film_path).duration_s
    out, _ = dub_film(store, film_path, make_sound(tmp_path / "dub.wav", duration_s=duration_s), tmp_path / "out", codec)
    source, written = scan(film_path), scan(out)
    late_s = (written.pts - written.pts[0]) * float(written.time_base) - (source.pts - source.pts[0]) * float(source.time_base)
    assert np.abs(late_s).max() <= (0 if codec == "h264" else 0.000501)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("rate", "timecode"), [("25", "01:00:00:00"), ("30000/1001", "00:59:58;28"), ("24000/1001", "10:00:00:12")])
def test_the_start_timecode_is_kept(store, tmp_path, rate, timecode, codec):
    film_path = make_film(tmp_path / "film.mp4", rate=rate, timecode=timecode)
    out, _ = dub_film(store, film_path, make_sound(tmp_path / "dub.wav", duration_s=40 / float(Fraction(rate))), tmp_path / "out", codec)
    assert scan(film_path).start_timecode == timecode
    assert scan(out).start_timecode == timecode


DUBS = [("5.1", 48000, 6), ("5.1(side)", 44100, 6), ("mono", 44100, 1), ("stereo", 96000, 2), ("7.1", 48000, 8), ("stereo", 16000, 2)]
DUBS_OF_CODECS = [(*dub, "h264") for dub in DUBS] + [(*dub, "ffv1") for dub in DUBS[:2]]


@pytest.mark.parametrize(("layout", "rate_hz", "num_channels", "codec"), DUBS_OF_CODECS)
def test_the_dub_keeps_its_channels_and_rate_and_is_heard_on_time(store, tmp_path, layout, rate_hz, num_channels, codec):
    film_path = make_picture(tmp_path / "film.mp4", rate="50", num_frames=80)
    dub = make_sound(tmp_path / "dub.wav", duration_s=1.6, layout=layout, rate_hz=rate_hz)
    out, _ = dub_film(store, film_path, dub, tmp_path / "out", codec)
    with av.open(str(out)) as container:
        sound = container.streams.audio[0]
        assert (sound.codec_context.sample_rate, sound.codec_context.layout.nb_channels) == (rate_hz, num_channels)
        assert sound.codec_context.name == ("aac" if codec == "h264" else "pcm_s16le")
        assert "default" in [mark.name for mark in type(sound.disposition) if mark in sound.disposition]
        assert sound.language == "fre"
    assert abs(click_after_picture_s(out, 0) - 0.5) < 0.003


@pytest.mark.parametrize(("duration_s", "codec"), [(1.1, "h264"), (1.1, "ffv1"), (2.3, "h264"), (2.3, "ffv1")])
def test_a_dub_of_other_length_is_padded_or_cut_to_the_picture(store, tmp_path, duration_s, codec):
    out, _ = dub_film(store, make_picture(tmp_path / "film.mp4"), make_sound(tmp_path / "dub.wav", duration_s=duration_s), tmp_path / "out", codec)
    with av.open(str(out)) as container:
        sound = container.streams.audio[0]
        declared_s = float(sound.duration * sound.time_base) if sound.duration else None
        decoded_s = sum(frame.samples for frame in container.decode(sound)) / 48000
    assert abs((declared_s or decoded_s) - 2.0) < 0.001
    assert abs(click_after_picture_s(out, 0) - 0.5) < 0.003


def test_lossless_output_holds_the_very_samples_of_the_dub(store, tmp_path):
    film_path = make_picture(tmp_path / "film.mp4")
    dub = make_sound(tmp_path / "dub.wav", duration_s=2.0, codec=("-c:a", "pcm_s24le"), layout="5.1")
    out, _ = dub_film(store, film_path, dub, tmp_path / "out", "ffv1")
    assert np.array_equal(samples_of(out), samples_of(dub))


def samples_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


@pytest.mark.parametrize("codec", CODECS)
def test_a_dub_that_the_container_holds_and_that_fits_is_copied(store, tmp_path, codec):
    dub = make_sound(tmp_path / "dub.m4a", duration_s=2.0, codec=("-c:a", "aac"))
    out, _ = dub_film(store, make_picture(tmp_path / "film.mp4"), dub, tmp_path / "out", codec)
    assert sound_packets(out)[1:20] == sound_packets(dub)[1:20]
    assert abs(click_after_picture_s(out, 0) - 0.5) < 0.003


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("codec", CODECS)
def test_the_films_own_sound_subtitles_chapters_and_title_are_kept(store, tmp_path, codec):
    film_path = make_film(tmp_path / "film.mp4")
    out, episode = dub_film(store, film_path, make_sound(tmp_path / "dub.wav", duration_s=1.6), tmp_path / "out", codec)
    with av.open(str(out)) as container:
        assert [stream.language for stream in container.streams.audio] == ["fre", "eng"]
        assert [stream.codec_context.codec.canonical_name for stream in container.streams.subtitles] == ["mov_text" if codec == "h264" else "subrip"]
        assert [(round(float(c["start"] * c["time_base"]), 3), c["metadata"]["title"]) for c in container.chapters()] == [(0, "One"), (1, "Two")]
        assert container.metadata["title"] == "The Film"
    with av.open(str(out)) as container:
        texts = [(float(packet.pts * packet.time_base), bytes(packet)) for packet in container.demux(subtitles=0) if b"o" in bytes(packet)]
    assert [round(start_s, 2) for start_s, _ in texts] == [0.2, 1.2]
    assert b"hello" in texts[0][1]
    assert episode.warnings == ()


STARTS = [("mkv", 0.5, "h264"), ("mp4", 0.5, "h264"), ("mov", -0.3, "h264"), ("ts", 0.5, "h264"), ("mkv", 0.5, "ffv1"), ("mov", -0.3, "ffv1")]


@pytest.mark.parametrize(("container", "lead_s", "codec"), STARTS)
def test_the_films_own_sound_stays_in_sync_when_picture_and_sound_start_apart(store, tmp_path, container, lead_s, codec):
    picture, sound = make_picture(tmp_path / "picture.mp4", num_frames=75), make_sound(tmp_path / "sound.wav", duration_s=3.2, click_s=1.5)
    film_path = tmp_path / f"film.{container}"
    offsets = ["-itsoffset", str(max(0.0, lead_s)), "-i", str(picture), "-itsoffset", str(max(0.0, -lead_s)), "-i", str(sound)]
    ffmpeg.run([*offsets, "-map", "0", "-map", "1", "-c:v", "copy", "-c:a", "aac", str(film_path)], timeout_s=60)
    out, _ = dub_film(store, film_path, make_sound(tmp_path / "dub.wav", duration_s=3.0), tmp_path / "out", codec)
    assert abs(click_after_picture_s(film_path, 0) - (1.5 - lead_s)) < 0.025
    assert abs(click_after_picture_s(out, 1) - click_after_picture_s(film_path, 0)) < 0.002
    assert abs(click_after_picture_s(out, 0) - 0.5) < 0.003


def test_sound_that_mp4_cannot_hold_is_converted_and_that_is_told(store, tmp_path):
    film_path = make_film(tmp_path / "film.mov", sound=("-c:a", "pcm_s24be"))
    out, episode = dub_film(store, film_path, make_sound(tmp_path / "dub.wav", duration_s=1.6), tmp_path / "out")
    with av.open(str(out)) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == ["aac", "alac"]
    assert "pcm_s24be" in episode.warnings[0]
    assert "alac" in episode.warnings[0]


def test_what_cannot_be_carried_is_listed(store, tmp_path):
    film_path = make_film(tmp_path / "plain.mp4")
    cover = make_picture(tmp_path / "cover.png", num_frames=1, codec=("-c:v", "png"), pixel_format="rgb24")
    inputs = ["-i", str(film_path), "-i", str(cover), "-map", "0:v", "-map", "0:a", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic"]
    ffmpeg.run([*inputs, str(tmp_path / "film.mp4")], timeout_s=60)
    _, episode = dub_film(store, tmp_path / "film.mp4", make_sound(tmp_path / "dub.wav", duration_s=1.6), tmp_path / "out")
    assert len(episode.warnings) == 1
    assert "cover picture" in episode.warnings[0]


def test_a_timecode_that_cannot_be_is_put_right_and_that_is_told(store, tmp_path):
    film_path = media.remux(make_picture(tmp_path / "flat.mkv"), tmp_path / "film.mkv", "-metadata", "timecode=01:00:00;00")
    assert scan(film_path).start_timecode == "01:00:00;00"
    out, episode = dub_film(store, film_path, make_sound(tmp_path / "dub.wav", duration_s=2.0), tmp_path / "out")
    assert scan(out).start_timecode == "01:00:00:00"
    assert "01:00:00;00" in episode.warnings[0]


def test_subtitles_that_cannot_be_read_do_not_cost_the_episode(store, tmp_path):
    (tmp_path / "bad.srt").write_bytes(SUBTITLES.replace("hello", "h\xe9llo").encode("latin-1"))
    inputs = ["-i", str(make_picture(tmp_path / "picture.mp4")), "-f", "srt", "-i", str(tmp_path / "bad.srt")]
    ffmpeg.run([*inputs, "-map", "0", "-map", "1", "-c", "copy", str(tmp_path / "film.mkv")], timeout_s=60)
    out, episode = dub_film(store, tmp_path / "film.mkv", make_sound(tmp_path / "dub.wav", duration_s=2.0), tmp_path / "out")
    assert scan(out).num_frames == 50
    assert "could not be carried over" in episode.warnings[0]


@pytest.mark.parametrize("codec", CODECS)
def test_shape_tags_and_turn_are_the_films(store, tmp_path, codec):
    tags = "setparams=range=full:color_primaries=bt709:color_trc=bt709:colorspace=bt709,setsar=16/15"
    flat = make_picture(tmp_path / "flat.mp4", filters=tags, pixel_format="yuv422p10le")
    film_path = media.rotated(flat, tmp_path / "film.mp4", 270)
    out, _ = dub_film(store, film_path, make_sound(tmp_path / "dub.wav", duration_s=2.0), tmp_path / "out", codec)
    source, written = scan(film_path), scan(out)
    kept = ("width", "height", "rotation_degrees", "pixel_format", "color_range", "color_primaries", "color_transfer", "color_space", "is_interlaced")
    assert [getattr(written, name) for name in kept] == [getattr(source, name) for name in kept]
    assert source.rotation_degrees == 270
    assert abs(written.sample_aspect_ratio / source.sample_aspect_ratio - 1) < (0.0001 if codec == "h264" else 0.01)


def test_lossless_pictures_look_the_same_to_the_last_level(store, tmp_path):
    film_path = make_picture(tmp_path / "film.mp4", pixel_format="yuvj420p", filters="setsar=1")
    out, _ = dub_film(store, film_path, make_sound(tmp_path / "dub.wav", duration_s=2.0), tmp_path / "out", "ffv1")
    source, written = scan(film_path), scan(out)
    pictures = [reader_of(facts).pictures(0, 50) for facts in (source, written)]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(*pictures, strict=True))


@pytest.mark.parametrize("codec", CODECS)
def test_one_frame_is_an_episode(store, tmp_path, codec):
    out, _ = dub_film(
        store, make_picture(tmp_path / "film.mp4", num_frames=1), make_sound(tmp_path / "dub.wav", duration_s=0.04), tmp_path / "out", codec
    )
    assert scan(out).num_frames == 1


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    film_path, dub = make_film(tmp_path / "film.mp4"), make_sound(tmp_path / "dub.wav", duration_s=1.6)
    episodes = [dub_film(ArtifactStore(tmp_path / name), film_path, dub, tmp_path / name / "out", codec) for name in "ab" for codec in CODECS]
    assert [episode.sha256 for _, episode in episodes[:2]] == [episode.sha256 for _, episode in episodes[2:]]


def test_a_dub_that_mp4_cannot_hold_is_refused_with_advice(store, tmp_path):
    film_path = make_picture(tmp_path / "film.mp4", num_frames=5)
    dub = make_sound(tmp_path / "dub.wav", duration_s=0.2, rate_hz=192000, layout="7.1", click_s=0.1)
    with pytest.raises(InputError, match="--lossless"):
        dub_film(store, film_path, dub, tmp_path / "out")
    film = inspect_film(store, film_path)
    stem = prepare_stem(store, film, dub, "fr", "dialogue")
    with pytest.raises(InputError, match="--lossless"):
        check_deliverable(film, stem, "h264")
    assert check_deliverable(film, stem, "ffv1") == ()
    out, _ = dub_film(store, film_path, dub, tmp_path / "out", "ffv1")
    assert scan(out).num_frames == 5


@pytest.mark.parametrize(("tag", "code"), [("fr", "fre"), ("pt-BR", "por"), ("zh-Hans", "chi"), ("cmn", "cmn"), ("de", "ger"), ("sr-Latn", "srp")])
def test_languages_are_named_as_containers_want_it(tag, code):
    assert language_code(tag) == code


# -- verification


LATE_FRAME = "settb=1/1000,setpts=N*40+25*eq(N\\,20)"


@pytest.fixture(scope="module")
def dubbed(tmp_path_factory) -> tuple[Film, np.ndarray, DubTrack, Path]:
    """A film, its timestamps, its dub, and the right result of dubbing it."""
    folder = tmp_path_factory.mktemp("dubbed")
    store = ArtifactStore(folder / "artifacts")
    film_path, dub = make_film(folder / "film.mp4", timecode="01:00:00:00"), make_sound(folder / "dub.wav", duration_s=1.6)
    out, _ = dub_film(store, film_path, dub, folder / "out")
    film = inspect_film(store, film_path)
    return film, store.load_arrays(film.timing)["pts"], DubTrack(dub, "fr", 48000, 2, 76800), out


def test_a_right_film_passes(dubbed):
    film, pts, dub, out = dubbed
    verify_episode(out, film, pts, dub, "h264")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("-frames:v", "39"), "frame count is 39, not 40"),
        (("-timecode", "02:00:00:00"), "start timecode is 02:00:00:00, not 01:00:00:00"),
        (("-an",), "the dub is missing"),
        (("-c:a", "aac", "-ac", "1"), "the dub has 1 channels"),
        (("-c:a", "aac", "-ar", "44100"), "at 44100 Hz"),
        (("-c:a", "aac", "-af", "atrim=end=1.5"), "the dub lasts 1.5"),
        (("-c:v", "libx264", "-vf", "scale=98:64"), r"coded size is \(98, 64\)"),
        (("-c:v", "libx264", "-pix_fmt", "yuv444p"), "pixel format is yuv444p, not yuv420p"),
        (("-c:v", "libx264", "-vf", "setparams=color_primaries=bt2020"), "colour primaries is 9, not 2"),
        (("-c:v", "libx264", "-vf", "setparams=range=full"), "colour range is 2"),
        (("-c:v", "libx264", "-vf", "setsar=4/3"), "sample aspect ratio is 4/3, not 1"),
        (("-c:v", "libx265", "-x265-params", "log-level=0"), "codec is hevc, not h264"),
        (("-c:v", "libx264", "-vf", "setpts=N/24/TB", "-r", "24"), "frame rate is 24, not 25"),
        (("-c:v", "libx264", "-vf", LATE_FRAME, "-fps_mode", "passthrough", "-enc_time_base", "1/1000"), "frame 20 comes"),
        (("-c:v", "libx264", "-vf", "setfield=tff", "-flags", "+ildct"), "interlacing is True"),
    ],
)
def test_whatever_differs_from_the_source_is_named(dubbed, tmp_path, options, complaint):
    film, pts, dub, out = dubbed
    wrong = media.remux(out, tmp_path / "wrong.mp4", "-map", "-0:d", "-map", "-0:s", "-map", "-0:a:1", *options)
    with pytest.raises(OurTroubleError, match=complaint):
        verify_episode(wrong, film, pts, dub, "h264")


def test_a_turned_film_is_named(dubbed, tmp_path):
    film, pts, dub, out = dubbed
    wrong = media.remux(out, tmp_path / "wrong.mp4", "-map", "-0:d", input_options=("-display_rotation", "90"))
    with pytest.raises(OurTroubleError, match="rotation is 270, not 0"):
        verify_episode(wrong, film, pts, dub, "h264")


def test_nothing_appears_under_the_name_when_verification_fails(store, tmp_path):
    film = inspect_film(store, make_picture(tmp_path / "film.mp4"))
    dub = prepare_stem(store, film, make_sound(tmp_path / "dub.wav", duration_s=2.0), "fr", "dialogue")
    reels = [render_reel(store, film, 0, film.num_frames, [], "fr", "h264")]
    claimed = film.model_copy(update={"start_timecode": "01:00:00:00", "color_primaries": 9, "fps": Fraction(24)})
    with pytest.raises(OurTroubleError):
        assemble_episode(store, claimed, reels, dub, "ep-1", "fr", "h264", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list((store.root / "scratch").iterdir())


def test_an_unfinished_file_of_an_earlier_run_is_replaced(store, tmp_path):
    film_path, dub = make_picture(tmp_path / "film.mp4"), make_sound(tmp_path / "dub.wav", duration_s=2.0)
    (tmp_path / "out" / "fr").mkdir(parents=True)
    (tmp_path / "out" / "fr" / "ep-1.fr.mp4").write_bytes(b"half")
    out, _ = dub_film(store, film_path, dub, tmp_path / "out")
    assert scan(out).num_frames == 50
    assert [path.name for path in out.parent.iterdir()] == ["ep-1.fr.mp4"]
