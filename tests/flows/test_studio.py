"""A studio at work: a real Prefect server, `dub deploy`, real workers; runs that are killed come back by themselves, seasons start by the clock."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.command_process import children_of
from tests.prefect_server import dub, kill_all, prefect_server, worker

pytestmark = pytest.mark.long
LIMIT_S = 900


@pytest.fixture(scope="module")
def studio(small, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a studio's machines; its Prefect server is set up, and takes a run for dead after a minute."""
    from flows.run.local_server import talking_to

    folder = tmp_path_factory.mktemp("studio")
    with prefect_server(folder) as environment:
        environment |= {"DUBFLOW_MODELS_FOLDER": str(small.models_folder), "DUBFLOW_WORK_FOLDER": str(folder / "work"), "DUBFLOW_NUM_WORKERS": "1"}
        done = dub(environment, "deploy", "--silent-after", "75", "--restarts", "2")
        assert done.returncode == 0, done.stderr
        with talking_to(environment["PREFECT_API_URL"]):
            yield environment


def started(small, out: Path):
    """A run of the deployment dub-episode, handed to the workers."""
    from prefect.deployments import run_deployment

    request = {
        "film": str(small.film),
        "audio": {"fr": str(small.dub)},
        "out": str(out),
        "episode_id": "small",
        "model": "tiny",
        "speaker": "only-face",
    }
    return run_deployment("dub-episode/dub-episode", parameters={"request": request}, timeout=0, _sync=True)  # type: ignore[call-arg]


def wait_until(run, name: str, log: Path, since: float = 0):
    """Until the run has been in a state of this name; gives its states."""
    from prefect.client.orchestration import get_client

    deadline = time.monotonic() + LIMIT_S
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            states = client.read_flow_run_states(run.id)
            if any(state.name == name and state.timestamp.timestamp() >= since for state in states):
                return sorted(states, key=lambda state: state.timestamp)
            assert not any(state.name == "Failed" for state in states), f"{states}\n{log.read_text()[-4000:]}"
            time.sleep(0.5)
    raise AssertionError(f"never {name}: {[(state.name, state.message) for state in states]}\n{log.read_text()[-4000:]}")


def run_count(run) -> int:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id).run_count


def test_a_run_whose_process_is_killed_is_started_again_and_done(small, studio, tmp_path):
    log = tmp_path / "worker.log"
    with worker(studio, log) as process:
        run = started(small, tmp_path / "out")
        wait_until(run, "Running", log)
        for pid in children_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        states = wait_until(run, "Completed", log)
    names = [state.name for state in states]
    assert names.index("Crashed") < names.index("AwaitingRetry") < names.index("Completed")
    assert 2 <= run_count(run) <= 3  # a worker short of breath reports a crash twice
    assert (tmp_path / "out/small/manifest.json").is_file()


def test_a_run_whose_machine_is_gone_is_marked_and_started_again_by_another_worker(small, studio, tmp_path):
    log = tmp_path / "worker.log"
    with worker(studio, log) as process:
        run = started(small, tmp_path / "out")
        wait_until(run, "Running", log)
        kill_all(process)  # nobody is left to say that it is dead
    with worker(studio, log):
        states = wait_until(run, "Completed", log)
    crashed = next(state for state in states if state.name == "Crashed")
    assert "No sign of life for 75 s" in crashed.message
    assert run_count(run) == 2
    assert (tmp_path / "out/small/manifest.json").is_file()


def test_a_season_is_started_by_the_clock_and_done(small, studio, tmp_path):
    """cron knows minutes: so this takes up to one, and the time of the runs."""
    manifest, log = tmp_path / "autumn.csv", tmp_path / "worker.log"
    manifest.write_text(f"episode,film,language,track,speaker\nsmall,{small.film},fr,{small.dub},only-face\n")
    words = [str(manifest), "--out", str(tmp_path / "out"), "--cron", "* * * * *", "--set", "model=tiny", "--json"]
    with worker(studio, log):
        added = dub(studio, "schedule", "add", *words)
        assert added.returncode == 0, added.stderr
        run = first_run_by_the_clock()
        states = wait_until(run, "Completed", log)
        removed = dub(studio, "schedule", "remove", "autumn")
        assert removed.returncode == 0, removed.stderr
    assert states[0].name == "Scheduled"
    assert run.auto_scheduled
    assert run.parameters["request"]["manifest"] == str(manifest)
    table = json.loads((tmp_path / "out/season-autumn.json").read_text())
    assert [(row["episode_id"], row["state"], row["reason"]) for row in table["rows"]] == [("small", "done", "")], log.read_text()[-6000:]
    assert (tmp_path / "out/small/manifest.json").is_file()


def first_run_by_the_clock():
    """The season's first run that a worker has taken."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    deadline = time.monotonic() + LIMIT_S
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["dub-season"])))
            taken = sorted((run for run in runs if run.start_time is not None), key=lambda run: run.start_time)
            if taken:
                return taken[0]
            time.sleep(0.5)
    raise AssertionError("the clock started nothing")
