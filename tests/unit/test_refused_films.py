"""What cannot be worked on is refused before work begins, with the reason."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infra import ffmpeg
from infra.artifacts import ArtifactStore
from infra.errors import InputError
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


def refusal(store: ArtifactStore, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        inspect_film(store, path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"x", "text file"),
        (b"\x00", "cannot be read as film"),
        (b"Dear all, here is the film.\n", "text file"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
        (b"\xef\xbb\xbf\n<html>", "HTML page"),
        (np.random.default_rng(0).integers(0, 256, 50_000, np.uint8).tobytes(), "cannot be read as film"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "cannot be read as film"),
    ],
)
def test_what_is_no_film_is_refused_by_what_it_is(content, said, store, tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    assert said in refusal(store, path)


def test_a_missing_file_and_a_folder_are_refused(store, tmp_path):
    assert "no such file" in refusal(store, tmp_path / "absent.mp4")
    (tmp_path / "folder.mp4").mkdir()
    refusal(store, tmp_path / "folder.mp4")


@pytest.mark.parametrize(("kind", "declared"), [("faststart", "100"), ("fragmented", None), ("mkv", "100")])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_film_is_refused_with_the_frames_declared_and_decoded(kind, declared, share, store, film_file, tmp_path):
    whole = {
        "faststart": lambda: media.faststart(film_file, tmp_path / "whole.mp4"),
        "fragmented": lambda: media.fragmented(film_file, tmp_path / "whole.mp4"),
        "mkv": lambda: media.remux(film_file, tmp_path / "whole.mkv"),
    }[kind]()
    said = refusal(store, media.truncated(whole, tmp_path / ("cut" + whole.suffix), share))
    words = said.split()
    assert "truncated" in said
    num_decoded = int(words[words.index("decode.") - 1])
    assert 100 * share * 0.8 <= num_decoded <= 100 * share * 1.15
    if declared is not None:  # fragments that did not arrive are not declared anywhere
        assert words[words.index("declares") + 1] == declared


def test_a_plain_mp4_cut_in_half_is_refused(store, film_file, tmp_path):
    assert "header is damaged or missing" in refusal(store, media.truncated(film_file, tmp_path / "cut.mp4"))


def test_a_damaged_film_is_refused_with_the_place(store, tmp_path):
    whole = media.numbered_film(tmp_path / "film.mkv", 100, codec="ffv1", width=96, height=64, options={"slicecrc": "1"})
    said = refusal(store, media.damaged(whole, tmp_path / "damaged.mkv", 0.5, 4000))
    assert "damaged" in said or "truncated" in said


def test_sound_alone_is_no_film(store, tmp_path):
    path = media.write_sound(tmp_path / "film.mp4", media.Sound(media.tone(1.0)))
    assert "no video stream" in refusal(store, path)


def test_a_song_with_a_cover_is_no_film(store, film_file, tmp_path):
    cover, song, path = tmp_path / "cover.png", media.write_sound(tmp_path / "song.m4a", media.Sound(media.tone(1.0))), tmp_path / "film.m4a"
    ffmpeg.run(["-y", "-i", str(film_file), "-frames:v", "1", str(cover)], timeout_s=60)
    ffmpeg.run(
        ["-y", "-i", str(song), "-i", str(cover), "-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic", str(path)], timeout_s=60
    )
    assert "no video stream (1 audio, 0 subtitle, 1 cover picture streams)" in refusal(store, path)


def test_too_many_streams_are_refused(store, film_file, tmp_path):
    path = tmp_path / "film.mkv"
    ffmpeg.run(["-y", "-i", str(film_file), "-map", "0:v", *["-map", "0:a"] * 120, "-c", "copy", str(path)], timeout_s=60)
    refusal(store, path)


@pytest.mark.parametrize("size", [(16384, 16384), (65535, 65535), (9000, 5000)])
def test_huge_pictures_are_refused_before_they_are_decoded(size, store, tmp_path):
    small = media.write_film(tmp_path / "small.avi", media.shot_pictures(1, 3), codec="mjpeg", pixel_format="yuvj420p")
    huge = media.with_declared_size(small, tmp_path / "huge.avi", *size)
    program = "import sys; from infra.scan import scan; scan(sys.argv[1])"
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, (700 << 20, 700 << 20)); {program}"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", limited, str(huge)], capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    assert "InputError" in result.stderr, result.stderr
    assert "3 frames are declared (mjpeg), 0 decode" in refusal(store, huge)


def test_a_picture_larger_than_its_header_says_is_refused(store, tmp_path):
    small = media.write_film(tmp_path / "small.avi", media.shot_pictures(1, 3), codec="mjpeg", pixel_format="yuvj420p")
    data = bytearray(media.with_declared_size(small, tmp_path / "huge.avi", 16384, 16384).read_bytes())
    at = data.index(b"strf") + 8
    data[at + 4 : at + 12] = struct.pack("<II", 192, 112)
    (tmp_path / "liar.avi").write_bytes(data)
    refusal(store, tmp_path / "liar.avi")


def test_fifty_hours_are_refused_before_they_are_read(store, film_file, tmp_path):
    mkv = media.remux(film_file, tmp_path / "film.mkv")
    assert "50.0 hours" in refusal(store, media.with_declared_duration(mkv, tmp_path / "long.mkv", 50 * 3600))


def test_a_picture_that_changes_its_size_is_refused(store, tmp_path):
    parts = [media.numbered_film(tmp_path / f"{width}.ts", 20, width=width) for width in (192, 256)]
    both = tmp_path / "both.ts"
    shifted = media.remux(parts[1], tmp_path / "shifted.ts", "-output_ts_offset", "0.8")
    both.write_bytes(parts[0].read_bytes() + shifted.read_bytes())
    assert "changes from 192x112 yuv420p to 256x112 yuv420p at frame 20" in refusal(store, both)


def test_a_refused_film_leaves_no_record(store, tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"")
    for _ in range(2):
        refusal(store, path)
    assert not list((tmp_path / "artifacts").rglob("*.json"))
