"""A small grey picture shows what the picture shows, in every pixel format, range and turn."""

import av
import cv2
import numpy as np
import pytest

from infra.grey import upright_grey
from infra.planes import samples_of
from infra.video import upright_bgr
from tests.film_clips import FORMATS

WIDTH, HEIGHT = 128, 64


def grey_frame(pixel_format: str, color_range: int) -> av.VideoFrame:
    """Soft shapes in grey, each side of the picture unlike the others."""
    rng = np.random.default_rng(3)
    tones = cv2.resize(rng.uniform(20, 235, (4, 8)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    bgr = cv2.cvtColor(tones.round().astype(np.uint8), cv2.COLOR_GRAY2BGR)
    full = color_range == 2 or pixel_format.startswith("yuvj")
    frame = av.VideoFrame.from_ndarray(bgr, "bgr24").reformat(format=pixel_format, dst_colorspace=1, dst_color_range=2 if full else 1)
    frame.colorspace, frame.color_range = 1, 2 if full else 1
    return frame


@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_it_shows_what_the_picture_shows(pixel_format, color_range):
    frame = grey_frame(pixel_format, color_range)
    for rotation_degrees in (0, 90, 180, 270):
        upright = cv2.cvtColor(upright_bgr(frame, rotation_degrees), cv2.COLOR_BGR2GRAY)
        size = (upright.shape[1] // 2, upright.shape[0] // 2)
        grey = upright_grey(frame, rotation_degrees, size)
        assert (grey.shape, grey.dtype, grey.flags.c_contiguous) == (size[::-1], np.uint8, True)
        difference = np.abs(grey.astype(int) - cv2.resize(upright, size, interpolation=cv2.INTER_AREA))
        assert np.ptp(upright) > 100
        assert difference.mean() < 1.5
        assert difference.max() <= 4


def test_levels_beyond_black_and_white_stay_black_and_white():
    frame = grey_frame("yuv420p", 1)
    samples_of(frame)[0][:32], samples_of(frame)[0][32:] = 3, 250
    grey = upright_grey(frame, 0, (64, 32))
    assert grey[0, 0] == 0
    assert grey[-1, 0] == 255


def test_a_squeezed_picture_gets_the_size_that_was_asked_for():
    for pixel_format in ("yuv420p", "bgr0"):
        assert upright_grey(grey_frame(pixel_format, 1), 0, (64, 50)).shape == (50, 64)
