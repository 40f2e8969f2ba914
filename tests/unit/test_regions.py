"""A part of a picture looks as it does in the whole, to the last bit, in every format that films come in."""

import numpy as np
import pytest

from infra.regions import upright_region
from infra.scan import scan
from infra.video import FrameReader, upright_bgr
from tests import media

RECTS = [(100, 60, 160, 140), (101, 63, 133, 97), (-20, -10, 50, 60), (280, 150, 330, 200), (33, 31, 97, 95), (300, 170, 400, 260)]


@pytest.mark.parametrize(
    ("pixel_format", "options"),
    [
        ("yuv420p", {}),
        ("yuv420p", {"colorspace": "bt709", "color_range": "tv"}),
        ("yuv420p", {"color_range": "pc", "colorspace": "smpte170m"}),
        ("yuv422p10le", {"colorspace": "bt709"}),
        ("yuv420p10le", {"colorspace": "bt2020nc"}),
        ("yuv444p", {"colorspace": "bt709"}),
        ("gray", {}),
    ],
)
def test_a_part_is_bit_equal_to_the_whole(tmp_path, pixel_format, options):
    noise = np.random.default_rng(0).integers(0, 256, (2, 192, 320, 3), np.uint8)
    path = media.write_film(tmp_path / "film.mp4", noise, pixel_format=pixel_format, options={"crf": "4", "preset": "ultrafast"} | options)
    facts = scan(path)
    for _, frame in FrameReader(str(path), facts.pts, facts.time_base, facts.is_keyframe).frames(0, 2):
        whole = upright_bgr(frame, 0)
        for rect in RECTS:
            picture, left, top = upright_region(frame, 0, rect)
            height, width = picture.shape[:2]
            x0, y0, x1, y1 = max(0, rect[0]), max(0, rect[1]), min(320, rect[2]), min(192, rect[3])
            assert left <= x0 <= x1 <= left + width
            assert top <= y0 <= y1 <= top + height
            assert np.array_equal(picture[y0 - top : y1 - top, x0 - left : x1 - left], whole[y0:y1, x0:x1])
            assert np.array_equal(upright_bgr(frame, 0), whole)  # the film's own frame stays as it is


def test_only_a_part_is_converted_but_of_turned_films_and_for_most_of_a_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1, 192, 320, 3), np.uint8)
    path = media.write_film(tmp_path / "film.mp4", noise)
    facts = scan(path)
    _, frame = next(FrameReader(str(path), facts.pts, facts.time_base, facts.is_keyframe).frames(0, 1))
    picture, left, top = upright_region(frame, 0, (101, 63, 133, 97))
    assert (left, top, *picture.shape) == (80, 32, 96, 80, 3)
    assert upright_region(frame, 180, (101, 63, 133, 97))[0].shape == (192, 320, 3)
    assert upright_region(frame, 0, (10, 10, 310, 190))[0].shape == (192, 320, 3)
    assert upright_region(frame, 0, (400, 10, 410, 190))[0].shape == (192, 320, 3)


def test_the_matrix_of_a_film_that_names_none_goes_by_the_films_size_not_the_parts(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1, 720, 1280, 3), np.uint8)
    path = media.write_film(tmp_path / "film.mp4", noise)
    facts = scan(path)
    _, frame = next(FrameReader(str(path), facts.pts, facts.time_base, facts.is_keyframe).frames(0, 1))
    assert int(frame.colorspace) == 2  # FFmpeg's number for not said
    picture, left, top = upright_region(frame, 0, (500, 300, 600, 400))
    height, width = picture.shape[:2]
    assert (height, width) != (720, 1280)
    assert np.array_equal(picture[16:-16, 16:-16], upright_bgr(frame, 0)[top : top + height, left : left + width][16:-16, 16:-16])
