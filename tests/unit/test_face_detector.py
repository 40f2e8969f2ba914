"""Three back ends, one convention: faces are found, put in the same place, and nothing odd in a picture upsets them."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import skimage.data

from wav2lip_core.face_detector import DETECTORS, Face, FaceDetector, FaceDetectorError, open_detector

WEIGHTS = {"dlib": None, "yunet": "weights/yunet_2026may.onnx", "retinaface": "weights/retinaface_mobilenet0.25.pth"}
PORTRAIT_FACE = (180, 84, 270, 172)  # the astronaut's face from brow to chin, by eye: XYXY


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])


@pytest.fixture(scope="module")
def dlib_detector() -> FaceDetector:
    return open_detector("dlib")


@pytest.fixture(scope="module")
def detectors(shared: Path) -> dict[str, FaceDetector]:
    return {name: open_detector(name, None if file is None else shared / file) for name, file in WEIGHTS.items()}


def frames_of(path: Path, numbers: set[int]) -> dict[int, np.ndarray]:
    with av.open(str(path)) as container:
        return {n: frame.to_ndarray(format="bgr24") for n, frame in enumerate(container.decode(video=0)) if n in numbers}


@pytest.fixture(scope="module")
def episode(shared: Path) -> list[tuple[str, list[np.ndarray]]]:
    """Per shot of episode_a: its kind, and three of its frames."""
    shots = json.loads((shared / "media/episode_a/truth.json").read_text())["shots"]
    picks = [[shot["first_frame"] + 2, (shot["first_frame"] + shot["end_frame"]) // 2, shot["end_frame"] - 3] for shot in shots]
    frames = frames_of(shared / "media/episode_a/film.mp4", {n for pick in picks for n in pick})
    return [(shot["kind"], [frames[n] for n in pick]) for shot, pick in zip(shots, picks, strict=True)]


@pytest.fixture(scope="module")
def found(detectors: dict[str, FaceDetector], episode: list) -> dict[str, list[list[list[Face]]]]:
    """Per back end, shot and picture: the faces, from left to right."""

    def from_left(faces: list[Face]) -> list[Face]:
        return sorted(faces, key=lambda face: face.box[0])

    return {name: [[from_left(faces) for faces in detector.detect(pictures)] for _, pictures in episode] for name, detector in detectors.items()}


def centre_and_height(face: Face) -> tuple[np.ndarray, float]:
    x0, y0, x1, y1 = face.box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2]), y1 - y0


def assert_holds_the_portrait(faces: list[Face], scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> None:
    assert len(faces) == 1
    x0, y0, x1, y1 = (np.array(faces[0].box) - np.tile(shift, 2)) / scale
    assert (y1 - y0) / (x1 - x0) == pytest.approx(2.9 / 2.2, rel=1e-4)
    assert 100 < y1 - y0 < 130
    brow_x, brow_y, chin_x, chin_y = PORTRAIT_FACE
    assert abs((x0 + x1) / 2 - (brow_x + chin_x) / 2) < 12
    assert y0 < brow_y < chin_y < y1 + 5


def test_dlib_finds_the_portrait_without_any_file(portrait: np.ndarray, dlib_detector: FaceDetector) -> None:
    [faces] = dlib_detector.detect([portrait])
    assert_holds_the_portrait(faces)
    assert faces[0].landmarks is None
    assert faces[0].score > 0.5


def test_a_known_face_is_found_again_where_it_is_expected(portrait: np.ndarray, dlib_detector: FaceDetector) -> None:
    for picture in (portrait, np.hstack([portrait, portrait[:, ::-1]])):
        known = dlib_detector.detect([picture])[0]
        again = dlib_detector.find_again(picture, [np.add(face.raw_box, (6, -4, 6, -4)) for face in known])
        assert again is not None
        for face, expected in zip(again, known, strict=True):
            (centre, height), (expected_centre, expected_height) = centre_and_height(face), centre_and_height(expected)
            assert np.abs(centre - expected_centre).max() < 0.03 * expected_height
            assert height == pytest.approx(expected_height, rel=0.08)
            assert face.score > 0.5
    assert dlib_detector.find_again(portrait, []) == []


def test_a_known_face_that_is_gone_or_has_become_another_calls_for_a_look_at_the_whole_picture(portrait: np.ndarray, dlib_detector) -> None:
    box = np.array(dlib_detector.detect([portrait])[0][0].raw_box)
    covered = portrait.copy()
    covered[60:200, 150:300] = 90
    assert dlib_detector.find_again(covered, [box]) is None
    assert dlib_detector.find_again(portrait, [box, box + 5]) is None, "two people can't be one face"
    assert dlib_detector.find_again(portrait, [box, box + 200]) is None, "one of them is not there"


@pytest.mark.parametrize("name", ["yunet", "retinaface"])
def test_the_detectors_with_a_file_look_at_whole_pictures_only(name: str, portrait: np.ndarray, detectors: dict[str, FaceDetector]) -> None:
    known = detectors[name].detect([portrait])[0]
    assert detectors[name].find_again(portrait, [np.array(face.raw_box) for face in known]) is None
    assert detectors[name].sees_colours


@pytest.mark.parametrize("name", ["yunet", "retinaface"])
def test_the_detectors_with_a_file_find_the_portrait_and_its_landmarks(name: str, portrait: np.ndarray, detectors: dict[str, FaceDetector]) -> None:
    [faces] = detectors[name].detect([portrait])
    assert_holds_the_portrait(faces)
    landmarks = faces[0].landmarks
    assert landmarks is not None
    eye, other_eye, nose, corner, other_corner = landmarks
    assert eye[0] < nose[0] < other_eye[0], "left in the picture comes first"
    assert corner[0] < other_corner[0]
    assert max(eye[1], other_eye[1]) < nose[1] < min(corner[1], other_corner[1])


@pytest.mark.parametrize("scale", [0.6, 1.0, 3.0])
def test_boxes_scale_with_the_picture(scale: float, portrait: np.ndarray, dlib_detector: FaceDetector) -> None:
    picture = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    assert_holds_the_portrait(dlib_detector.detect([picture])[0], scale)


def test_a_box_moves_with_the_face_to_within_two_percent_of_its_height(portrait: np.ndarray, dlib_detector: FaceDetector) -> None:
    centres, heights = [], []
    for shift in range(0, 21, 2):  # less than one cell of dlib's grid each time
        moved = cv2.warpAffine(portrait, np.array([[1, 0, shift], [0, 1, shift / 2]], float), (512, 512), borderMode=cv2.BORDER_REPLICATE)
        centre, height = centre_and_height(dlib_detector.detect([moved])[0][0])
        centres.append(centre - (shift, shift / 2))
        heights.append(height)
    assert np.std(centres, axis=0).max() < 0.02 * np.mean(heights)
    assert np.std(heights) < 0.05 * np.mean(heights)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_back_end_counts_the_faces_of_every_shot_right(name: str, found: dict, episode: list) -> None:
    people = {"single": 1, "listener": 1, "pair": 2, "empty": 0}
    for index, ((kind, pictures), shot) in enumerate(zip(episode, found[name], strict=True)):
        assert [len(faces) for faces in shot] == [people[kind]] * len(pictures), f"shot {index}, {kind}"


@pytest.mark.parametrize(("name", "other"), [("dlib", "yunet"), ("dlib", "retinaface"), ("yunet", "retinaface")])
def test_back_ends_put_the_same_face_in_the_same_box(name: str, other: str, found: dict) -> None:
    off_centre, growth = [], []
    for shot, same_shot in zip(found[name], found[other], strict=True):
        for face, same in zip(chain(*shot), chain(*same_shot), strict=True):
            (centre, height), (other_centre, other_height) = centre_and_height(face), centre_and_height(same)
            off_centre.append(np.abs(centre - other_centre).max() / other_height)
            growth.append(height / other_height - 1)
    print(f"{name} against {other}: centre off {np.mean(off_centre):.3f}, at most {np.max(off_centre):.3f}")
    print(f"size {np.mean(growth):+.3f} ± {np.std(growth):.3f}")
    assert np.mean(off_centre) < 0.03
    assert np.max(off_centre) < 0.06
    assert abs(np.mean(growth)) < 0.08
    assert np.std(growth) < 0.07


def test_a_grey_picture_has_its_face_where_the_coloured_one_has(portrait: np.ndarray, dlib_detector: FaceDetector) -> None:
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    coloured, flat, deep = dlib_detector.detect([portrait, grey, grey[..., None]])
    assert flat[0].box == deep[0].box
    np.testing.assert_allclose(flat[0].box, coloured[0].box, atol=6)


@pytest.mark.parametrize("name", DETECTORS)
def test_tiny_flat_and_odd_pictures_hold_no_faces_and_do_no_harm(name: str, detectors: dict[str, FaceDetector]) -> None:
    sizes = [(1, 1), (2, 3), (9, 16), (17, 300), (300, 5), (240, 321)]
    pictures = [np.full((*size, 3), 127, np.uint8) for size in sizes]
    assert detectors[name].detect(pictures) == [[] for _ in sizes]
    assert detectors[name].detect([]) == []
    assert [detectors[name].count(picture) for picture in pictures] == [0 for _ in sizes]


def test_a_face_reaching_over_the_edge_keeps_its_box_outside_the_picture(portrait: np.ndarray, dlib_detector: FaceDetector) -> None:
    cut_off = np.ascontiguousarray(portrait[80:300, 120:330])  # the forehead and the hair are outside
    faces = dlib_detector.detect([cut_off])[0]
    assert faces[0].box[1] < 0
    assert_holds_the_portrait(faces, shift=(-120, -80))


def crowd(portrait: np.ndarray, num_columns: int = 10, num_rows: int = 5) -> np.ndarray:
    """Fifty heads of 192 px in rows: uint8 (960, 1920, 3)."""
    head = np.ascontiguousarray(portrait[10:220, 118:328])
    heads = [cv2.resize(np.clip(head * (0.75 + 0.05 * (k % 8)), 0, 255).astype(np.uint8), (192, 192)) for k in range(num_columns * num_rows)]
    return np.vstack([np.hstack(heads[row * num_columns : (row + 1) * num_columns]) for row in range(num_rows)])


@pytest.mark.parametrize("name", DETECTORS)
def test_fifty_faces_are_fifty(name: str, portrait: np.ndarray, detectors: dict[str, FaceDetector]) -> None:
    [faces] = detectors[name].at_width(1920).detect([crowd(portrait)])
    assert len(faces) == 50
    places = {(int(x), int(y)) for x, y in (centre_and_height(face)[0] // 192 for face in faces)}
    assert len(places) == 50, "one in each place"


@pytest.mark.parametrize("name", DETECTORS)
def test_pictures_of_mixed_sizes_may_come_together(name: str, portrait: np.ndarray, detectors: dict[str, FaceDetector]) -> None:
    pictures = [portrait, np.zeros((40, 60, 3), np.uint8), cv2.resize(portrait, (300, 300)), portrait[:, 100:400]]
    together = detectors[name].detect(pictures)
    assert [len(faces) for faces in together] == [1, 0, 1, 1]
    assert [detectors[name].count(picture) for picture in pictures] == [1, 0, 1, 1]
    for faces, picture in zip(together, pictures, strict=True):
        alone = detectors[name].detect([picture])[0]
        np.testing.assert_allclose([face.box for face in faces], [face.box for face in alone], atol=0.05)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_may_be_used_by_many_threads_and_sent_to_other_processes(
    name: str, portrait: np.ndarray, detectors: dict[str, FaceDetector]
) -> None:
    detector = detectors[name]
    pictures = [cv2.resize(portrait, (size, size)) for size in (320, 400, 480)] * 2
    expected = [detector.detect([picture])[0][0].box for picture in pictures]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda picture: detector.detect([picture])[0][0].box, pictures))
    np.testing.assert_allclose(found, expected, atol=0.05)
    copy = pickle.loads(pickle.dumps(detector))
    assert copy.sha256 == detector.sha256
    np.testing.assert_allclose(copy.detect(pictures[:1])[0][0].box, expected[0], atol=0.05)


def test_a_detector_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(FaceDetectorError, match="no face detector named 'haar'; choose one of dlib, yunet, retinaface"):
        open_detector("haar")
    with pytest.raises(FaceDetectorError, match="'yunet' needs a weights file"):
        open_detector("yunet")
    with pytest.raises(FaceDetectorError, match=r"not found: .*absent\.onnx"):
        open_detector("yunet", tmp_path / "absent.onnx")
    page = tmp_path / "page.onnx"
    page.write_text("<!DOCTYPE html><title>404</title>")
    for name in ("yunet", "retinaface"):
        with pytest.raises(FaceDetectorError, match=r"page\.onnx"):
            open_detector(name, page)


def test_one_model_is_not_taken_for_another(shared: Path) -> None:
    with pytest.raises(FaceDetectorError, match="light_asd"):
        open_detector("retinaface", shared / "weights/light_asd_talkset.model")
    with pytest.raises(FaceDetectorError, match="retinaface_mobilenet"):
        open_detector("yunet", shared / "weights/retinaface_mobilenet0.25.pth")


def test_pictures_of_a_wrong_kind_are_refused(dlib_detector: FaceDetector) -> None:
    with pytest.raises(ValueError, match="uint8"):
        dlib_detector.detect([np.zeros((64, 64, 3), np.float32)])
    with pytest.raises(ValueError, match=r"\(64, 64, 4\)"):
        dlib_detector.detect([np.zeros((64, 64, 4), np.uint8)])
