"""Shots are cut exactly where the film cuts, and always add up to the film."""

import itertools
import json
import logging
import resource
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from infra.artifacts import ArtifactStore
from infra.video import FrameReader
from tasks import split_shots as split
from tasks.inspect_film import inspect_film
from tasks.split_shots import CutFinder, find_cuts, shots_between, split_shots
from tests import media


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def shot(seed: int, num_frames: int) -> list[np.ndarray]:
    return media.shot_pictures(seed, num_frames, 128, 72)


def even(level: int, num_frames: int) -> list[np.ndarray]:
    return [np.full((72, 128, 3), level, np.uint8)] * num_frames


def mixed(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return np.clip(a * (1 - share) + b * share, 0, 255).astype(np.uint8)


def faded(pictures: list[np.ndarray], level: int) -> list[np.ndarray]:
    """From the picture to the level; reverse it to fade in."""
    return [mixed(picture, even(level, 1)[0], (n + 1) / len(pictures)) for n, picture in enumerate(pictures)]


def cut_frames(store: ArtifactStore, path: Path) -> list[int]:
    film = inspect_film(store, path)
    shots = split_shots(store, film)
    assert shots[0].first_frame == 0
    assert shots[-1].end_frame == film.num_frames
    return [shot.first_frame for shot in shots[1:]]


# -- the partition


@given(num_frames=st.integers(1, 10_000), cuts=st.lists(st.integers(-5, 10_005), max_size=60))
def test_shots_partition_the_film_whatever_the_cuts(num_frames, cuts):
    shots = shots_between(cuts, num_frames)
    assert shots[0].first_frame == 0
    assert shots[-1].end_frame == num_frames
    assert all(a.end_frame == b.first_frame for a, b in itertools.pairwise(shots))
    assert all(shot.num_frames >= 1 for shot in shots)
    assert [shot.index for shot in shots] == list(range(len(shots)))
    assert {shot.first_frame for shot in shots} - {0} == {cut for cut in cuts if 0 < cut < num_frames}


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.sampled_from([1, 2, 3, 7, 12, 25]), min_size=1, max_size=8), seed=st.integers(0, 1000))
def test_any_cutting_rhythm_gives_shots_that_add_up(lengths, seed):
    pictures = list(itertools.chain.from_iterable(shot(seed + i, length) for i, length in enumerate(lengths)))
    cuts = find_cuts(pictures)
    assert cuts == sorted(set(cuts))
    assert sum(shot.num_frames for shot in shots_between(cuts, len(pictures))) == len(pictures)
    assert set(cuts) <= set(itertools.accumulate(lengths)), "a cut where the film does not cut"


def test_detectors_that_share_a_measure_find_what_each_finds_alone(monkeypatch):
    rng = np.random.default_rng(4)
    colours = rng.integers(30, 220, (40, 3)).repeat(rng.integers(3, 12, 40), axis=0)
    pictures = [np.clip(colour + rng.normal(0, 2, (36, 64, 3)), 0, 255).astype(np.uint8) for colour in colours]
    shared = CutFinder()
    monkeypatch.setattr(split, "_Leading", AdaptiveDetector)
    monkeypatch.setattr(split, "_FollowingAdaptive", type("Alone", (AdaptiveDetector,), {}))
    monkeypatch.setattr(split, "_FollowingContent", type("Alone", (ContentDetector,), {}))
    alone = CutFinder()
    for picture in pictures:
        shared.add(picture)
        alone.add(picture)
    assert shared.finish() == alone.finish()
    for name in ("_near", "_wide", "_content"):
        cuts = [{cut for cut in getattr(finder, name).cuts if cut > 0} for finder in (shared, alone)]
        assert cuts[0] == cuts[1]
        assert len(cuts[0]) > 5


def test_an_empty_film_has_no_cuts():
    assert find_cuts([]) == []


# -- cuts


def test_cuts_are_exact_to_the_frame():
    assert find_cuts(shot(1, 31) + shot(2, 17) + shot(3, 40)) == [31, 48]


def test_a_film_without_a_cut_is_one_shot(store, tmp_path):
    assert cut_frames(store, media.write_film(tmp_path / "film.mp4", media.shot_pictures(5, 60))) == []


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_the_shortest_films_are_one_shot(num_frames):
    assert find_cuts(shot(1, num_frames)) == []


def test_one_frame_shots_are_found():
    assert find_cuts(shot(1, 30) + shot(2, 1) + shot(3, 30)) == [30, 31]


def test_a_one_frame_insert_in_a_shot_is_a_shot():
    around = shot(1, 60)
    assert find_cuts(around[:30] + shot(2, 1) + around[30:]) == [30, 31]


def test_cuts_at_the_very_ends_are_found():
    assert find_cuts(shot(1, 1) + shot(2, 40) + shot(3, 1)) == [1, 41]


def test_a_cut_at_every_frame_is_found():
    # Unlike pictures on purpose: eight hues, light and dark, each with its own pattern.
    pictures = []
    for n in range(24):
        hsv = np.zeros((72, 128, 3), np.float32)
        hsv[..., 0], hsv[..., 1], hsv[..., 2] = n * 75 % 180, 220, 60 if n % 2 else 230
        hsv[:: 2 + n % 5, :: 3 + n % 4, 2] = 140
        pictures.append(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR))
    assert find_cuts(pictures) == list(range(1, 24))


@pytest.mark.parametrize("num_even", [6, 60])
def test_cuts_are_told_soon_after_they_are_seen_and_hold(num_even):
    fading = faded(shot(3, 40)[20:], 0)
    pictures = shot(1, 30) + shot(2, 1) + shot(3, 40)[:20] + fading + even(0, num_even) + fading[::-1] + shot(4, 50) + shot(5, 30)
    finder, told = CutFinder(), {}
    for n, picture in enumerate(pictures):
        finder.add(picture)
        told |= dict.fromkeys(finder.settled(), n)
    assert list(told) == finder.finish() == find_cuts(pictures)
    assert len(told) == 5
    fade = 71 + num_even // 2
    assert all(n - cut <= 20 for cut, n in told.items() if abs(cut - fade) > num_even)  # of a fade it is told when it is over


# -- fades and dissolves


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("num_even", [2, 10, 40])
@pytest.mark.parametrize("num_fading", [8, 16, 30])
def test_a_fade_through_black_or_white_is_one_cut_inside_it(num_fading, num_even, level):
    leaving, coming = shot(1, 40 + num_fading), shot(2, 40 + num_fading)
    pictures = (
        leaving[:40] + faded(leaving[40:], level) + even(level, num_even) + faded(coming[num_fading:0:-1], level)[::-1] + coming[num_fading + 1 :]
    )
    cuts = find_cuts(pictures)
    assert len(cuts) == 1, cuts
    assert 40 + num_fading // 2 <= cuts[0] <= 40 + num_fading + num_even + num_fading // 2


def test_a_hard_cut_to_black_and_back_gives_the_black_its_own_shot():
    assert find_cuts(shot(1, 40) + even(0, 20) + shot(2, 40)) == [40, 60]


def test_a_cut_to_black_that_fades_in_is_cut_at_the_hard_end_alone():
    coming = shot(2, 60)
    assert find_cuts(shot(1, 40) + even(0, 12) + faded(coming[20::-1], 0)[::-1] + coming[21:]) == [40]


def test_black_at_the_ends_is_no_shot_of_its_own():
    pictures = shot(1, 60)
    assert find_cuts(even(0, 20) + faded(pictures[20::-1], 0)[::-1] + pictures[21:40] + faded(pictures[40:], 0) + even(0, 20)) == []


def test_a_dissolve_is_not_shredded():
    leaving, coming = shot(1, 60), shot(2, 60)
    blend = [mixed(leaving[30 + n], coming[n], n / 20) for n in range(20)]
    assert len(find_cuts(leaving[:30] + blend + coming[20:])) <= 1


# -- what only looks like a cut


@pytest.mark.parametrize("num_frames", [1, 2, 3])
@pytest.mark.parametrize("level", [0, 255])
def test_flashes_and_dropouts_are_no_cuts(level, num_frames):
    pictures = shot(1, 80)
    assert find_cuts(pictures[:40] + even(level, num_frames) + pictures[40 + num_frames :]) == []


def test_a_coloured_flash_is_no_cut():
    pictures = shot(1, 80)
    red = np.zeros((72, 128, 3), np.uint8)
    red[..., 2] = 255
    assert find_cuts([*pictures[:40], red, red, *pictures[42:]]) == []


def test_a_night_scene_about_the_black_level_is_one_shot():
    night = [mixed(picture, picture * 0, 0.9 + 0.04 * np.sin(n / 5)) for n, picture in enumerate(shot(8, 200))]
    means = [picture.mean() for picture in night]
    assert min(means) < 12 < max(means)
    assert find_cuts(night) == []


def test_the_smallest_pictures_are_taken():
    assert find_cuts([np.ascontiguousarray(picture[:8, :8]) for picture in shot(1, 30) + shot(2, 30)]) == [30]
    find_cuts([np.ascontiguousarray(picture[:1, :2]) for picture in shot(1, 30)])


def test_a_strobe_is_no_cut():
    pictures = shot(1, 80)
    assert find_cuts(list(itertools.chain.from_iterable((picture, even(255, 1)[0]) for picture in pictures))) == []


def test_a_lamp_switched_on_is_no_cut():
    pictures = shot(1, 80)
    assert find_cuts([mixed(picture, picture * 0, 0.6) for picture in pictures[:40]] + pictures[40:]) == []


def test_a_blended_frame_at_a_cut_makes_one_cut():
    leaving, coming = shot(1, 40), shot(2, 40)
    cuts = find_cuts([*leaving, mixed(leaving[-1], coming[0], 0.5), *coming])
    assert len(cuts) == 1
    assert cuts[0] in (40, 41)


@pytest.mark.parametrize("num_times", [2, 3, 4])
def test_repeated_frames_are_no_cuts(num_times):
    pictures = shot(1, 200)[::8]
    assert find_cuts([picture for picture in pictures for _ in range(num_times)]) == []


def test_grain_and_a_shaking_camera_are_no_cuts():
    random = np.random.default_rng(0)
    wide = media.scene(7, 160, 90)
    pictures = []
    for _ in range(60):
        dy, dx = random.integers(0, 8, 2)
        pictures.append(np.clip(wide[dy : dy + 72, dx : dx + 128] + random.normal(0, 12, (72, 128, 3)), 0, 255).astype(np.uint8))
    assert find_cuts(pictures) == []


def test_a_whip_pan_is_no_cut():
    wide = np.hstack([media.scene(seed, 128, 72) for seed in (3, 3, 3, 3, 3, 3)])
    pictures = [wide[:, x : x + 128] for x in (*[0] * 20, *range(0, 900, 40), *[900] * 20)]
    assert find_cuts(pictures) == []


# -- real files


@pytest.mark.parametrize("fps", ["24000/1001", "30000/1001", "50"])
def test_frame_numbers_are_those_of_the_film_at_any_rate(fps, store, tmp_path):
    pictures = media.shot_pictures(1, 30) + media.shot_pictures(2, 20) + media.shot_pictures(3, 25)
    assert cut_frames(store, media.write_film(tmp_path / "film.mp4", pictures, fps=Fraction(fps))) == [30, 50]


def test_a_variable_rate_and_a_turned_picture_shift_nothing(store, tmp_path):
    pictures = media.shot_pictures(1, 30) + media.shot_pictures(2, 20) + media.shot_pictures(3, 25)
    pts = np.cumsum([0] + [20, 45, 90] * 25)[:75].tolist()
    film = media.write_film(tmp_path / "film.mp4", pictures, pts=pts, time_base=Fraction(1, 1000))
    assert cut_frames(store, media.rotated(film, tmp_path / "turned.mp4", 90)) == [30, 50]


def test_shots_are_found_once_and_remembered(store, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path = media.write_film(tmp_path / "film.mp4", media.shot_pictures(1, 30) + media.shot_pictures(2, 20))
    assert cut_frames(store, path) == cut_frames(store, path) == [30]
    assert store.counts()["split_shots"] == (1, 1)


def test_memory_does_not_grow_with_the_film():
    picture = media.scene(1, 256, 144)[:, :256]
    find_cuts(picture for _ in range(50))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    find_cuts(np.roll(picture, n, 1) for n in range(1500))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB; the pictures alone would be 166 MB


# -- real people


def test_episode_a_is_cut_exactly_as_its_truth_says(shared, store):
    truth = json.loads((shared / "media" / "episode_a" / "truth.json").read_text())
    film = inspect_film(store, shared / "media" / "episode_a" / "film.mp4")
    assert film.num_frames == truth["num_frames"]
    assert [(shot.first_frame, shot.end_frame) for shot in split_shots(store, film)] == [
        (shot["first_frame"], shot["end_frame"]) for shot in truth["shots"]
    ]


def test_two_takes_of_one_speaker_are_told_apart(shared, store, tmp_path):
    """Jump cuts: the same person, the same backdrop, another sentence."""
    pictures, starts = [], []
    for speaker in ("s1", "s26_m", "spkB_m"):
        for clip in sorted((shared / "media" / "grid" / speaker).iterdir())[:5]:
            take = inspect_film(store, clip)
            timing = store.load_arrays(take.timing)
            reader = FrameReader(take.path, timing["pts"], take.time_base, timing["is_keyframe"])
            starts.append(len(pictures))
            pictures += [image for _, image in reader.pictures(10, 50)]
    path = media.write_film(tmp_path / "film.mp4", pictures, options={"crf": "20", "preset": "veryfast"})
    assert cut_frames(store, path) == starts[1:]
