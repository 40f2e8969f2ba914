"""The next try at a shot: the first rung that fits its reason and was not climbed, within the budget, changing the best take so far."""

import pytest

from flows.episode.ladder import next_settings
from tasks.judge_episode import Assessment
from tasks.policy import Policy, Rung, package_policy
from tasks.types import SelfTest, ShotTrial, Try
from tasks.verdicts import Judged, choose_take, judge_take
from tests.unit.test_verdicts import digest, measures, score, trial


def policy(max_tries: int = 5, max_seconds: float = 100.0, rungs: tuple[Rung, ...] | None = None) -> Policy:
    own = package_policy()
    ladder = own.ladder.model_copy(update={"max_tries": max_tries, "max_seconds": max_seconds, "rungs": rungs or own.ladder.rungs})
    return own.model_copy(update={"ladder": ladder})


def assessed(of: ShotTrial, is_trusted: bool = True) -> Assessment:
    tested = SelfTest(trusted=is_trusted)
    judged = [judge_take(package_policy(), each.measures, tested, None) for each in of.tries]
    best = choose_take(package_policy(), of, judged)
    return Assessment(tuple(judged), best, judged[best] if best is not None else Judged("no_better_take", "issue", ""))


def with_offset(of: ShotTrial, offset: int) -> ShotTrial:
    tries: list[Try] = [each.model_copy(update={"measures": measures(score(0.35, offset=offset))}) for each in of.tries]
    return of.model_copy(update={"tries": tuple(tries)})


def climb(of: ShotTrial, climbed: set[str] | None = None, is_trusted: bool = True, **budget):
    return next_settings(policy(**budget), of, assessed(of, is_trusted), climbed or set(), is_trusted)


@pytest.mark.parametrize("offset", [-5, 3, 4])
def test_an_offset_is_repaired_by_what_was_measured(offset: int) -> None:
    settings = climb(with_offset(trial(0.3), offset))
    assert settings is not None
    assert (settings.rung, settings.sound_shift_frames) == ("offset-repair", -offset)


def test_a_shot_that_passes_is_left_alone() -> None:
    assert climb(trial(0.35)) is None


def test_rungs_are_climbed_in_order_each_once_and_then_it_ends() -> None:
    worse = trial(0.05)
    first = climb(worse)
    assert first is not None
    assert (first.rung, first.padding) == ("other-padding", 0.1)
    second = climb(worse, {"other-padding"})
    assert second is not None
    assert (second.rung, second.reference, second.padding) == ("other-reference", "middle_frame", 0.0)
    assert climb(worse, {"other-padding", "other-reference"}) is None


def test_a_rung_changes_the_best_take_so_far() -> None:
    shifted = with_offset(trial(0.3), 3)
    tries = tuple(each.model_copy(update={"settings": each.settings.model_copy(update={"sound_shift_frames": 1.0})}) for each in shifted.tries)
    settings = climb(shifted.model_copy(update={"tries": tries}))
    assert settings is not None
    assert settings.sound_shift_frames == -2.0


def test_the_budget_of_tries_and_of_seconds_ends_it() -> None:
    assert climb(trial(0.05, 0.06), max_tries=2) is None
    assert climb(trial(0.05, 0.06), max_tries=3) is not None
    slow = trial(0.05, 0.06)
    tries = tuple(each.model_copy(update={"patches": each.patches.model_copy(update={"seconds": 70.0})}) for each in slow.tries)
    slow = slow.model_copy(update={"tries": tries})
    assert climb(slow, max_seconds=60.0) is None
    assert climb(slow, max_seconds=100.0) is not None  # the first take does not count


def test_a_try_that_would_be_the_same_again_is_not_made() -> None:
    same = (Rung(name="same", when=("worse_than_undubbed",), padding=0.0),)
    assert climb(trial(0.05), rungs=same) is None


def test_a_rejected_take_is_made_in_another_way_whatever_its_score() -> None:
    settings = climb(trial(0.35, rejected_takes=(digest(0),)))
    assert settings is not None
    assert settings.rung == "other-padding"  # offset repair would change nothing here


def test_what_a_reviewer_has_settled_is_not_made_again() -> None:
    assert climb(trial(0.05, keep_original="yes")) is None
    approved = trial(0.05, approved_take=digest(0))
    assessment = Assessment(assessed(approved).tries, 0, Judged("approved", "ok", ""))
    assert next_settings(policy(), approved, assessment, set(), True) is None


def test_a_scorer_that_cannot_be_trusted_drives_no_ladder_but_a_reviewer_still_does() -> None:
    assert climb(trial(0.05), is_trusted=False) is None
    assert climb(trial(0.35, rejected_takes=(digest(0),)), is_trusted=False) is not None
