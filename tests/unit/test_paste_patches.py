"""A face pasted into a film's own planes lands where and as it should, and nowhere else, in every pixel format."""

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.planes import addable, planar_format, subsampling, to_format
from infra.video import upright_bgr
from tasks.paste_patches import paste
from tests.film_clips import FORMATS, make_picture, noisy_frame, planes_of, same_planes
from wav2lip_core import face_crop, face_planes
from wav2lip_core.face_planes import Colours, Plane

WIDTH, HEIGHT = 256, 192  # rows of whole vectors: swscale, which makes the frames, reads beyond others
BOX = np.array([50.4, 20.7, 180.2, 172.0], np.float32)


def natural(seed: int = 0, width: int = WIDTH, height: int = HEIGHT, grain: float = 12) -> np.ndarray:
    """A picture of middle tones with shapes and grain: uint8 (h, w, 3) BGR."""
    rng = np.random.default_rng(seed)
    shapes = cv2.resize(rng.uniform(60, 190, (12, 15, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(shapes + rng.normal(0, grain, shapes.shape), 20, 235).round().astype(np.uint8)


def frame_of(bgr: np.ndarray, pixel_format: str) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(bgr, "bgr24").reformat(format=pixel_format, dst_colorspace=1, dst_color_range=1)
    frame.colorspace, frame.color_range = 1, 1
    return frame


def in_colours(picture: np.ndarray, box: np.ndarray, face: np.ndarray) -> np.ndarray:
    pasted = face_crop.paste_delta(picture, box, face)
    assert pasted is not None
    (x0, y0, x1, y1), delta = pasted
    shown = picture.astype(np.float32)
    shown[y0:y1, x0:x1] += delta
    return shown


def a_face(seed: int = 5) -> np.ndarray:
    return natural(seed, 96, 96, grain=2)


def samples_under(rect: tuple[int, int, int, int], frame: av.VideoFrame, index: int) -> np.ndarray:
    """The samples of a plane that cover a pixel of the mouth in this box."""
    x0, y0, x1, y1 = rect
    mouth = np.zeros((frame.height, frame.width), bool)
    rows, columns = np.nonzero(face_crop.mouth_mask(x1 - x0, y1 - y0))
    on_picture = (rows + y0 >= 0) & (rows + y0 < frame.height) & (columns + x0 >= 0) & (columns + x0 < frame.width)
    mouth[(rows + y0)[on_picture], (columns + x0)[on_picture]] = True
    step_y, step_x = subsampling(frame.format, index)
    padded = np.pad(mouth, ((0, -frame.height % step_y), (0, -frame.width % step_x)))
    return padded.reshape(padded.shape[0] // step_y, step_y, -1, step_x).any(axis=(1, 3))


@pytest.mark.parametrize(
    "box",
    [BOX, BOX - 37, BOX + np.float32([60, 80, 60, 80]), BOX * 0.5, [40, 40, 80, 90]],
    ids=["inside", "top left", "bottom right", "small", "tiny"],
)
@pytest.mark.parametrize("pixel_format", ["yuv444p16le", "gbrp", "gbrp10le", "rgb24"])
def test_a_pasted_face_looks_as_it_does_pasted_into_a_picture_in_colours(pixel_format, box):
    box = np.asarray(box, np.float32)
    frame = frame_of(natural(), pixel_format)
    expected = in_colours(upright_bgr(frame, 0), box, a_face())
    difference = np.abs(upright_bgr(paste(frame, [(box, a_face())], 0), 0) - expected)
    assert np.abs(expected - natural()).max() > 40
    assert difference.mean() < 0.5
    assert difference.max() <= 4


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "yuv422p10le", "yuv411p", "yuv420p12le"])
def test_where_chroma_is_coarse_the_face_has_its_luma_and_the_colours_of_its_surroundings(pixel_format):
    frame = frame_of(natural(grain=2), pixel_format)
    expected = in_colours(upright_bgr(frame, 0), BOX, a_face())
    wanted = planes_of(addable(frame_of(np.clip(expected, 0, 255).round().astype(np.uint8), pixel_format)))
    depth = 1 << (frame.format.components[0].bits - 8)
    pasted = paste(frame, [(BOX, a_face())], 0)
    for index, (found, plane) in enumerate(zip(planes_of(pasted), wanted, strict=True)):
        difference = np.abs(found.astype(int) - plane.astype(int))[samples_under(face_crop.pixel_rect(BOX), pasted, index)]
        assert difference.mean() < 1.2 * depth
        assert difference.max() <= (4 if index == 0 else 12) * depth


def test_a_gray_film_takes_the_light_of_a_face_and_none_of_its_colour():
    frame = frame_of(natural(), "gray")
    gray_face = cv2.cvtColor(cv2.cvtColor(a_face(), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    expected = in_colours(upright_bgr(frame, 0), BOX, gray_face)
    assert np.abs(upright_bgr(paste(frame, [(BOX, gray_face)], 0), 0) - expected).max() <= 4


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_samples_away_from_the_mouth_stay_bit_equal(pixel_format):
    before = planes_of(to_format(noisy_frame(pixel_format, 64, 48), planar_format(pixel_format)))
    pasted = paste(noisy_frame(pixel_format, 64, 48), [(np.array([9, 3, 51, 57], np.float32), a_face())], 0)
    after = planes_of(to_format(pasted, planar_format(pixel_format)))
    for index, (plane, changed) in enumerate(zip(before, after, strict=True)):
        may_change = samples_under((9, 3, 51, 57), pasted, index)
        assert np.array_equal(plane[~may_change], changed[~may_change])
    assert (before[0] != after[0]).sum() > 300


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_wherever_the_box_lies_only_samples_of_the_mouth_change(data):
    pixel_format = data.draw(st.sampled_from(["yuv420p", "yuv422p10le", "yuv411p", "gray", "gbrp"]))
    width, height = data.draw(st.integers(5, 43)), data.draw(st.integers(5, 43))
    x0, y0 = data.draw(st.integers(-40, 50)), data.draw(st.integers(-40, 50))
    x1, y1 = x0 + data.draw(st.integers(2, 120)), y0 + data.draw(st.integers(2, 120))
    before = planes_of(noisy_frame(pixel_format, width, height))
    pasted = paste(noisy_frame(pixel_format, width, height), [(np.array([x0, y0, x1, y1], np.float32), a_face())], 0)
    for index, (plane, changed) in enumerate(zip(before, planes_of(pasted), strict=True)):
        may_change = samples_under((x0, y0, x1, y1), pasted, index)
        assert np.array_equal(plane[~may_change], changed[~may_change])


@pytest.mark.parametrize("rotation_degrees", [90, 180, 270])
@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p", "gbrp"])
def test_a_face_lies_the_same_in_a_turned_picture(pixel_format, rotation_degrees):
    upright = noisy_frame(pixel_format, 120, 120)
    turns = rotation_degrees // 90
    coded = av.VideoFrame(120, 120, pixel_format)
    for target, plane, padded in zip(coded.planes, planes_of(upright), upright.planes, strict=True):
        rows = np.zeros((plane.shape[0], padded.line_size), plane.dtype)
        rows[:, : plane.shape[1]] = np.rot90(plane, turns)
        target.update(rows.tobytes())
    box = np.array([10, 5, 93, 110], np.float32)
    expected = [np.rot90(plane, turns) for plane in planes_of(paste(upright, [(box, a_face())], 0))]
    found = planes_of(paste(coded, [(box, a_face())], rotation_degrees))
    assert max(np.abs(one.astype(int) - other.astype(int)).max() for one, other in zip(found, expected, strict=True)) <= 1


def test_two_faces_of_one_frame_do_not_see_each_other():
    boxes = [np.array([x, 20, x + 90, 140], np.float32) for x in (20, 70)]
    seen = [planes_of(frame_of(natural(), "yuv420p"))]
    seen += [planes_of(paste(frame_of(natural(), "yuv420p"), faces, 0)) for faces in ([(boxes[0], a_face(1))], [(boxes[1], a_face(2))])]
    both = planes_of(paste(frame_of(natural(), "yuv420p"), [(box, a_face(i)) for i, box in enumerate(boxes, 1)], 0))
    for before, one, other, found in zip(*seen, both, strict=True):
        expected = before.astype(int) + (one.astype(int) - before) + (other.astype(int) - before)
        assert np.abs(found - np.clip(expected, 0, 255)).max() <= 1


def test_a_box_off_the_picture_changes_nothing():
    frame = paste(noisy_frame("yuv420p"), [(np.array([70, 60, 150, 160], np.float32), a_face())], 0)
    assert same_planes(planes_of(frame), planes_of(noisy_frame("yuv420p")))


def test_a_change_does_not_reach_frames_predicted_from_it(tmp_path):
    no_delay = ("-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency")  # frames come out before those predicted from them are decoded
    film = make_picture(tmp_path / "film.mp4", num_frames=30, codec=no_delay)
    with av.open(str(film)) as container:
        undisturbed = [planes_of(frame) for frame in container.decode(video=0)]
    found, num_changed = [], 0
    with av.open(str(film)) as container:
        for frame in container.decode(video=0):
            found.append(planes_of(frame))  # as decoded, after the frames before it were changed
            num_changed += not same_planes(found[-1], planes_of(paste(frame, [(np.array([0, -30, 96, 70], np.float32), a_face())], 0)))
    assert num_changed == len(found) == 30
    assert all(same_planes(a, b) for a, b in zip(undisturbed, found, strict=True))


@pytest.mark.parametrize("box", [BOX, BOX * 0.3, BOX * [1, 1, 1.5, 1]], ids=["usual", "tiny", "wide"])
def test_rows_of_the_face_that_are_left_out_have_no_part_in_the_mouth(monkeypatch, box):
    planes, colours = [Plane(plane) for plane in natural().transpose(2, 0, 1)], Colours(np.eye(3), np.zeros(3), np.eye(3))
    some = face_planes.plane_changes(planes, colours, box, a_face())
    monkeypatch.setattr(face_planes, "MARGIN", 96)
    whole = face_planes.plane_changes(planes, colours, box, a_face())
    for one, other in zip(some, whole, strict=True):
        assert (one.top, one.left) == (other.top, other.left)
        assert one.levels == pytest.approx(other.levels, abs=1e-6)
