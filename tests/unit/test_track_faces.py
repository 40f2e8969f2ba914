"""Faces followed through shots: real films made from a portrait that moves in known ways."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data

import tasks.track_faces
from infra.artifacts import ArtifactStore
from infra.errors import InputError
from infra.video import FrameReader
from tasks.inspect_film import inspect_film
from tasks.track_faces import _is_profile, track_faces
from tasks.types import FaceTrack, Film, Shot, ShotFaces
from tests.media import remux, rotated, write_film
from wav2lip_core import face_crop

PORTRAIT = np.ascontiguousarray(skimage.data.astronaut()[:330, 60:390, ::-1])  # face and shoulders, 330x330
FACE_CENTRE = np.array([164.5, 118.0])  # of the canonical box in PORTRAIT
FACE_HEIGHT = 118.0
WALL = cv2.resize(np.random.default_rng(0).integers(90, 150, (9, 16, 3), np.uint8), (640, 360), interpolation=cv2.INTER_CUBIC)
FRAMED = np.ones((330, 330), np.uint8)
_Y, _X = np.mgrid[0:330, 0:330]
CUT_OUT = ((((_X - 165) / 90) ** 2 + ((_Y - 120) / 120) ** 2 < 1) | ((_Y > 200) & (abs(_X - 165) < 150))).astype(np.uint8)  # head and shoulders
LOSSLESS: dict[str, Any] = {"codec": "ffv1", "pixel_format": "bgr0"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture
def film_of(store: ArtifactStore, tmp_path: Path) -> Callable[..., Film]:
    def make(pictures: Iterable[np.ndarray], **how) -> Film:
        return inspect_film(store, str(write_film(tmp_path / f"{len(list(tmp_path.iterdir()))}.mkv", pictures, **(LOSSLESS | how))))

    return make


def hung(
    *places: tuple[float, float], portraits: tuple[np.ndarray, ...] = (PORTRAIT,), wall: np.ndarray = WALL, shape: np.ndarray = FRAMED
) -> np.ndarray:
    """Portraits on a wall, later ones in front, each with its top left corner at a place, which may be between pixels and outside."""
    picture = wall.copy()
    for k, (x, y) in enumerate(places):
        portrait = portraits[k % len(portraits)]
        shift = np.array([[1, 0, x], [0, 1, y]], float)
        size = (wall.shape[1], wall.shape[0])
        cover = cv2.warpAffine(shape[: portrait.shape[0], : portrait.shape[1]], shift, size, flags=cv2.INTER_NEAREST)
        moved = cv2.warpAffine(portrait, shift, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        picture[cover > 0] = moved[cover > 0]
    return picture


def whole(film: Film, index: int = 0) -> Shot:
    return Shot(index=index, first_frame=0, end_frame=film.num_frames)


def boxes_of(store: ArtifactStore, track: FaceTrack) -> np.ndarray:
    return store.load_arrays(track.geometry)["boxes"]


def centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def only_track(faces: ShotFaces) -> FaceTrack:
    assert faces.num_faces == len(faces.tracks) == 1
    return faces.tracks[0]


def sway(n: int) -> tuple[float, float]:
    """Left and right and up and down, up to 10 px a frame: a lively head."""
    return 150 + 60 * np.sin(n / 6), 12 + 10 * np.sin(n / 4)


def test_a_box_stays_on_a_moving_face_in_every_frame(store: ArtifactStore, film_of) -> None:
    places = [sway(n) for n in range(45)]
    film = film_of(hung(place) for place in places)
    track = only_track(track_faces(store, film, whole(film), "dlib", None))
    assert (track.first_frame, track.end_frame, track.track_id, track.usable) == (0, 45, 0, True)
    boxes = boxes_of(store, track)
    off = centres(boxes) - places - FACE_CENTRE
    assert np.abs(off).max() < 0.06 * FACE_HEIGHT
    assert np.abs(off - off.mean(axis=0)).max() < 0.03 * FACE_HEIGHT, "it rides with the face rather than after it"
    heights = boxes[:, 3] - boxes[:, 1]
    assert np.ptp(heights) < 0.04 * FACE_HEIGHT
    assert np.mean(heights) == pytest.approx(FACE_HEIGHT, rel=0.08)
    assert track.mean_box == pytest.approx(boxes.mean(axis=0), abs=1e-3)
    assert store.load_arrays(track.geometry)["detected"].all()


def test_a_detector_looks_often_where_a_face_moves_and_seldom_where_nothing_does(store: ArtifactStore, film_of, monkeypatch) -> None:
    looks: list[int] = []
    back_end = tasks.track_faces.open_once("dlib", None)
    detect = type(back_end).detect
    monkeypatch.setattr(type(back_end), "detect", lambda self, pictures: looks.append(len(pictures)) or detect(self, pictures))
    num_looks, boxes = {}, {}
    for name, places in {"still": [(150.0, 12.0)] * 75, "lively": [sway(n) for n in range(75)]}.items():
        film = film_of(hung(place) for place in places)
        looks.clear()
        boxes[name] = boxes_of(store, only_track(track_faces(store, film, whole(film), "dlib", None)))
        num_looks[name] = sum(looks)
    assert num_looks["still"] <= 10  # three at once, then every six tenths of a second, and the last
    assert num_looks["lively"] >= 15  # every fifth of a second at least
    assert np.abs(centres(boxes["still"]) - [150, 12] - FACE_CENTRE).max() < 0.06 * FACE_HEIGHT


def test_where_nothing_else_changes_only_the_faces_are_looked_at_again(store: ArtifactStore, film_of, monkeypatch) -> None:
    back_end = type(tasks.track_faces.open_once("dlib", None))
    wholes, detect = [], back_end.detect
    monkeypatch.setattr(back_end, "detect", lambda self, pictures: wholes.append(1) or detect(self, pictures))
    film = film_of(hung((150.0, 12.0)) for _ in range(75))
    boxes = boxes_of(store, only_track(track_faces(store, film, whole(film), "dlib", None)))
    assert len(wholes) == 3  # two at first, and one after two seconds
    assert np.abs(centres(boxes) - [150, 12] - FACE_CENTRE).max() < 0.06 * FACE_HEIGHT
    assert np.ptp(boxes[:, 3] - boxes[:, 1]) < 0.02 * FACE_HEIGHT, "looks of two kinds do not make the box breathe"


def test_somebody_who_joins_a_still_picture_is_seen_at_once(store: ArtifactStore, film_of) -> None:
    wall, darker = cv2.resize(WALL, (960, 360)), (PORTRAIT[:, ::-1] * 0.7).astype(np.uint8)
    alone, together = ((20, 12),), ((20, 12), (600, 12))
    film = film_of(hung(*(alone if n < 30 else together), portraits=(PORTRAIT, darker), wall=wall) for n in range(75))
    first, second = track_faces(store, film, whole(film), "dlib", None).tracks
    assert (first.first_frame, first.end_frame, second.end_frame) == (0, 75, 75)
    assert 30 <= second.first_frame <= 35


def test_crops_are_the_canonical_crops_of_the_films_own_frames(store: ArtifactStore, film_of) -> None:
    film = film_of(hung(sway(n)) for n in range(12))
    track = only_track(track_faces(store, film, Shot(index=3, first_frame=2, end_frame=12), "dlib", None))
    assert track.crops is not None
    crops = store.load_array(track.crops)
    assert (crops.shape, crops.dtype) == ((10, 96, 96, 3), np.uint8)
    timing = store.load_arrays(film.timing)
    reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"])
    for (_, picture), box, crop in zip(reader.pictures(2, 12), boxes_of(store, track), crops, strict=True):
        difference = np.abs(crop.astype(int) - face_crop.crop(picture, box))
        assert difference.mean() < 0.3  # the crop is cut from the film's own planes and rounded once
        assert difference.max() <= 3


def test_people_are_numbered_from_the_left_and_keep_their_numbers_as_they_move(store: ArtifactStore, film_of) -> None:
    wall, darker = cv2.resize(WALL, (960, 360)), (PORTRAIT[:, ::-1] * 0.7).astype(np.uint8)
    places = [((n * 4, 10.0), (960 - 340 - n * 4, 20.0)) for n in range(30)]
    film = film_of(hung(*pair, portraits=(PORTRAIT, darker), wall=wall) for pair in places)
    faces = track_faces(store, film, whole(film), "dlib", None)
    assert [track.track_id for track in faces.tracks] == [0, 1]
    for track, own, centre in zip(faces.tracks, zip(*places, strict=True), (FACE_CENTRE, (330 - FACE_CENTRE[0], FACE_CENTRE[1])), strict=True):
        assert (track.first_frame, track.end_frame) == (0, 30)
        assert np.abs(centres(boxes_of(store, track)) - own - centre).max() < 0.08 * FACE_HEIGHT


def test_a_face_hidden_for_a_while_is_still_the_same_person(store: ArtifactStore, film_of) -> None:
    pictures = [hung((140 + n, 15)) for n in range(60)]
    for n in range(22, 40):
        cv2.rectangle(pictures[n], (140 + n + 90, 15 + 40), (140 + n + 240, 15 + 200), (90, 80, 70), -1)
    film = film_of(pictures)
    track = only_track(track_faces(store, film, whole(film), "dlib", None))
    assert (track.first_frame, track.end_frame) == (0, 60)
    detected = store.load_arrays(track.geometry)["detected"]
    assert not detected[25:37].any(), "it says that nothing was seen"
    assert detected[:18].all()
    assert detected[46:].all()
    off = centres(boxes_of(store, track)) - [(140 + n, 15) for n in range(60)] - FACE_CENTRE
    assert np.abs(off).max() < 0.12 * FACE_HEIGHT


def test_people_who_cross_keep_their_numbers_and_who_is_behind_is_not_carried_off(store: ArtifactStore, film_of) -> None:
    wall, tanned = cv2.resize(WALL, (960, 360)), (PORTRAIT[:, ::-1] * (0.6, 0.75, 0.9)).astype(np.uint8)
    behind, in_front = ([(start + speed * n, 20.0) for n in range(50)] for start, speed in ((610, -10), (20, 10)))
    pairs = zip(behind, in_front, strict=True)
    film = film_of(hung(*pair, portraits=(tanned, PORTRAIT), wall=wall, shape=CUT_OUT) for pair in pairs)
    faces = track_faces(store, film, whole(film), "dlib", None)
    assert [(track.track_id, track.first_frame, track.end_frame) for track in faces.tracks] == [(0, 0, 50), (1, 0, 50)]
    centre_behind = (330 - FACE_CENTRE[0], FACE_CENTRE[1])
    for track, places, centre in zip(faces.tracks, (in_front, behind), (FACE_CENTRE, centre_behind), strict=True):
        assert np.abs(centres(boxes_of(store, track)) - places - centre).max() < 0.1 * FACE_HEIGHT
    assert not store.load_arrays(faces.tracks[1].geometry)["detected"][27:32].any()


def test_nothing_beyond_a_cut_touches_a_shot(store: ArtifactStore, film_of) -> None:
    shot = [hung(sway(n)) for n in range(20)]
    followed_by_a_jump = film_of([*shot, *(hung((300, 30)) for _ in range(15))])
    followed_by_nobody = film_of([*shot, *(WALL for _ in range(15))])
    tracks = [
        only_track(track_faces(store, film, Shot(index=0, first_frame=0, end_frame=20), "dlib", None))
        for film in (followed_by_a_jump, followed_by_nobody)
    ]
    assert tracks[0].geometry == tracks[1].geometry
    assert tracks[0].crops == tracks[1].crops
    after = only_track(track_faces(store, followed_by_a_jump, Shot(index=1, first_frame=20, end_frame=35), "dlib", None))
    assert (after.first_frame, after.end_frame) == (20, 35)
    assert np.abs(centres(boxes_of(store, after)) - (300, 30) - FACE_CENTRE).max() < 0.06 * FACE_HEIGHT


def test_a_face_that_comes_late_or_leaves_early_has_only_its_own_frames(store: ArtifactStore, film_of) -> None:
    film = film_of(hung((150, 15)) if 25 <= n < 55 else WALL for n in range(80))
    track = only_track(track_faces(store, film, whole(film), "dlib", None))
    assert 25 <= track.first_frame <= 29
    assert 50 <= track.end_frame <= 56
    assert len(boxes_of(store, track)) == track.end_frame - track.first_frame


def test_what_is_seen_for_a_moment_of_a_long_shot_is_nobody(store: ArtifactStore, film_of) -> None:
    film = film_of(hung((150, 15)) if 40 <= n < 43 else WALL for n in range(80))
    assert track_faces(store, film, whole(film), "dlib", None).num_faces == 0


def test_a_shot_without_a_face_has_no_tracks(store: ArtifactStore, film_of) -> None:
    film = film_of(np.roll(WALL, 3 * n, axis=1) for n in range(15))
    assert track_faces(store, film, whole(film, 4), "dlib", None) == ShotFaces(shot_index=4, num_faces=0, tracks=())


def test_one_frame_is_a_shot_too(store: ArtifactStore, film_of) -> None:
    film = film_of(hung((100 + 9 * n, 15)) for n in range(3))
    track = only_track(track_faces(store, film, Shot(index=0, first_frame=1, end_frame=2), "dlib", None))
    assert (track.first_frame, track.end_frame) == (1, 2)
    assert track.crops is not None
    assert store.load_array(track.crops).shape == (1, 96, 96, 3)


def test_fifty_people_are_fifty_tracks_in_order(store: ArtifactStore, film_of) -> None:
    head = cv2.resize(PORTRAIT[10:220, 58:268], (192, 192))
    row = np.hstack([np.clip(head * (0.75 + 0.05 * (k % 8)), 0, 255).astype(np.uint8) for k in range(10)])
    film = film_of((np.roll(np.vstack([row] * 5), n, axis=0) for n in range(6)), codec="libx264", pixel_format="yuv420p")
    faces = track_faces(store, film, whole(film), "dlib", None)
    assert faces.num_faces == 50
    assert [track.track_id for track in faces.tracks] == list(range(50))
    lefts = [boxes_of(store, track)[0, 0] for track in faces.tracks]
    assert all(a <= b + 1 for a, b in pairwise(lefts))
    assert all((track.first_frame, track.end_frame) == (0, 6) and track.crops for track in faces.tracks)


def test_small_faces_in_a_wide_film_are_found_by_a_closer_look(store: ArtifactStore, film_of) -> None:
    wall = cv2.resize(WALL, (1280, 720))
    film = film_of(hung((100 + n, 50), (700 - n, 200), wall=wall) for n in range(4))  # 9 % of the width: too small at 640 px
    faces = track_faces(store, film, whole(film), "dlib", None)
    assert faces.num_faces == 2
    for track, place in zip(faces.tracks, ((100, 50), (700, 200)), strict=True):
        assert np.abs(centres(boxes_of(store, track))[0] - place - FACE_CENTRE).max() < 0.06 * FACE_HEIGHT


def test_boxes_lie_in_the_upright_picture_of_a_rotated_film(store: ArtifactStore, film_of, tmp_path: Path) -> None:
    upright = [hung((100 + n, 20)) for n in range(8)]
    coded = film_of((np.rot90(picture) for picture in upright), codec="libx264", pixel_format="yuv420p", options={"crf": "8"})
    turned = rotated(Path(coded.path), tmp_path / "turned.mp4", 90)
    film = inspect_film(store, str(turned))
    assert (film.rotation_degrees, film.width, film.height) == (90, 640, 360)
    track = only_track(track_faces(store, film, whole(film), "dlib", None))
    assert np.abs(centres(boxes_of(store, track)) - [(100 + n, 20) for n in range(8)] - FACE_CENTRE).max() < 0.06 * FACE_HEIGHT


def test_a_squeezed_film_has_its_faces_where_they_are_shown(store: ArtifactStore, film_of, tmp_path: Path) -> None:
    squeezed = film_of((cv2.resize(hung((100 + n, 20)), (320, 360)) for n in range(6)), codec="libx264", pixel_format="yuv420p", options={"crf": "8"})
    shown = remux(Path(squeezed.path), tmp_path / "shown.mp4", "-bsf:v", "h264_metadata=sample_aspect_ratio=2/1")
    film = inspect_film(store, str(shown))
    assert film.sample_aspect_ratio == 2
    track = only_track(track_faces(store, film, whole(film), "dlib", None))
    as_shown = boxes_of(store, track) * (2, 1, 2, 1)
    assert np.abs(centres(as_shown) - [(100 + n, 20) for n in range(6)] - FACE_CENTRE).max() < 0.06 * FACE_HEIGHT
    assert (as_shown[:, 3] - as_shown[:, 1]).mean() == pytest.approx(FACE_HEIGHT, rel=0.08)


def test_time_counts_in_seconds_where_frames_come_at_odd_times(store: ArtifactStore, film_of) -> None:
    pts = [n * 40 + (n % 5) * 7 if n < 20 else 800 + (n - 20) * 90 for n in range(36)]
    film = film_of((hung((120 + 0.08 * t, 15)) for t in pts), pts=pts, time_base=Fraction(1, 1000))
    assert film.is_vfr
    track = only_track(track_faces(store, film, whole(film), "dlib", None))
    off = centres(boxes_of(store, track)) - [(120 + 0.08 * t, 15) for t in pts] - FACE_CENTRE
    assert np.abs(off).max() < 0.07 * FACE_HEIGHT


def test_the_same_shot_is_tracked_once_and_another_detector_starts_anew(store: ArtifactStore, film_of, shared: Path) -> None:
    film = film_of(hung((100, 15)) for _ in range(3))
    made_before, reused_before = store.counts().get("track_faces", (0, 0))
    first, again = (track_faces(store, film, whole(film), "dlib", None) for _ in range(2))
    track_faces(store, film, whole(film), "yunet", shared / "weights/yunet_2026may.onnx")
    track_faces(store, film, Shot(index=0, first_frame=0, end_frame=2), "dlib", None)
    assert first == again
    assert store.counts()["track_faces"] == (made_before + 3, reused_before + 1)


def test_tiny_faces_are_counted_but_not_used(store: ArtifactStore, film_of, shared: Path) -> None:
    small = cv2.resize(PORTRAIT, (90, 90), interpolation=cv2.INTER_AREA)  # its face is 32 px high
    film = film_of(hung((60 + n, 15), (250, 15), portraits=(small, PORTRAIT)) for n in range(8))
    faces = track_faces(store, film, whole(film), "yunet", shared / "weights/yunet_2026may.onnx")
    assert [(track.usable, track.unusable_reason) for track in faces.tracks] == [(False, "too_small"), (True, None)]
    assert [track.crops is None for track in faces.tracks] == [True, False]
    landmarks = store.load_arrays(faces.tracks[1].geometry)["landmarks"]
    assert landmarks.shape == (8, 5, 2)


def test_a_detector_that_cannot_be_opened_is_the_users_to_mend(store: ArtifactStore, film_of, tmp_path: Path) -> None:
    film = film_of(WALL for _ in range(2))
    with pytest.raises(InputError, match="no face detector named 'haar'"):
        track_faces(store, film, whole(film), "haar", None)
    with pytest.raises(InputError, match=r"absent\.onnx"):
        track_faces(store, film, whole(film), "yunet", tmp_path / "absent.onnx")


def test_a_profile_is_told_by_its_nose_beyond_an_eye() -> None:
    frontal = np.array([[40, 40], [60, 40], [50, 50], [42, 60], [58, 60]], np.float32)
    turned, profile = frontal.copy(), frontal.copy()
    turned[2, 0], profile[2, 0] = 58, 66
    leaning = frontal @ np.array([[0.8, -0.6], [0.6, 0.8]], np.float32)
    assert [_is_profile(np.stack([points] * 3)) for points in (frontal, turned, leaning, profile)] == [False, False, False, True]
