"""`dub season` as people run it: estimates, refusals, Ctrl-C, kill -9 and on again."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.flows.command_process import children_of, wait_for_end, wait_for_text
from tests.small_film import DURATION_S
from tests.small_season import make_small_season


@pytest.fixture
def season(settings_of_test, tmp_path: Path):
    """Call `dub season` in this process: `season(TABLE, *words)`."""

    def call(manifest: Path, *words: str) -> Result:
        from flows.cli import app

        given = ["season", str(manifest), "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--model", "tiny"]
        return CliRunner().invoke(app, [*given, *words])

    return call


def table(folder: Path, small, *rows: str, head: str = "episode,film,language,track,air_date") -> Path:
    path = folder / "season.csv"
    path.write_text("\n".join([head, *(row.format(film=small.film, dub=small.dub) for row in rows)]) + "\n")
    return path


def test_a_dry_run_says_what_it_takes_and_whether_air_dates_are_met_and_starts_nothing(season, small, tmp_path):
    rows = ["ep-1,{film},fr,{dub},2020-01-01", "ep-1,{film},de,{dub},2020-01-01", "ep-2,{film},fr,{dub},2099-01-01", "ep-3,{film},fr,{dub},"]
    result = season(table(tmp_path, small, *rows), "--dry-run", "--json", "--rate", "36", "--at-once", "2")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [(one["episode_id"], one["meets_air_date"]) for one in told["episodes"]] == [("ep-1", False), ("ep-2", True), ("ep-3", None)]
    first, second = told["episodes"][:2]
    assert first["film_s"] == pytest.approx(DURATION_S, abs=0.1)
    assert first["gpu_seconds"] == pytest.approx(2 * second["gpu_seconds"])  # two languages
    assert second["machine_seconds"] < first["machine_seconds"] < 2 * second["machine_seconds"]  # of one picture
    assert told["cost"] == pytest.approx(told["machine_seconds"] / 100)
    assert told["wall_seconds"] < told["machine_seconds"]
    assert not (tmp_path / "out").exists()


def test_a_dry_run_is_a_table_for_people(season, small, tmp_path):
    result = season(table(tmp_path, small, "ep-1,{film},fr,{dub},2020-01-01"), "--dry-run")
    assert result.exit_code == 0
    assert "ep-1" in result.stdout
    assert "LATE" in result.stdout
    assert "1 miss their air date: ep-1" in result.stdout


def test_a_wrong_table_is_refused_with_exit_code_2_and_nothing_is_written(season, small, tmp_path):
    result = season(table(tmp_path, small, "ep-1,{film},fr,gone.wav,", "EP 2,{film},xx,{dub},tomorrow"), "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["kind"]) == (2, "input")
    assert [line.split(":")[0] for line in answer["message"].splitlines()[1:]] == [
        "- row 2, column track",
        "- row 3, column episode",
        "- row 3, column language",
        "- row 3, column air_date",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--id", "Season One"], "--id Season One"), (["--model", "nonesuch"], "There is no model named 'nonesuch'"), (["--out", "s3://"], "s3://")],
)
def test_an_option_that_does_not_fit_is_refused(season, small, tmp_path, words, said):
    result = season(table(tmp_path, small, "ep-1,{film},fr,{dub},"), *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_bucket_that_is_missing_is_told_before_anything_starts(season, small, s3_bucket, tmp_path):
    result = season(table(tmp_path, small, "ep-1,{film},fr,{dub},"), "--out", f"{s3_bucket}-mistyped/season", "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["kind"]) == (2, "input")
    assert "there is no such bucket" in answer["message"]
    assert not (tmp_path / "work" / "artifacts").exists()


def start(manifest: Path, out: Path, environment: dict[str, str], stderr: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "flows.cli", "season", str(manifest), "--out", str(out), "--model", "tiny", "--speaker", "only-face"]
    with open(stderr, "wb") as file:
        return subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=file, env=environment)


def told_in(out: Path) -> dict:
    return json.loads((out / "season-season-1.json").read_text())


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_season_broken_off_goes_on_where_it_was(environment, tmp_path, number):
    made = make_small_season(tmp_path / "in")
    process = start(made.manifest, tmp_path / "out", environment, tmp_path / "stderr")
    wait_for_text(tmp_path / "stderr", "ep-3 de: running", process)  # the third; one is done, one is broken
    children = children_of(process.pid)
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=120)
    wait_for_end(children)
    done_before = {row["episode_id"] for row in told_in(tmp_path / "out")["rows"] if row["state"] == "done"} or {"ep-6"}
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on from there: dub season" in json.loads(stdout)["what_next"]
        assert told_in(tmp_path / "out")["status"] == "stopped"
        assert {row["state"] for row in told_in(tmp_path / "out")["rows"] if row["episode_id"] in ("ep-3", "ep-2")} == {"waiting"}

    process = start(made.manifest, tmp_path / "out", environment, tmp_path / "stderr")
    stdout, _ = process.communicate(timeout=600)
    assert process.returncode == 2, (tmp_path / "stderr").read_text()  # the broken film and the odd track
    told = json.loads(stdout)
    how = {episode["episode_id"]: episode["how"] for episode in told["episodes"]}
    assert {how[episode] for episode in done_before} == {"found"}
    assert how["ep-2"] == how["ep-1"] == "ran"
    assert [row["state"] for row in told["rows"] if row["episode_id"] not in ("ep-4", "ep-5")] == ["done"] * 8
