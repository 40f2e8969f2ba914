"""Stills of a face stand for the film: what is pasted into one looks as it would in the film's picture, inside it and over its border."""

import numpy as np
import pytest

from infra.artifacts import ArtifactStore
from tasks.face_stills import MOST_STILLS, StillCutter, still_frames, stills_of
from tasks.picture_checks import before_and_after
from tasks.types import FaceTrack

WIDTH, HEIGHT, FPS = 160, 120, 25


def a_track(store: ArtifactStore, boxes: np.ndarray, pictures: np.ndarray) -> FaceTrack:
    cutter = StillCutter(boxes, np.arange(len(boxes)) / FPS, WIDTH, HEIGHT)
    for n, picture in enumerate(pictures):
        if cutter.wants(n):
            cutter.see(n, picture, 0, 0)
    geometry, stills = store.put_arrays(boxes=boxes), cutter.put(store)
    return FaceTrack(shot_index=0, track_id=0, first_frame=7, end_frame=7 + len(boxes), geometry=geometry, mean_box=(0, 0, 1, 1), stills=stills)


@pytest.mark.parametrize("corner", [(40.4, 30.7), (-20.3, -10.5), (120.5, 80.5)])
def test_a_patch_looks_in_a_still_as_it_looks_in_the_film(tmp_path, corner):
    random, store = np.random.default_rng(0), ArtifactStore(tmp_path)
    pictures = random.integers(0, 256, (60, HEIGHT, WIDTH, 3), np.uint8)
    boxes = (np.array([*corner, corner[0] + 60.2, corner[1] + 70.9]) + np.linspace(0, 3, 60)[:, None]).astype(np.float32)
    face = random.integers(0, 256, (96, 96, 3), np.uint8)
    stills = list(stills_of(store, a_track(store, boxes, pictures), WIDTH, HEIGHT))
    assert [frame for frame, _, _ in stills] == [7 + 13, 7 + 38]
    for frame, picture, box in stills:
        in_film = before_and_after(pictures[frame - 7], boxes[frame - 7], face)
        in_still = before_and_after(picture, box, face)
        assert in_film is not None
        assert in_still is not None
        assert all(np.array_equal(a, b) for a, b in zip(in_film, in_still, strict=True))


def test_a_face_that_is_off_the_picture_has_no_stills(tmp_path):
    boxes = np.tile(np.array([-80, 10, -20, 70], np.float32), (5, 1))
    assert a_track(ArtifactStore(tmp_path), boxes, np.zeros((5, HEIGHT, WIDTH, 3), np.uint8)).stills is None


def test_there_is_a_still_a_second_and_one_of_the_shortest_track():
    assert still_frames(np.array([3.0])) == [0]
    assert still_frames(np.arange(10) / FPS) == [5]
    assert still_frames(np.arange(100) / FPS) == [13, 38, 63, 88]


def test_a_long_shot_has_no_more_stills_than_one_of_a_minute_and_they_reach_its_end():
    for minutes in (1, 2, 10, 60):
        kept = still_frames(np.arange(60 * minutes * FPS) / FPS)
        assert MOST_STILLS - 1 <= len(kept) <= MOST_STILLS
        assert kept[-1] > 0.98 * (60 * minutes - 1) * FPS - FPS
        assert len(set(np.diff(kept))) <= 2
