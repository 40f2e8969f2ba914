"""The face a generator edits is at rest, from near by, and sits where the frame's head is."""

import numpy as np
import pytest
import skimage

from wav2lip_core import reference
from wav2lip_core.face_crop import crop
from wav2lip_core.lip_syncer import BUNDLED_GENERATOR
from wav2lip_core.mel import log_mel
from wav2lip_core.sync_expert import ExpertConfig, SyncExpert

BUNDLED_EXPERT = BUNDLED_GENERATOR.with_name("expert.safetensors")
BOX = np.array([172, 62, 278, 202], np.float32)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])


@pytest.fixture(scope="module")
def face(portrait: np.ndarray) -> np.ndarray:
    return crop(portrait, BOX)


def shifted(portrait: np.ndarray, x: float, y: float) -> np.ndarray:
    return crop(portrait, BOX - np.array([x, y, x, y], np.float32))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (4, 0), (-3, 2), (0, -5)])
def test_a_head_that_moved_is_moved_back(portrait, face, x, y):
    seen = shifted(portrait, x, y)  # the same head, elsewhere in its crop
    back = reference.moved(seen, face)
    rows, columns = slice(10, 90), slice(10, 86)
    before = np.abs(seen[rows, columns].astype(float) - face[rows, columns]).mean()
    after = np.abs(back[rows, columns].astype(float) - face[rows, columns]).mean()
    assert after <= max(3.0, 0.4 * before)


def test_what_the_mouth_does_does_not_move_the_head(face):
    talking = face.copy()
    talking[62:80, 34:62] = 20  # a wide open mouth
    shift = reference.motion(talking, face) - np.eye(2, 3)
    assert np.abs(shift[:, 2]).max() < 1.0


def test_a_face_without_any_detail_stays_where_it_is(face):
    flat = np.full_like(face, 90)
    assert (reference.motion(flat, face) == np.eye(2, 3)).all()


def test_the_frames_most_at_rest_are_candidates_and_not_neighbours():
    rest = np.zeros(60, np.float32)
    rest[[10, 11, 40, 50]] = [0.9, 0.8, 0.95, 0.5]
    found = reference.candidates(rest, 5, 60)
    assert found[:3] == [40, 10, 50]
    assert all(abs(a - b) >= reference.MIN_APART for a in found for b in found if a != b)


def test_of_two_faces_at_rest_the_one_in_the_same_light_is_taken(face):
    dark = (face * 0.4).astype(np.uint8)
    faces = np.stack([dark] * 20 + [face] * 40)
    rest = np.zeros(60, np.float32)
    rest[[8, 35]] = [0.62, 0.6]
    assert reference.best_reference(faces, rest, 50, reach=60) == 35


def test_every_frame_gets_a_reference_and_none_shows_the_frames_own_mouth(portrait):
    sway = np.linspace(0, 2 * np.pi, 70)
    faces = np.stack([shifted(portrait, 3 * np.sin(angle), 2 * np.cos(angle)) for angle in sway])
    talking = faces.copy()
    talking[10:, 62:80, 34:62] = 20  # only the first ten are at rest
    rest = np.r_[np.full(10, 0.6), np.full(60, 0.2)].astype(np.float32)
    references = reference.references_for(talking, rest)
    assert references.shape == talking.shape
    assert references.dtype == np.uint8
    assert references[:, 66:76, 42:54].mean() > 60  # lips, not the dark hole
    assert np.abs(references[:, 12:50, 20:76].astype(float) - talking[:, 12:50, 20:76]).mean() < 6


def test_a_moved_reference_does_not_tremble_where_the_head_is_still(face):
    rng = np.random.default_rng(3)
    grainy = np.clip(face + rng.normal(0, 8, (30, *face.shape)), 0, 255).astype(np.uint8)
    one_by_one = np.stack([reference.motion(one, face) for one in grainy])
    together = reference.motions(grainy, face)
    assert np.abs(np.diff(together[:, :, 2], axis=0)).mean() < 0.5 * np.abs(np.diff(one_by_one[:, :, 2], axis=0)).mean()


def test_one_reference_fades_into_the_next(face):
    brighter = np.clip(face.astype(int) + 12, 0, 255).astype(np.uint8)
    faces = np.concatenate([np.repeat(face[None], 50, axis=0), np.repeat(brighter[None], 50, axis=0)])
    rest = np.full(100, 0.2, np.float32)
    rest[[20, 80]] = 0.6
    level = reference.references_for(faces, rest)[:, 60:90].mean(axis=(1, 2, 3))
    steps = np.abs(np.diff(level))
    assert level[-1] - level[0] > 8
    assert steps.max() < 0.4 * (level[-1] - level[0])


def test_silence_is_what_rest_is_measured_against(face):
    expert = SyncExpert(ExpertConfig(width=0.0625)).eval()
    still = np.repeat(face[None], 12, axis=0)
    scores = reference.rest_scores(expert, still)
    assert scores.shape == (12,)
    assert scores.dtype == np.float32
    assert np.ptp(scores) < 1e-4
    assert (reference.rest_scores(expert, still[:4]) == 0).all()


def test_a_mouth_at_rest_scores_above_one_that_speaks(shared):
    from training.clips import find_one_face, prepare_film
    from training.dataset import plain_crop, silent_columns
    from wav2lip_core.checkpoint import load_sync_expert
    from wav2lip_core.face_detector import open_detector

    film = sorted((shared / "media" / "grid" / "spkQ_m").iterdir())[0]
    clip = next(prepare_film(film, find_one_face(open_detector("dlib"))))
    quiet = silent_columns(log_mel(clip.voice))
    share = np.array([quiet[max(0, int(3.2 * i) - 8) : int(3.2 * i) + 8].mean() for i in range(len(clip.crops))])
    scores = reference.rest_scores(load_sync_expert(BUNDLED_EXPERT), plain_crop(clip.crops))
    resting, speaking = scores[share > 0.95], scores[share < 0.05]
    assert (resting[:, None] > speaking[None]).mean() > 0.9


def test_the_picture_is_not_touched(face):
    faces = np.repeat(face[None], 10, axis=0)
    before = faces.copy()
    reference.references_for(faces, np.zeros(10, np.float32))
    assert (faces == before).all()
