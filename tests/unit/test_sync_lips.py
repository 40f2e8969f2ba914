"""Which frames get new lips: where a voice is heard, not where the face is hidden, never abruptly inside a shot."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from infra.artifacts import ArtifactStore
from tasks.sync_lips import MAX_PATCH_FRAMES, _pieces, _strength
from tasks.types import FaceTrack, Film, Shot, SpeakingSpan, Stem
from tests.small_film import make_voice

NUM_FRAMES = 100
SHOT = Shot(index=0, first_frame=0, end_frame=NUM_FRAMES)
SPAN = SpeakingSpan(track_id=0, first_frame=0, end_frame=NUM_FRAMES)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def _film(store: ArtifactStore) -> Film:
    timing = store.put_arrays(pts=np.arange(NUM_FRAMES), is_keyframe=np.ones(NUM_FRAMES, bool))
    return Film(
        path="x", sha256="0" * 64, timing=timing, time_base=Fraction(1, 25), fps=Fraction(25), num_frames=NUM_FRAMES, width=320, height=240,
        pixel_format="yuv420p", video_codec="h264",
    )  # fmt: skip


def _track(store: ArtifactStore, hidden: tuple[int, int] = (0, 0)) -> FaceTrack:
    detected = np.ones(NUM_FRAMES, bool)
    detected[slice(*hidden)] = False
    geometry = store.put_arrays(boxes=np.zeros((NUM_FRAMES, 4), np.float32), detected=detected)
    return FaceTrack(shot_index=0, track_id=0, first_frame=0, end_frame=NUM_FRAMES, geometry=geometry, mean_box=(0, 0, 1, 1))


def _stem(store: ArtifactStore, *spoken_s: tuple[float, float]) -> Stem:
    wave = np.zeros(4 * 16000, np.float32)
    for first, end in spoken_s:
        wave[int(first * 16000) : int(end * 16000)] = make_voice(end - first)
    return Stem(
        path="x", sha256="0" * 64, role="dialogue", sample_rate_hz=16000, num_channels=1, num_samples=len(wave), analysis=store.put_array(wave)
    )


def _of(store: ArtifactStore, dub: Stem, original: Stem | None, hidden: tuple[int, int] = (0, 0)) -> np.ndarray:
    return _strength(store, _film(store), SHOT, _track(store, hidden), SPAN, dub, original)


def test_where_both_languages_are_silent_the_picture_stays(store) -> None:
    assert (_of(store, _stem(store), _stem(store)) == 0).all()
    strength = _of(store, _stem(store, (1.0, 2.0)), _stem(store))
    assert (strength[:18] == 0).all()
    assert (strength[30:45] == 1).all()
    assert (strength[62:] == 0).all()


def test_the_mouth_rests_where_only_the_original_speaks(store) -> None:
    assert (_of(store, _stem(store), _stem(store, (1.0, 2.0)))[30:45] == 1).all()


def test_inside_a_shot_a_patch_fades_in_and_out(store) -> None:
    strength = _of(store, _stem(store, (1.0, 2.0)), None)
    used = strength[strength > 0]
    assert used[0] < 0.5
    assert used[-1] < 0.5
    assert np.abs(np.diff(strength)).max() < 0.6


def test_at_the_shots_own_borders_there_is_nothing_to_fade_from(store) -> None:
    strength = _of(store, _stem(store, (0.0, 4.0)), None)
    assert strength[0] == strength[-1] == 1


def test_nobody_is_painted_over_while_the_face_is_hidden(store) -> None:
    strength = _of(store, _stem(store, (0.0, 4.0)), None, hidden=(40, 70))
    assert (strength[40:70] == 0).all()
    assert (strength[10:30] == 1).all()
    assert (_of(store, _stem(store, (0.0, 4.0)), None, hidden=(40, 45)) > 0).all()  # a blink of the detector is nothing


def test_long_spans_become_several_patches_that_cover_them_exactly() -> None:
    strength = np.ones(2 * MAX_PATCH_FRAMES + 7, np.float32)
    strength[300:310] = 0
    pieces = _pieces(strength)
    assert all(end - first <= MAX_PATCH_FRAMES for first, end in pieces)
    covered = np.zeros(len(strength), int)
    for first, end in pieces:
        covered[first:end] += 1
    assert np.array_equal(covered, (strength > 0).astype(int))
