"""The remaining time is what is left of the work at the speed measured, and a guess is called one."""

import pytest

from flows.run.forecast import FIRST_GUESS, Forecast, Rates, Work, in_words
from flows.run.progress import Began, Ended, Foreseen, StageBegan, StageEnded


def test_rates_are_learnt_kept_and_the_latest_run_counts_most(tmp_path):
    rates = Rates().learn("faces", [Work(seconds=10, num_units=100)])
    assert rates.seconds_per_unit("faces") == pytest.approx(0.1)
    rates.save(tmp_path)
    newer = Rates.load(tmp_path).learn("faces", [Work(seconds=60, num_units=200)])
    assert newer.seconds_per_unit("faces") == pytest.approx(65 / 250)
    assert Rates.load(tmp_path) == rates


def test_a_file_of_rates_that_cannot_be_read_counts_as_absent(tmp_path):
    (tmp_path / "rates.json").write_text('{"work": {"faces": {"seconds": NaN')
    assert Rates.load(tmp_path).seconds_per_unit("faces") == FIRST_GUESS["faces"]


def test_nothing_is_promised_before_the_work_is_known():
    assert Forecast(Rates(), 2).remaining_s() is None


def test_what_is_left_is_shared_by_the_workers_and_measured_by_this_run():
    forecast = Forecast(Rates(), 2)
    forecast.hear(Foreseen("faces", 10, 100.0))
    seconds, is_measured = forecast.remaining_s() or (0, True)
    assert seconds == pytest.approx(100 * FIRST_GUESS["faces"] / 2)
    assert not is_measured
    forecast.hear(StageBegan("faces", 4, 100.0))
    forecast.hear(Ended("faces", "shot-00000", 25.0, 50.0, was_reused=False))
    assert forecast.remaining_s() == (pytest.approx(75 * 2.0 / 2), True)
    forecast.hear(Ended("faces", "shot-00001", 25.0, 0.0, was_reused=True))  # found, not measured
    assert forecast.remaining_s() == (pytest.approx(50 * 2.0 / 2), True)
    forecast.hear(StageEnded("faces"))
    assert forecast.remaining_s() == (0.0, True)


def test_one_call_cannot_be_shared():
    forecast = Forecast(Rates().learn("faces", [Work(seconds=1, num_units=1)]), 8)
    forecast.hear(Foreseen("faces", 1, 30.0))
    assert forecast.remaining_s() == (pytest.approx(30.0), True)


def test_it_knows_what_runs_now():
    forecast = Forecast(Rates(), 2)
    forecast.hear(Began("sync", "shot-00003 fr"))
    forecast.hear(Began("sync", "shot-00004 fr"))
    forecast.hear(Ended("sync", "shot-00003 fr", 1.0, 1.0, was_reused=False))
    assert [(stage, about) for stage, about, _ in forecast.running()] == [("sync", "shot-00004 fr")]


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_said_in_words(seconds, words):
    assert in_words(seconds) == words
