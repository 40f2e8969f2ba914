"""From a measured run to a season that nobody has run: work grows as it should, and the model keeps to what was measured."""

import json
from dataclasses import replace

import pytest

from benchmarks.scaling import MEASURED, ONE_WORKER, STAGES, TWO_WORKERS, Place, Season, check, episodes_of, machines_of, rates_of, replay
from benchmarks.season_model import GROUPS, Machines, simulate
from flows.run.forecast import in_words
from flows.run.progress import STAGES as STAGES_OF_A_RUN

ONE = json.loads((MEASURED / ONE_WORKER).read_text())
SHORT = Season(num_episodes=2, minutes=2.0, num_languages=1)


def work_s(season, stage):
    return sum(call.cpu_s for name, calls in episodes_of(season, Place(gpu_speedup=0.0), rates_of(ONE))[0] for call in calls if name == stage)


@pytest.fixture
def two() -> dict:
    """The run with two workers that `python -m benchmarks.scaling --measure` kept beside the one with one."""
    if not (MEASURED / TWO_WORKERS).is_file():
        pytest.skip("no run with two workers was measured yet: python -m benchmarks.scaling --measure FOLDER on an idle machine")
    return json.loads((MEASURED / TWO_WORKERS).read_text())


def test_the_two_worker_run_took_what_the_model_says_within_a_fifth(two):
    expected, took = check(ONE, two)
    assert expected == pytest.approx(took, rel=0.2)


def test_the_run_that_was_measured_comes_out_as_it_was(two):
    assert simulate([replay(ONE)], Machines(1, ONE["machine"]["num_cores"], 1)).total_s == pytest.approx(ONE["total_s"], rel=0.15)


def test_the_measured_film_made_anew_has_its_own_work():
    width, height = ONE["film"]["size"]
    same = Season(1, ONE["film"]["duration_s"] / 60, 1, width, height)
    for stage in ("faces", "sync", "reels"):
        assert work_s(same, stage) == pytest.approx(sum(call.cpu_s for name, calls in replay(ONE) for call in calls if name == stage), rel=0.01)


def test_work_grows_with_pixels_frames_and_languages_where_it_should():
    larger, longer, more = replace(SHORT, width=3840, height=2160), replace(SHORT, minutes=4.0), replace(SHORT, num_languages=3)
    assert {stage: work_s(larger, stage) / work_s(SHORT, stage) for stage in ("faces", "sync", "reels")} == pytest.approx(
        {"faces": 4.0, "sync": 1.0, "reels": 4.0}
    )
    assert {stage: work_s(longer, stage) / work_s(SHORT, stage) for stage in ("start", "shots", "judge")} == pytest.approx(
        {"start": 1.0, "shots": 2.0, "judge": 2.0}
    )
    assert {stage: work_s(more, stage) / work_s(SHORT, stage) for stage in ("faces", "sync", "assemble")} == pytest.approx(
        {"faces": 1.0, "sync": 3.0, "assemble": 3.0}
    )


def test_more_machines_are_never_slower_and_never_faster_than_their_number():
    place = Place(num_cores=4, num_workers=4)
    episodes = episodes_of(SHORT, place, rates_of(ONE))
    for spread in (False, True):
        times = [simulate(episodes, machines_of(place, number, spread)).total_s for number in (1, 2, 4)]
        assert times[0] >= times[1] >= times[2] * 0.999
        assert times[0] / times[2] <= 4.001


def test_more_machines_than_episodes_bring_nothing_unless_shots_are_spread():
    place = Place(num_cores=4, num_workers=4)
    episodes = episodes_of(SHORT, place, rates_of(ONE))
    two, eight = (simulate(episodes, machines_of(place, number, spread=False)).total_s for number in (2, 8))
    assert eight == pytest.approx(two)
    assert simulate(episodes, machines_of(place, 8, spread=True)).total_s < two


def test_the_page_on_sizing_says_what_the_model_says():
    account = simulate(episodes_of(Season(), Place(), rates_of(ONE)), machines_of(Place(), 8, spread=False))
    page = (MEASURED.parents[1] / "docs" / "sizing.md").read_text()
    assert f"| 8 | {in_words(account.total_s)} |" in page, "python -m benchmarks.scaling prints the table anew"


def test_every_stage_of_a_run_belongs_to_a_group_and_to_the_model():
    grouped = {stage for stages in GROUPS.values() for stage in stages}
    assert set(STAGES_OF_A_RUN) - grouped == set()
    assert set(STAGES_OF_A_RUN) - set(STAGES) == {"media", "publish", "manifest"}  # these are bytes on the wire
