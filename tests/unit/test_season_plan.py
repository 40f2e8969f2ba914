"""What a season does first, what it costs, when it is done, how it ends and how it is shown: decided by its table and its prices alone."""

import io
from datetime import UTC, datetime, timedelta

import pytest

from flows.run.forecast import Rates, Work
from flows.run.progress import RowsChanged, Said
from flows.season.costs import Prices
from flows.season.estimate import MEASURED, FilmSize, Length, schedule, stage_seconds
from flows.season.jobs import jobs_of, queue_of
from flows.season.manifest import ManifestRow
from tasks.types import SeasonRequest, SeasonResult, SeasonRow

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
REQUEST = SeasonRequest(manifest="season.csv", out="out", season_id="season")


def row(episode: str, language: str = "fr", days: float | None = None, number: int = 2, **fields) -> ManifestRow:
    air_date = None if days is None else NOW + timedelta(days=days)
    return ManifestRow(number, episode, language, {"film": f"{episode}.mp4", "track": f"{episode}.{language}.wav"}, air_date=air_date, **fields)


def test_all_languages_of_an_episode_are_one_run():
    (job,) = jobs_of([row("ep-1", "fr"), row("ep-1", "de")], REQUEST)
    assert job.request is not None
    assert job.request.audio == {"fr": "ep-1.fr.wav", "de": "ep-1.de.wav"}
    assert job.request.bad_tracks == "leave_out"
    assert job.languages == ("fr", "de")


def test_the_earliest_air_date_comes_first_then_the_priority_then_the_tables_order():
    rows = [row("c"), row("b", priority="background"), row("a"), row("d", days=9), row("e", days=3), row("f", days=9, priority="urgent")]
    assert [job.episode_id for job in jobs_of(rows, REQUEST)] == ["e", "f", "d", "c", "a", "b"]


def test_an_episode_is_as_urgent_as_its_most_urgent_language():
    rows = [row("late", days=5), row("mixed", "fr", days=9), row("mixed", "de", days=1)]
    assert [job.episode_id for job in jobs_of(rows, REQUEST)] == ["mixed", "late"]


@pytest.mark.parametrize(
    ("days", "priority", "queue"),
    [
        (None, "default", "default"),
        (30, "default", "default"),
        (1, "default", "urgent"),
        (-1, "default", "urgent"),
        (None, "urgent", "urgent"),
        (1, "background", "background"),
    ],
)
def test_the_queue_is_what_the_table_says_or_urgent_where_it_airs_soon(days, priority, queue):
    (job,) = jobs_of([row("ep-1", days=days, priority=priority)], REQUEST)
    assert queue_of(job, NOW) == queue


def test_a_language_whose_files_are_missing_is_left_away_and_an_episode_without_any_is_not_run():
    jobs = jobs_of([row("ep-1", "fr"), row("ep-1", "de", missing="gone"), row("ep-2", missing="gone")], REQUEST)
    assert [job.languages for job in jobs] == [("fr",), ()]
    assert jobs[1].request is None


def lengths(*seconds_and_days: tuple[float, float | None]) -> list[Length]:
    jobs = [jobs_of([row(f"ep-{n}", days=days)], REQUEST)[0] for n, (_, days) in enumerate(seconds_and_days)]
    return [Length(job, 60.0, seconds == 0, seconds / 2, seconds) for job, (seconds, _) in zip(jobs, seconds_and_days, strict=True)]


def test_each_episode_goes_to_the_place_that_is_free_first_and_air_dates_are_met_or_not():
    day = 86400.0
    planned = schedule(lengths((day, 2), (3 * day, 2.5), (day, 1.5), (0, -1), (day, None)), 2, Prices(10.0, 2.0, "EUR"), NOW)
    assert [(one.begins_after_s / day, one.ends_after_s / day) for one in planned] == [(0, 1), (0, 3), (1, 2), (2, 0), (2, 3)]
    assert [one.meets_air_date for one in planned] == [True, False, False, True, None]  # one that is finished is in time
    assert [one.cost for one in planned] == [264.0, 792.0, 264.0, 0.0, 264.0]  # 24 h x 10 and 12 h x 2


def test_without_a_price_nothing_is_said_of_money():
    (planned,) = schedule(lengths((60.0, None)), 1, Prices(None, None, ""), NOW)
    assert planned.cost is None
    assert Prices(3.6, None, "EUR").cost(500.0, 100.0) == pytest.approx(0.5)


def test_the_estimate_grows_with_the_film_and_shares_the_picture_among_languages():
    rates = Rates(work={stage: Work(seconds=1.0, num_units=100.0) for stage in MEASURED})
    one = stage_seconds(FilmSize(10.0, 250, 2.0, False), 1, rates)
    five = stage_seconds(FilmSize(10.0, 250, 2.0, False), 5, rates)
    twice = stage_seconds(FilmSize(20.0, 500, 2.0, False), 1, rates)
    assert (one["inspect"], five["inspect"], twice["inspect"]) == (5.0, 5.0, 10.0)
    assert (one["sync"], five["sync"], twice["sync"]) == (2.5, 12.5, 5.0)
    assert (one["reels"], five["reels"]) == (5.0, 25.0)


def state(episode: str, language: str = "fr", **fields) -> SeasonRow:
    return SeasonRow.model_validate({"episode_id": episode, "language": language} | fields)


def result_of(*rows: SeasonRow) -> SeasonResult:
    return SeasonResult(season_id="season", status="done", rows=rows, updated=NOW)


def test_exit_codes_tell_our_trouble_from_yours():
    from flows.commands.season_command import exit_code_of

    done, skipped = state("a", state="done"), state("b", state="skipped")
    yours, ours = state("c", state="failed", trouble="input"), state("d", state="failed", trouble="ours")
    assert exit_code_of(result_of(done, skipped)) == 0
    assert exit_code_of(result_of(done, yours)) == 2
    assert exit_code_of(result_of(done, ours)) == 1
    assert exit_code_of(result_of(yours, ours)) == 1  # the same command may help


def test_in_a_pipe_every_change_is_one_line():
    from flows.season.display import open_season_display

    stream = io.StringIO()
    with open_season_display(stream) as display:
        display.hear(RowsChanged((state("a", state="running"), state("a", "de", state="running"))))
        display.hear(RowsChanged((state("a", state="running", progress=0.5),)))
        display.hear(RowsChanged((state("a", state="done", seconds=65, num_pass=3, num_review=1, num_kept_original=0),)))
        display.hear(RowsChanged((state("b", state="done", num_pass=4, num_review=0, num_kept_original=0),)))
        display.hear(RowsChanged((state("a", "de", state="failed", reason="no\nsound\x1b[2J"),)))
        display.hear(Said("look here", is_warning=True))
    lines = [line.partition(" ")[2] for line in stream.getvalue().splitlines()]
    assert lines[:3] == ["a fr: running", "a de: running", "a fr: done in 1 min 5 s; 3 in sync, 1 to review, 0 left as they were"]
    assert lines[3] == "b fr: was finished before; 4 in sync, 0 to review, 0 left as they were"
    assert lines[4].startswith("a de: failed: no")
    assert "\x1b" not in lines[4]
    assert lines[5] == "warning: look here"


def test_on_a_terminal_a_live_table_shows_what_runs_and_what_failed_first():
    from flows.season.display import MOST_ROWS_SHOWN, open_season_display

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with open_season_display(stream) as display:
        display.hear(RowsChanged(tuple(state(f"wait-{n}") for n in range(100))))
        display.hear(RowsChanged((state("busy", state="running", progress=0.4), state("bad", state="failed", reason="its film is gone"))))
    shown = stream.getvalue().splitlines()[-MOST_ROWS_SHOWN - 2 :]
    text = "\n".join(shown)
    assert "busy" in text
    assert "its film is gone" in text
    assert "1 running, 1 failed, 100 waiting; 78 rows more" in text


def test_the_table_for_spreadsheets_holds_no_formula():
    from flows.season.board import csv_of

    text = csv_of(result_of(state("a", state="failed", reason="=HYPERLINK(1)"), state("b", state="done", num_pass=3, cost=1.25, progress=1.0)))
    lines = text.splitlines()
    assert lines[0].startswith("episode,language,state,progress,seconds,cost,pass,review,kept_original,air_date,priority,reason")
    assert "'=HYPERLINK(1)" in lines[1]
    assert lines[2].startswith("b,fr,done,1.0,0.0,1.25,3,,")


def test_what_a_worker_said_is_told_as_the_flow_said_it():
    from prefect.client.schemas.objects import FlowRun, State, StateType

    from flows.season.workers import error_of
    from infra.errors import InputError, OurTroubleError

    def ended(kind: StateType, message: str) -> Exception:
        return error_of(FlowRun.model_construct(state=State(type=kind, message=message)))

    yours = ended(StateType.FAILED, "Flow run encountered an exception: InputError: film.mp4: truncated.")
    assert isinstance(yours, InputError)
    assert str(yours) == "film.mp4: truncated."
    ours = ended(StateType.FAILED, "Flow run encountered an exception: TransientError: the disk is full")
    assert isinstance(ours, OurTroubleError)
    assert str(ours) == "TransientError: the disk is full"
    assert "Cancelled" in str(ended(StateType.CANCELLED, "by hand"))


def test_a_run_whose_lease_gives_no_sign_of_life_is_taken_for_dead_and_one_that_does_is_not(tmp_path, monkeypatch):
    from flows.season import lives as season_lives
    from infra.lease import Owner, acquire
    from infra.storage import open_storage

    clock = [1000.0]
    monkeypatch.setattr(season_lives.time, "monotonic", lambda: clock[0])
    storage = open_storage(tmp_path)
    lives = season_lives.Lives(storage)

    def dead_after(seconds: float) -> bool:
        clock[0] += seconds
        return lives.is_dead("ep-1")

    assert not dead_after(1000)  # nobody holds it
    lease = acquire(storage, ".leases/ep-1", Owner(host="far-away", pid=1, user="somebody"), ttl_s=60)
    assert not dead_after(20)
    assert not dead_after(100)
    lease.renew()
    assert not dead_after(30)
    assert not dead_after(100)
    assert dead_after(30)
    lease.release()
    assert not dead_after(1000)
