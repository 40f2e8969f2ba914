"""Films that are odd but right go through whole: what comes out has the source's frames, rate, size, depth and turn."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from infra.scan import scan
from infra.sound import read_audio
from tests.flows.test_dub_episode import request_for
from tests.media import Sound, rotated, write_film, write_sound
from tests.small_film import RATE, make_voice, portrait_pictures

pytestmark = pytest.mark.usefixtures("settings_of_test")
NUM_FRAMES = 16


def _sound(duration_s: float, **how) -> Sound:
    return Sound(make_voice(duration_s)[:, None], RATE, **how)


def _pictures(width: int = 320, height: int = 240) -> list[np.ndarray]:
    return [cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in portrait_pictures(NUM_FRAMES)]


def _dub(small, film: Path, tmp_path: Path, duration_s: float, track: Path | None = None, codec: str = "ffv1") -> Path:
    """Dub with the random model; the dubbed film."""
    from flows.dub_episode import dub_episode

    track = track or write_sound(tmp_path / "dub.wav", _sound(duration_s, codec="pcm_s16le"))
    dub_episode(request_for(small, tmp_path / "out", film=str(film), audio={"fr": str(track)}, codec=codec))
    return tmp_path / "out" / "small" / "fr" / f"small.fr.{'mkv' if codec == 'ffv1' else 'mp4'}"


def _assert_same_picture_facts(film: Path, made: Path) -> None:
    before, after = scan(film), scan(made)
    assert after.num_frames == before.num_frames
    assert (after.width, after.height, after.rotation_degrees) == (before.width, before.height, before.rotation_degrees)
    assert after.is_vfr == before.is_vfr
    tolerance_s = 0.0011  # Matroska and MP4 clocks
    times = [(facts.pts - facts.pts[0]) * float(facts.time_base) for facts in (before, after)]
    assert np.abs(times[0] - times[1]).max() <= tolerance_s


MORE_RATES = [pytest.param(fps, marks=pytest.mark.long) for fps in (Fraction(30000, 1001), Fraction(50))]


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(60), *MORE_RATES])
def test_every_frame_rate_is_kept(small, tmp_path, fps) -> None:
    duration_s = NUM_FRAMES / float(fps)
    film = write_film(tmp_path / "film.mp4", _pictures(), fps=fps, sound=_sound(duration_s))
    made = _dub(small, film, tmp_path, duration_s, codec="h264")
    _assert_same_picture_facts(film, made)
    assert scan(made).fps == fps


def test_a_variable_frame_rate_keeps_every_timestamp(small, tmp_path) -> None:
    pts = np.cumsum([0, *([40, 40, 120, 20] * 4)])[:NUM_FRAMES].tolist()
    duration_s = (pts[-1] + 40) / 1000
    film = write_film(tmp_path / "film.mp4", _pictures(), pts=pts, time_base=Fraction(1, 1000), sound=_sound(duration_s))
    assert scan(film).is_vfr
    _assert_same_picture_facts(film, _dub(small, film, tmp_path, duration_s, codec="h264"))


def test_a_turned_film_is_dubbed_upright_and_stays_turned(small, tmp_path) -> None:
    lying = [np.ascontiguousarray(np.rot90(picture)) for picture in _pictures()]
    plain = write_film(tmp_path / "plain.mp4", lying, sound=_sound(NUM_FRAMES / 25))
    film = rotated(plain, tmp_path / "film.mp4", 90)
    made = _dub(small, film, tmp_path, NUM_FRAMES / 25, codec="h264")
    _assert_same_picture_facts(film, made)
    assert scan(film).rotation_degrees == 90
    table = pd.read_parquet(tmp_path / "out" / "small" / "shots.parquet")
    assert table.outcome.tolist() == ["synced"]


def test_ten_bits_stay_ten_bits(small, tmp_path) -> None:
    film = write_film(tmp_path / "film.mkv", _pictures(), pixel_format="yuv420p10le", sound=_sound(NUM_FRAMES / 25))
    made = _dub(small, film, tmp_path, NUM_FRAMES / 25, codec="h264")
    _assert_same_picture_facts(film, made)
    assert scan(made).pixel_format == scan(film).pixel_format == "yuv420p10le"


def test_odd_sizes_stay_odd(small, tmp_path) -> None:
    film = write_film(tmp_path / "film.mkv", _pictures(319, 239), pixel_format="yuv444p", codec="ffv1", sound=_sound(NUM_FRAMES / 25))
    made = _dub(small, film, tmp_path, NUM_FRAMES / 25)
    _assert_same_picture_facts(film, made)
    assert (scan(made).width, scan(made).height) == (319, 239)


# That the sound of a dub is kept as it is, at many rates and layouts: test_assemble_episode.py.
MORE_SOUNDS = [pytest.param(44100, layout, num, marks=pytest.mark.long) for layout, num in (("mono", 1), ("stereo", 2))]


@pytest.mark.parametrize(("rate", "layout", "num_channels"), [(48000, "5.1", 6), *MORE_SOUNDS])
def test_the_dub_keeps_its_own_rate_and_channels(small, tmp_path, rate, layout, num_channels) -> None:
    film = write_film(tmp_path / "film.mp4", _pictures(), sound=_sound(NUM_FRAMES / 25))
    wave = np.interp(np.arange(int(rate * NUM_FRAMES / 25)) / rate, np.arange(int(RATE * NUM_FRAMES / 25)) / RATE, make_voice(NUM_FRAMES / 25))
    samples = np.repeat(wave.astype(np.float32)[:, None], num_channels, axis=1)
    track = write_sound(tmp_path / "dub.wav", Sound(samples, rate, codec="pcm_s16le", layout=layout))
    heard, heard_rate, _ = read_audio(_dub(small, film, tmp_path, NUM_FRAMES / 25, track, codec="h264"))
    assert (heard_rate, heard.shape[1]) == (rate, num_channels)


def test_a_film_with_nobody_in_it_comes_back_as_it_was(small, tmp_path) -> None:
    grey = [np.full((240, 320, 3), 60 + 5 * n, np.uint8) for n in range(NUM_FRAMES)]
    film = write_film(tmp_path / "film.mp4", grey, sound=_sound(NUM_FRAMES / 25))
    _assert_same_picture_facts(film, _dub(small, film, tmp_path, NUM_FRAMES / 25))
    table = pd.read_parquet(tmp_path / "out" / "small" / "shots.parquet")
    assert set(table.reason) == {"no_face"}


def test_one_frame_shots_and_a_film_of_one_frame_go_through(small, tmp_path) -> None:
    film = write_film(tmp_path / "one.mp4", _pictures()[:1], sound=_sound(0.04))
    _assert_same_picture_facts(film, _dub(small, film, tmp_path, 0.04))
    table = pd.read_parquet(tmp_path / "out" / "small" / "shots.parquet")
    assert [(row.first_frame, row.end_frame) for row in table.itertuples()] == [(0, 1)]
