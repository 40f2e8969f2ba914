"""How a patch sits in the picture: each check is silent where nothing is wrong and speaks where one thing is."""

import cv2
import numpy as np
import pytest
from skimage import data

from tasks.leak_probe import motion, pick_frames
from tasks.picture_checks import flicker_ratio, seam_error, sharpness
from wav2lip_core.face_crop import mouth_mask
from wav2lip_core.reference import held_still

SIZE = 96
MASK = mouth_mask(SIZE, SIZE)[..., None]


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return np.ascontiguousarray(cv2.resize(cv2.cvtColor(data.astronaut()[20:200, 140:300], cv2.COLOR_RGB2BGR), (SIZE, SIZE)))


def with_added(face: np.ndarray, delta: np.ndarray | float) -> np.ndarray:
    return np.clip(face + delta * MASK, 0, 255).astype(np.uint8)


def test_a_patch_of_another_brightness_has_a_seam_and_one_that_fits_has_none(face: np.ndarray) -> None:
    assert seam_error(face, face) == 0
    assert seam_error(face, with_added(face, 40.0)) > 6
    assert seam_error(face, with_added(face, 4.0)) < 2


def test_a_dark_mouth_in_the_middle_is_no_seam(face: np.ndarray) -> None:
    mouth = face.copy()
    mouth[66:76, 40:56] = 10
    assert seam_error(face, mouth) < 1


def test_a_seam_on_one_side_only_is_found(face: np.ndarray) -> None:
    half = np.zeros((SIZE, SIZE, 1))
    half[:, :48] = 60.0
    assert seam_error(face, with_added(face, half)) > 4


def test_a_blurred_mouth_is_less_sharp_in_proportion(face: np.ndarray) -> None:
    slightly, strongly = (cv2.GaussianBlur(face, (0, 0), sigma) for sigma in (0.7, 3.0))
    assert sharpness(strongly) < 0.5 * sharpness(slightly) < 0.5 * sharpness(face)


def test_a_patch_that_changes_brightness_every_frame_flickers(face: np.ndarray) -> None:
    still = np.stack([face] * 12)
    assert flicker_ratio(still, still) == 1
    restless = np.stack([with_added(face, 20.0 * (n % 2)) for n in range(12)])
    assert flicker_ratio(still, restless) > 3
    moving = np.stack([np.roll(face, n % 3, axis=1) for n in range(12)])
    assert flicker_ratio(moving, moving) == 1


def test_motion_is_nothing_for_a_resting_mouth_and_grows_with_what_it_opens() -> None:
    rng = np.random.default_rng(0)
    calm = np.repeat(rng.integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8), 20, axis=0)
    assert motion(calm) < 0.001
    little, much = calm.copy(), calm.copy()
    little[::2, 66:72, 40:56] = 0
    much[::2, 60:84, 30:66] = 0
    assert 0 < motion(little) < motion(much)


def test_the_probe_looks_where_the_mouth_moves_most_and_takes_short_patches_whole() -> None:
    faces = np.zeros((100, SIZE, SIZE, 3), np.uint8)
    faces[60:90:2, 60:84, 30:66] = 200
    picked = pick_frames(faces)
    assert len(picked) == 16
    assert picked[0] <= 60 < 88 <= picked[-1]
    assert list(pick_frames(faces[:5])) == [0, 2, 4]


def test_a_mouth_that_goes_where_its_head_goes_is_held_still_and_one_that_opens_is_not(face: np.ndarray) -> None:
    heads = np.stack([cv2.warpAffine(face, np.float64([[1, 0, 3 * np.sin(n / 5)], [0, 1, 0]]), (SIZE, SIZE)) for n in range(16)])
    speaking = heads.copy()
    speaking[::2, 68:76, 40:56] = 0
    assert motion(held_still(heads, heads)) < 0.4 * motion(heads)
    assert motion(held_still(speaking, heads)) > 2 * motion(held_still(heads, heads))
