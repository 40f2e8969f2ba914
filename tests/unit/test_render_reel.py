"""Reels are planned along the shots; rendering changes the mouths and nothing else."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import decoded_frames
from infra.artifacts import ArtifactStore
from infra.errors import CorruptArtifactError, OurTroubleError
from infra.scan import scan
from infra.video import FrameReader
from tasks import small_pictures
from tasks.inspect_film import inspect_film
from tasks.one_reading import BOTH, keep_small_pictures, missing_sides
from tasks.render_reel import plan_reels, render_reel
from tasks.types import Film, LipPatch, Shot
from tests import media
from tests.film_clips import FFV1, all_planes, make_picture, planes_of, reader_of, same_planes
from wav2lip_core.face_crop import paste_delta, pixel_rect

FPS = Fraction(25)


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def shots_of(*borders: int) -> list[Shot]:
    return [Shot(index=k, first_frame=first, end_frame=end) for k, (first, end) in enumerate(pairwise(borders))]


def make_patch(store, first: int, end: int, box, seed: int = 0, track_id: int = 0, size: int = 96) -> LipPatch:
    faces = np.random.default_rng(seed).integers(0, 256, (end - first, size, size, 3), np.uint8)
    boxes = np.float32(box) + np.linspace(0, 3, end - first, dtype=np.float32)[:, None]
    patch = store.put_arrays(faces=faces, boxes=boxes)
    return LipPatch(shot_index=0, language="fr", track_id=track_id, first_frame=first, end_frame=end, patch=patch, model_sha256="0" * 64)


# -- planning


@given(st.lists(st.integers(1, 90), min_size=1, max_size=20), st.sampled_from([0.04, 1.0, 3.3, 60.0]))
@settings(deadline=None)
def test_reels_partition_the_film_and_none_holds_more_than_one_shot(lengths, longest_s):
    borders = np.cumsum([0, *lengths]).tolist()
    reels = plan_reels(shots_of(*borders), FPS, longest_s)
    longest = max(1, round(longest_s * FPS))
    assert [first for first, _ in reels] == [0, *[end for _, end in reels[:-1]]]
    assert reels[-1][1] == borders[-1]
    assert all(0 < end - first <= longest for first, end in reels)
    assert all(any(first <= start < end for start, _ in reels) for first, end in pairwise(borders))
    assert set(borders) <= {0, *[end for _, end in reels]}


def test_a_short_shot_is_one_reel():
    assert plan_reels(shots_of(0, 50, 90, 130), FPS, longest_s=6) == [(0, 50), (50, 90), (90, 130)]


def test_a_long_shot_is_divided_evenly():
    assert plan_reels(shots_of(0, 100), FPS, longest_s=1) == [(0, 25), (25, 50), (50, 75), (75, 100)]


# -- pasting


@pytest.mark.parametrize(
    ("pixel_format", "turn"),
    [("yuv420p", 0), ("yuv422p10le", 0), ("yuv444p", 0), ("gray", 0), ("gbrp10le", 0), ("yuv420p", 90), ("yuv420p", 270)],
)
def test_only_patched_faces_of_patched_frames_change(store, tmp_path, pixel_format, turn):
    flat = make_picture(tmp_path / "flat.mkv", pixel_format=pixel_format, num_frames=24, size="192x144", codec=FFV1)
    film_path = media.rotated(flat, tmp_path / "film.mkv", turn) if turn else flat
    film = inspect_film(store, film_path)
    assert film.rotation_degrees == turn
    face, crossing, off_frame = (40, 30, 90, 96), (60, 20, 120, 100), (-20, 90, 30, 150)
    patches = [make_patch(store, 3, 9, face), make_patch(store, 9, 20, crossing, track_id=1), make_patch(store, 12, 15, off_frame)]
    reels = [render_reel(store, film, first, end, patches, "fr", "ffv1") for first, end in ((0, 10), (10, 24))]
    written = [planes for reel in reels for planes in all_planes(store.path(reel.segment))]
    original = all_planes(film_path)
    assert len(written) == len(original) == 24
    for n in range(24):
        rects = [pixel_rect(patch_box(store, patch, n)) for patch in patches if patch.first_frame <= n < patch.end_frame]
        assert same_planes(written[n], original[n]) == (not rects)
        for before, after in zip(original[n], written[n], strict=True):
            changed = before != after
            assert not changed[~may_change(changed.shape, rects, film)].any()


def patch_box(store, patch: LipPatch, n: int) -> np.ndarray:
    return store.load_arrays(patch.patch)["boxes"][n - patch.first_frame]


def may_change(shape: tuple[int, int], rects, film: Film) -> np.ndarray:
    """Which samples of a coded plane lie under one of the upright rects."""
    upright = np.zeros((film.height, film.width), bool)
    for x0, y0, x1, y1 in rects:
        upright[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    coded = np.rot90(upright, film.rotation_degrees // 90)
    rows, columns = coded.shape[0] // shape[0], coded.shape[1] // shape[1]
    return coded.reshape(shape[0], rows, shape[1], columns).any(axis=(1, 3))


def test_a_pasted_mouth_looks_as_it_was_made(store, tmp_path):
    film = inspect_film(store, make_picture(tmp_path / "film.mkv", num_frames=6, size="192x144", pixel_format="yuv444p16le", codec=FFV1))
    patch = make_patch(store, 0, 6, (40, 20, 120, 124))
    reel = render_reel(store, film, 0, 6, [patch], "fr", "ffv1")
    arrays, reader = store.load_arrays(patch.patch), reader_of_film(store, film)
    written = scan(store.path(reel.segment))
    pasted = [picture for _, picture in reader_of(written).pictures(0, 6)]
    for n, picture in reader.pictures(0, 6):
        (x0, y0, x1, y1), delta = paste_delta(picture, arrays["boxes"][n], arrays["faces"][n])
        expected = np.clip(picture[y0:y1, x0:x1] + delta, 0, 255)
        seen = np.stack([expected, picture[y0:y1, x0:x1]])
        inside = ((seen > 4) & (seen < 251)).all(axis=(0, -1))  # colours beyond what RGB can show are cut when they are looked at
        assert inside.sum() > 100
        assert np.abs(pasted[n][y0:y1, x0:x1] - expected)[inside].max() <= 2


def reader_of_film(store, film: Film) -> FrameReader:
    timing = store.load_arrays(film.timing)
    return FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)


def test_a_reel_is_rendered_once_and_again_only_when_a_patch_in_it_changes(store, tmp_path):
    film = inspect_film(store, make_picture(tmp_path / "film.mp4", num_frames=30, size="192x144"))
    early, late = make_patch(store, 2, 8, (40, 30, 90, 96)), make_patch(store, 20, 28, (40, 30, 90, 96))
    first = [render_reel(store, film, a, b, [early, late], "fr", "h264") for a, b in ((0, 15), (15, 30))]
    again = [render_reel(store, film, a, b, [late, early], "fr", "h264") for a, b in ((0, 15), (15, 30))]
    assert again == first
    assert store.counts()["render_reel"] == (2, 2)
    other = make_patch(store, 20, 28, (40, 30, 90, 96), seed=1)
    changed = [render_reel(store, film, a, b, [early, other], "fr", "h264") for a, b in ((0, 15), (15, 30))]
    assert store.counts()["render_reel"] == (3, 3)
    assert changed[0] == first[0]
    assert changed[1].segment != first[1].segment


def test_a_patch_file_that_is_no_patch_is_not_pasted(store, tmp_path):
    film = inspect_film(store, make_picture(tmp_path / "film.mp4", num_frames=4))
    patch = make_patch(store, 0, 4, (40, 30, 90, 96)).model_copy(update={"patch": store.put_arrays(boxes=np.zeros((4, 4)))})
    with pytest.raises(CorruptArtifactError, match="faces"):
        render_reel(store, film, 0, 4, [patch], "fr", "h264")


# -- small pictures for the previews


def test_a_reel_and_its_small_pictures_come_from_one_reading(store, tmp_path):
    film = inspect_film(store, make_picture(tmp_path / "film.mp4", num_frames=20))
    patches = [make_patch(store, 5, 12, (40, 30, 90, 96))]
    before = decoded_frames.counts()[film.path]
    with_small = render_reel(store, film, 0, 20, patches, "fr", "h264", BOTH)
    assert decoded_frames.counts()[film.path] - before == 20
    assert missing_sides(store, film, 0, 20, patches, BOTH) == []
    keep_small_pictures(store, film, 0, 20, patches, BOTH, {})
    assert decoded_frames.counts()[film.path] - before == 20
    other = ArtifactStore(tmp_path / "other")
    alone = render_reel(other, inspect_film(other, film.path), 0, 20, [make_patch(other, 5, 12, (40, 30, 90, 96))], "fr", "h264")
    assert alone.segment == with_small.segment


def test_small_pictures_that_cannot_be_made_do_not_cost_the_reel(store, tmp_path, monkeypatch):
    def fails(*_):
        raise OurTroubleError("the encoder of small pictures does not open")

    film = inspect_film(store, make_picture(tmp_path / "film.mp4", num_frames=10))
    monkeypatch.setattr(small_pictures, "shrink", fails)
    reel = render_reel(store, film, 0, 10, [], "fr", "h264", BOTH)
    assert len(all_planes(store.path(reel.segment))) == 10
    with pytest.raises(OurTroubleError):
        keep_small_pictures(store, film, 0, 10, [], BOTH, {})


# -- the real film


def test_every_pixel_outside_the_patches_of_the_real_film_is_bit_equal(store, shared):
    film = inspect_film(store, shared / "media" / "episode_a" / "film.mp4")
    patches = [make_patch(store, 4, 12, (500, 200, 700, 460)), make_patch(store, 7, 10, (850, 250, 1000, 450), seed=1, track_id=1)]
    reel = render_reel(store, film, 0, 16, patches, "es", "ffv1")
    written = iter(all_planes(store.path(reel.segment)))
    for n, frame in reader_of_film(store, film).frames(0, 16):
        rects = [pixel_rect(patch_box(store, patch, n)) for patch in patches if patch.first_frame <= n < patch.end_frame]
        changes = [before != after for before, after in zip(planes_of(frame), next(written), strict=True)]
        assert changes[0].any() == bool(rects)
        assert not any(changed[~may_change(changed.shape, rects, film)].any() for changed in changes)
