"""What a film's samples mean and which pixels they cover, in every pixel format."""

from fractions import Fraction

import av
import numpy as np
import pytest

from infra.errors import InputError
from infra.planes import UprightPlane, add_levels, addable, colours_of, planar_format, subsampling, to_format, to_full_chroma, upright_planes
from infra.video import upright_bgr
from tests.film_clips import FORMATS, make_picture, noisy_frame, planes_of, same_planes

WIDTH, HEIGHT = 64, 48
RANGES = (1, 2)  # limited, full


def smooth_frame(pixel_format: str, color_range: int = 1, colorspace: int = 1, width: int = WIDTH, height: int = HEIGHT) -> av.VideoFrame:
    """A soft picture of middle tones, so that no conversion clips or rings."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    bgr = np.stack([110 + 30 * x, 120 + 20 * y, 130 - 25 * x], axis=-1).round().astype(np.uint8)
    full = color_range == 2 or pixel_format.startswith("yuvj")
    frame = av.VideoFrame.from_ndarray(bgr, "bgr24").reformat(format=pixel_format, dst_colorspace=colorspace, dst_color_range=2 if full else 1)
    frame.colorspace, frame.color_range = colorspace, 2 if full else 1
    frame.pts, frame.time_base = 7, Fraction(1, 25)
    return frame


def blocks_of(picture: np.ndarray, plane: UprightPlane) -> np.ndarray:
    """The mean of picture (h, w, 3) over what each sample of the plane covers; only for pictures whose blocks are whole."""
    height, width = plane.samples.shape
    return picture.reshape(height, plane.rows, width, plane.columns, 3).mean(axis=(1, 3))


def assert_samples_show(frame: av.VideoFrame, bgr: np.ndarray) -> None:
    depth = 1 << (frame.format.components[0].bits - 8)
    matrix, offset, to_bgr = colours_of(frame)
    for index, plane in enumerate(upright_planes(frame, 0)):
        meant = blocks_of(bgr, plane) @ matrix[index] + offset[index]
        assert np.abs(plane.samples - meant).max() <= 2 * depth
    if len(matrix) == 3:
        assert to_bgr @ matrix == pytest.approx(np.eye(3), abs=1e-4)
    else:
        assert to_bgr @ matrix @ [1, 1, 1] == pytest.approx(np.ones(3))


@pytest.mark.parametrize("color_range", RANGES)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_samples_mean_what_the_picture_shows(pixel_format, color_range):
    frame = smooth_frame(pixel_format, color_range)
    assert_samples_show(addable(frame), upright_bgr(frame, 0))


@pytest.mark.parametrize("colorspace", [1, 4, 5, 6, 7, 9])
def test_every_colour_matrix_is_the_pictures_own(colorspace):
    frame = smooth_frame("yuv444p16le", colorspace=colorspace)
    assert_samples_show(frame, upright_bgr(frame, 0))


@pytest.mark.parametrize("height", [576, 720])
def test_an_untagged_picture_is_taken_by_the_matrix_it_is_seen_with(height):
    frame = smooth_frame("yuv444p16le", width=32, height=height)
    frame.colorspace = 2
    assert_samples_show(frame, upright_bgr(frame, 0))


@pytest.mark.parametrize("rotation_degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("size", [(20, 12), (21, 13), (23, 9)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv411p", "yuv422p10le", "gbrp", "gray"])
def test_each_sample_of_a_turned_picture_covers_the_pixels_that_it_says(pixel_format, size, rotation_degrees):
    frame = noisy_frame(pixel_format, *size)
    coded = planes_of(noisy_frame(pixel_format, *size))
    where = np.rot90(np.dstack(np.mgrid[0 : size[1], 0 : size[0]]), -rotation_degrees // 90)  # which coded pixel lies at each upright one
    for index, plane in enumerate(upright_planes(frame, rotation_degrees)):
        rows, columns = subsampling(frame.format, index)
        y, x = np.mgrid[0 : where.shape[0], 0 : where.shape[1]]
        seen = plane.samples[(y + plane.above) // plane.rows, (x + plane.left) // plane.columns]
        assert np.array_equal(seen, coded[index][where[..., 0] // rows, where[..., 1] // columns])


def test_alpha_is_no_plane_to_paste_in():
    assert [len(upright_planes(noisy_frame(name), 0)) for name in ("yuva420p", "gbrap", "yuv420p", "gray")] == [3, 3, 3, 1]


def test_too_much_change_stops_at_black_and_white():
    for amount, limit in ((4000, 1023), (-4000, 0)):
        frame = smooth_frame("yuv420p10le")
        luma = upright_planes(frame, 0)[0]
        add_levels(frame, luma, 5, 7, np.full((3, 2), amount, np.float32))
        assert (luma.samples[5:8, 7:9] == limit).all()
        assert (np.delete(luma.samples, slice(5, 8), axis=0) != limit).all()


def test_a_change_is_rounded_not_cut_off():
    frame = smooth_frame("gray")
    luma = upright_planes(frame, 0)[0]
    before = luma.samples.copy()
    add_levels(frame, luma, 0, 0, np.full(before.shape, -0.6, np.float32))
    assert np.array_equal(luma.samples, before - 1)


def test_time_tags_and_field_order_stay(tmp_path):
    film = make_picture(tmp_path / "film.mkv", codec=("-c:v", "ffv1"), filters="setfield=bff,setparams=color_primaries=bt709:color_trc=bt709")
    with av.open(str(film)) as container:
        frame = next(container.decode(video=0))
    frame.pts = 41
    for changed in (to_full_chroma(frame, "yuv444p"), to_format(frame, "nv12"), addable(to_format(frame, "nv12"))):
        assert changed.interlaced_frame
        assert (changed.pts, changed.time_base, changed.color_primaries, changed.color_trc) == (41, frame.time_base, 1, 1)


def test_nv12_is_taken_apart_without_loss():
    frame = noisy_frame("nv12")
    luma, chroma = planes_of(frame)
    planar = planes_of(to_format(frame, "yuv420p"))
    assert same_planes(planar, [luma, chroma[:, 0::2], chroma[:, 1::2]])


def test_full_chroma_repeats_samples_and_computes_none():
    luma, blue, red = planes_of(noisy_frame("yuv420p", 21, 13))
    wide = planes_of(to_full_chroma(noisy_frame("yuv420p", 21, 13), "yuv444p"))
    assert same_planes(wide, [luma, blue.repeat(2, 0).repeat(2, 1)[:13, :21], red.repeat(2, 0).repeat(2, 1)[:13, :21]])


@pytest.mark.parametrize("pixel_format", ["pal8", "bayer_bggr8", "monow", "gbrpf32le", "rgb565le", "xyz12le"])
def test_formats_that_cannot_be_added_to_are_refused_with_advice(pixel_format):
    with pytest.raises(InputError, match=rf"{pixel_format}.*Convert the film first"):
        planar_format(pixel_format)
