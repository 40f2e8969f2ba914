"""The crop convention, and that pasting changes the mouth and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2lip_core import face_crop

HEIGHT, WIDTH = 180, 240


def _picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_eyes_and_mouth_lie_on_the_rows_that_the_networks_know() -> None:
    landmarks = np.array([[90, 60], [130, 60], [110, 80], [95, 100], [125, 100]], np.float32)
    x0, y0, x1, y1 = face_crop.from_landmarks(landmarks)
    assert (60 - y0) / (y1 - y0) == pytest.approx(0.37)
    assert (100 - y0) / (y1 - y0) == pytest.approx(0.715, abs=1e-3)
    assert (x0 + x1) / 2 == pytest.approx(110)
    assert (x1 - x0) / (y1 - y0) == pytest.approx(2.2 / 2.9)


def test_a_crop_of_the_exact_size_is_the_picture_itself() -> None:
    picture = _picture()
    assert np.array_equal(face_crop.crop(picture, np.array([20, 30, 116, 126.0])), picture[30:126, 20:116])


boxes = st.tuples(st.integers(-150, 260), st.integers(-150, 220), st.integers(2, 200), st.integers(2, 200))


@settings(max_examples=60, deadline=None)
@given(boxes, st.integers(0, 5))
def test_pasting_changes_nothing_outside_the_mouth_mask_wherever_the_box_lies(corner: tuple[int, int, int, int], seed: int) -> None:
    x, y, width, height = corner
    box = np.array([x, y, x + width, y + height], np.float32)
    picture, face = _picture(seed), np.random.default_rng(seed + 9).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    pasted = face_crop.paste_delta(picture, box, face)
    shown = np.zeros((HEIGHT, WIDTH), bool)  # where the picture may change
    rows, columns = np.nonzero(face_crop.mouth_mask(width, height))
    on_picture = (rows + y >= 0) & (rows + y < HEIGHT) & (columns + x >= 0) & (columns + x < WIDTH)
    shown[(rows + y)[on_picture], (columns + x)[on_picture]] = True
    if not shown.any():
        assert pasted is None
        return
    assert pasted is not None
    (x0, y0, x1, y1), delta = pasted
    assert 0 <= x0 < x1 <= WIDTH
    assert 0 <= y0 < y1 <= HEIGHT
    assert delta.shape == (y1 - y0, x1 - x0, 3)
    assert np.isfinite(delta).all()
    assert (delta[~shown[y0:y1, x0:x1]] == 0).all()
    shown[y0:y1, x0:x1] = False
    assert not shown.any()  # all of the mouth that is on the picture lies in the rect


def test_pasting_the_crop_itself_changes_nothing() -> None:
    picture, box = _picture(), np.array([40, 20, 160, 170], np.float32)
    pasted = face_crop.paste_delta(picture, box, face_crop.crop(picture, box))
    assert pasted is not None
    assert np.abs(pasted[1]).max() < 1e-2


def test_a_painted_mouth_arrives_and_a_colour_cast_does_not() -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    box = np.array([40, 20, 136, 116], np.float32)
    face = face_crop.crop(picture, box)
    face[62:78, 36:60] = 30  # a dark mouth
    tinted = np.clip(face.astype(int) + 12, 0, 255).astype(np.uint8)
    for made in (face, tinted):
        pasted = face_crop.paste_delta(picture, box, made)
        assert pasted is not None
        (x0, y0, x1, y1), delta = pasted
        after = picture.astype(np.float32)
        after[y0:y1, x0:x1] += delta
        after = after[20:116, 40:136]
        assert after[64:76, 40:56].mean() == pytest.approx(30, abs=8)
        assert np.abs(after[face_crop.mouth_mask(96, 96) < 0.2] - 120).max() < 3


def test_the_patched_crop_is_what_a_crop_of_the_patched_picture_shows() -> None:
    rng = np.random.default_rng(3)
    smooth = np.clip(128 + 60 * np.sin(np.mgrid[0:HEIGHT, 0:WIDTH][0] / 17)[..., None] + rng.normal(0, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(
        np.uint8
    )
    box = np.array([10, 10, 130, 168], np.float32)
    small = face_crop.crop(smooth, box)
    face = np.clip(small.astype(int) - 50 * (face_crop.mouth_mask(96, 96)[..., None] > 0.9), 0, 255).astype(np.uint8)
    pasted = face_crop.paste_delta(smooth, box, face)
    assert pasted is not None
    (x0, y0, x1, y1), delta = pasted
    film = smooth.copy()
    film[y0:y1, x0:x1] = np.clip(np.round(film[y0:y1, x0:x1] + delta), 0, 255)
    difference = np.abs(face_crop.crop(film, box).astype(int) - face_crop.patched(small, face).astype(int))
    assert difference.mean() < 1.0
