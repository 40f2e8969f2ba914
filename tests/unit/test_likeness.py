"""People of a film are found by likeness: the same face under small changes of light and place stays together, strangers do not."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data

from tasks.likeness import SAME_PERSON, looks_of, people_among
from wav2lip_core.face_crop import crop
from wav2lip_core.face_detector import open_detector
from wav2lip_core.likeness import group, lower_looks


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    picture = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    face = open_detector("dlib").detect([picture])[0][0]
    return crop(picture, np.asarray(face.box))


def changed(face: np.ndarray, gain: float, shift_px: float) -> np.ndarray:
    """The same face, in other light and not quite in the same place."""
    moved = cv2.warpAffine(face, np.array([[1, 0, shift_px], [0, 1, -shift_px]], np.float64), (96, 96), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(moved * gain, 0, 255).astype(np.uint8)


def test_the_same_face_in_other_light_and_place_is_the_same_person(portrait: np.ndarray) -> None:
    assert float(looks_of(portrait[None]) @ looks_of(changed(portrait, 0.9, 1.0)[None])) > SAME_PERSON


def test_the_mouth_has_no_part_in_who_somebody_is(portrait: np.ndarray) -> None:
    open_mouth = portrait.copy()
    open_mouth[64:88, 30:66] = 20
    assert np.array_equal(looks_of(portrait[None]), looks_of(open_mouth[None]))
    assert float(lower_looks(portrait[None]) @ lower_looks(open_mouth[None])) < 0.97


def test_groups_are_numbered_by_first_appearance_and_likeliest_are_joined_first() -> None:
    a, b = np.eye(4)[0], np.eye(4)[1]
    assert group(np.stack([b, a, b, a, np.eye(4)[2]]), least=0.8) == [0, 1, 0, 1, 2]
    assert group(np.stack([a]), least=0.8) == [0]
    assert people_among([]) == []


def test_in_real_clips_no_two_people_are_taken_for_one_and_most_clips_of_one_are_joined(shared: Path) -> None:
    truth, looks = [], []
    for person in ("s1", "s26_m", "spkA_f", "spkF_m", "spkJ_m"):
        clips = sorted(path for path in (shared / "media" / "grid" / person).iterdir() if path.suffix in (".mp4", ".mpg"))
        for clip in clips[:2]:
            with av.open(str(clip)) as container:
                pictures = [frame.to_ndarray(format="bgr24") for n, frame in enumerate(container.decode(video=0)) if n in (10, 40)]
            faces = [found[0] for found in open_detector("dlib").detect(pictures) if found]
            looks.append(looks_of(np.stack([crop(picture, np.asarray(face.box)) for picture, face in zip(pictures, faces, strict=True)])))
            truth.append(person)
    found = people_among(looks)
    pairs = [(i, j) for i in range(len(truth)) for j in range(i)]
    assert not [(truth[i], truth[j]) for i, j in pairs if truth[i] != truth[j] and found[i] == found[j]]
    joined = [found[i] == found[j] for i, j in pairs if truth[i] == truth[j]]
    assert sum(joined) >= 0.6 * len(joined) > 0
