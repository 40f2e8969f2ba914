"""A change to a picture lands where and as it should, and nowhere else."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import InputError
from infra.planes import add_bgr_delta, planar_format, to_format, to_full_chroma
from infra.video import upright_bgr
from tests.film_clips import make_picture, planes_of, same_planes

WIDTH, HEIGHT = 64, 48
FORMAT_NAMES = """
yuv420p yuvj420p yuv422p yuvj422p yuv444p yuvj444p yuv411p yuv410p yuv440p gray yuva420p nv12 nv21 nv16 yuyv422 uyvy422
gbrp rgb24 bgr24 bgr0 gbrap yuv420p10le yuv422p10le yuv444p10le yuv420p12le yuv422p16le gray10le gray16le p010le p210le
gbrp10le gbrp16le yuv420p10be
"""
FORMATS = FORMAT_NAMES.split()
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


def noisy_frame(pixel_format: str, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, pixel_format)
    for plane in frame.planes:
        noise = np.random.default_rng(seed).integers(0, 256, plane.buffer_size, dtype=np.uint8)
        bits = frame.format.components[0].bits
        if bits > 8:
            words = noise.view(np.uint16) & ((1 << bits) - 1)
            noise = (words.byteswap() if frame.format.is_big_endian else words).view(np.uint8)
        plane.update(noise.tobytes())
    return frame


@pytest.mark.parametrize("color_range", RANGES)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_change_arrives_in_the_picture_as_asked(pixel_format, color_range):
    frame = smooth_frame(pixel_format, color_range)
    before = upright_bgr(frame, 0).astype(int)
    delta = np.broadcast_to(np.float32([12, 12, 12] if "gray" in pixel_format else [18, -14, 10]), (32, 40, 3))
    after = upright_bgr(add_bgr_delta(frame, (8, 8, 48, 40), delta), 0).astype(int)
    moved = (after - before)[14:34, 16:40]  # chroma is softened over the seam
    assert np.abs(moved - delta[0, 0]).max() <= 2
    is_deep = frame.format.components[0].bits > 8  # with 8 bits an even change is rounded the same way everywhere
    assert np.abs(moved.mean(axis=(0, 1)) - delta[0, 0]).max() < (0.5 if is_deep else 1)


@pytest.mark.parametrize("colorspace", [1, 4, 5, 6, 7, 9])
def test_every_colour_matrix_is_the_pictures_own(colorspace):
    frame = smooth_frame("yuv444p16le", colorspace=colorspace)
    before = upright_bgr(frame, 0).astype(int)
    after = upright_bgr(add_bgr_delta(frame, (0, 0, WIDTH, HEIGHT), np.full((HEIGHT, WIDTH, 3), (30, -20, 25), np.float32)), 0)
    assert np.abs(after - before - (30, -20, 25)).max() <= 1


@pytest.mark.parametrize("height", [576, 720])
def test_an_untagged_picture_is_changed_by_the_matrix_it_is_seen_with(height):
    frame = smooth_frame("yuv444p16le", width=32, height=height)
    frame.colorspace = 2
    before = upright_bgr(frame, 0).astype(int)
    after = upright_bgr(add_bgr_delta(frame, (0, 0, 32, 64), np.full((64, 32, 3), (30, -20, 25), np.float32)), 0)
    assert np.abs(after[:60] - before[:60] - (30, -20, 25)).max() <= 1


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_samples_away_from_the_change_stay_bit_equal(pixel_format):
    untouched = planes_of(to_format(noisy_frame(pixel_format), planar_format(pixel_format)))
    delta = np.zeros((21, 27, 3), np.float32)
    delta[5:16, 4:23] = np.random.default_rng(1).uniform(20, 60, (11, 19, 3))
    changed = planes_of(to_format(add_bgr_delta(noisy_frame(pixel_format), (9, 7, 36, 28), delta), planar_format(pixel_format)))
    num_changed = 0
    for before, after in zip(untouched, changed, strict=True):
        rows, columns = -(-HEIGHT // before.shape[0]), -(-WIDTH // before.shape[1])
        may_change = np.zeros(before.shape, bool)
        may_change[(7 + 5) // rows : (7 + 15) // rows + 1, (9 + 4) // columns : (9 + 22) // columns + 1] = True
        assert np.array_equal(before[~may_change], after[~may_change])
        num_changed += int((before != after).sum())
    assert num_changed > 100


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_wherever_the_rectangle_lies_only_covered_samples_change(data):
    pixel_format = data.draw(st.sampled_from(["yuv420p", "yuv422p10le", "yuv411p", "gray"]))
    width, height = data.draw(st.integers(5, 23)), data.draw(st.integers(5, 23))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0, width)), data.draw(st.integers(y0, height))
    before = planes_of(noisy_frame(pixel_format, width, height))
    after = planes_of(add_bgr_delta(noisy_frame(pixel_format, width, height), (x0, y0, x1, y1), np.full((y1 - y0, x1 - x0, 3), 40, np.float32)))
    for plane_before, plane_after in zip(before, after, strict=True):
        rows, columns = {"yuv420p": (2, 2), "yuv422p10le": (1, 2), "yuv411p": (1, 4), "gray": (1, 1)}[pixel_format]
        rows, columns = (1, 1) if plane_before.shape == (height, width) else (rows, columns)
        covered = np.zeros(plane_before.shape, bool)
        covered[y0 // rows : -(-y1 // rows), x0 // columns : -(-x1 // columns)] = x1 > x0 and y1 > y0
        assert np.array_equal(plane_before[~covered], plane_after[~covered])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "nv12", "gray", "gbrp"])
def test_no_change_leaves_every_sample(pixel_format):
    after = add_bgr_delta(noisy_frame(pixel_format), (0, 0, WIDTH, HEIGHT), np.zeros((HEIGHT, WIDTH, 3), np.float32))
    assert same_planes(planes_of(after), planes_of(to_format(noisy_frame(pixel_format), planar_format(pixel_format))))


@pytest.mark.parametrize("rotation_degrees", [0, 90, 180, 270])
def test_a_change_lies_right_in_a_turned_picture(rotation_degrees):
    frame = smooth_frame("yuv444p")
    before = upright_bgr(frame, rotation_degrees).astype(int)
    delta = np.zeros((10, 6, 3), np.float32)
    delta[:4, :3] = 40  # not symmetrical, so that a wrong turn shows
    after = upright_bgr(add_bgr_delta(frame, (5, 9, 11, 19), delta, rotation_degrees), rotation_degrees).astype(int)
    expected = np.zeros_like(before)
    expected[9:13, 5:8] = 40
    assert np.abs(after - before - expected).max() <= 2


def test_too_much_change_stops_at_black_and_white():
    for amount, limit in ((400, 255), (-400, 0)):
        frame = add_bgr_delta(smooth_frame("yuv420p"), (0, 0, WIDTH, HEIGHT), np.full((HEIGHT, WIDTH, 3), amount, np.float32))
        assert (planes_of(frame)[0] == limit).all()


def test_a_change_does_not_reach_frames_predicted_from_it(tmp_path):
    no_delay = ("-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency")  # frames come out before those predicted from them are decoded
    film = make_picture(tmp_path / "film.mp4", num_frames=30, codec=no_delay)
    with av.open(str(film)) as container:
        undisturbed = [planes_of(frame) for frame in container.decode(video=0)]
    found = []
    with av.open(str(film)) as container:
        for frame in container.decode(video=0):
            found.append(planes_of(frame))  # as decoded, after the frames before it were changed
            add_bgr_delta(frame, (0, 0, 96, 64), np.full((64, 96, 3), 90, np.float32))
    assert len(found) == 30
    assert all(same_planes(a, b) for a, b in zip(undisturbed, found, strict=True))


def test_time_tags_and_field_order_stay(tmp_path):
    film = make_picture(tmp_path / "film.mkv", codec=("-c:v", "ffv1"), filters="setfield=bff,setparams=color_primaries=bt709:color_trc=bt709")
    with av.open(str(film)) as container:
        frame = next(container.decode(video=0))
    frame.pts = 41
    for changed in (
        add_bgr_delta(frame, (0, 0, 8, 8), np.full((8, 8, 3), 9, np.float32)),
        to_full_chroma(frame, "yuv444p"),
        to_format(frame, "nv12"),
    ):
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


def test_a_change_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="does not fit"):
        add_bgr_delta(smooth_frame("yuv420p"), (60, 0, 70, 4), np.zeros((4, 10, 3), np.float32))
