"""The scorer is tried on every film: it is trusted where planted offsets are found, and where they are not the report can say so."""

import numpy as np

from tasks.policy import package_policy
from tasks.self_test import PLANTED, try_scorer
from wav2lip_core.sync_interval import distance_rows

RULES = package_policy().self_test
SPEECH = np.random.default_rng(1).standard_normal((600, 32)).astype(np.float32)


def real_shot(first: int, noise: float, early: int = 0, num_windows: int = 60) -> np.ndarray:
    lips = SPEECH[first : first + num_windows] + noise * np.random.default_rng(first).standard_normal((num_windows, 32)).astype(np.float32)
    return distance_rows(lips, SPEECH[first + early - 21 : first + early + num_windows + 21])


def tried(*rows: np.ndarray):
    return try_scorer(rows, [np.ones(len(row)) for row in rows], RULES)


def test_offsets_of_one_to_six_frames_either_way_are_planted_and_found_where_lips_fit_the_voice() -> None:
    found = tried(real_shot(50, 0.5), real_shot(200, 0.5), real_shot(350, 0.5))
    assert found.planted_frames == (-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6) == PLANTED
    assert found.num_found == (3,) * 12
    assert found.trusted
    assert "100%" in found.reason


def test_a_scorer_that_sees_only_noise_is_not_trusted() -> None:
    found = tried(*(real_shot(50 + 60 * i, 50.0) for i in range(6)))
    assert not found.trusted
    assert "cannot be trusted on this film" in found.reason


def test_one_bad_shot_among_many_does_not_spoil_the_trust_but_half_of_them_do() -> None:
    good = [real_shot(50 + 60 * i, 0.5) for i in range(5)]
    assert tried(*good, real_shot(450, 50.0)).trusted
    assert not tried(*good[:2], real_shot(450, 50.0), real_shot(500, 50.0)).trusted


def test_a_constant_offset_of_the_films_own_sound_is_not_the_scorers_fault_until_it_is_too_much() -> None:
    assert tried(real_shot(50, 0.5, early=2), real_shot(200, 0.5, early=2)).trusted
    off = tried(real_shot(50, 0.5, early=5), real_shot(200, 0.5, early=5))
    assert not off.trusted
    assert "5 frames of 40 ms early" in off.reason


def test_without_real_speech_there_is_nothing_to_try_and_no_trust() -> None:
    assert try_scorer([], [], RULES).reason == "the film has no real shots with speech to try the scorer on; 2 are needed"
    silent = try_scorer([real_shot(50, 0.5)] * 2, [np.ones(60), np.full(60, 0.01)], RULES)
    assert (silent.trusted, silent.num_shots) == (False, 1)
