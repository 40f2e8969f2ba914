"""Two runs of one episode: one works, the other waits or is told whose it is; one that overslept publishes nothing when it wakes up."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.run import progress
from infra.durable import sha256_of_file
from infra.lease import BusyError, newest
from infra.storage import open_storage
from tests.flows.command_process import command_line, wait_for_text
from tests.flows.test_dub_episode import request_for

pytestmark = pytest.mark.usefixtures("settings_of_test")


class Ears:
    """Hears what a run tells."""

    def __init__(self, react: Callable[[progress.Event], None] = lambda event: None) -> None:
        self.said: list[str] = []
        self.react = react

    def hear(self, event: progress.Event) -> None:
        if isinstance(event, progress.Said):
            self.said.append(event.text)
        self.react(event)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def token_of(out: Path) -> int:
    return json.loads((out / "small/manifest.json").read_text())["lease"]["token"]


def test_the_second_run_is_refused_with_a_name_and_a_time_if_it_does_not_want_to_wait(small, tmp_path):
    from flows.cli import app
    from flows.dub_episode import dub_episode
    from flows.episode.lease import episode_lease
    from flows.redo_shots import redo_shots
    from tasks.types import RedoRequest

    out = tmp_path / "out"
    dub_episode(request_for(small, out))
    with episode_lease(request_for(small, out), open_storage(out)):
        holder = newest(open_storage(out), ".leases/small").owner
        words = ["episode", str(small.film), "--audio", f"fr={small.dub}", "--out", str(out), "--model", "tiny", "--if-busy", "refuse", "--json"]
        refused = CliRunner().invoke(app, words)
        assert refused.exit_code == 2
        message = json.loads(refused.stdout)["message"]
        assert f"Episode small in {out} is being worked on by {holder}" in message
        assert "--if-busy wait" in message
        with pytest.raises(BusyError, match="is being worked on"):
            redo_shots(RedoRequest(out=str(out), episode_id="small", shots=(0,), if_busy="refuse"))
        dub_episode(request_for(small, tmp_path / "elsewhere", if_busy="refuse"))  # another OUT is another episode
    assert token_of(out) == 1


def test_the_second_run_says_whom_it_waits_for_and_works_when_the_first_has_ended(small, tmp_path):
    from flows.dub_episode import dub_episode
    from flows.episode.lease import episode_lease

    out, ears, results = tmp_path / "out", Ears(), []

    def run() -> None:
        with progress.listening(ears):
            results.append(dub_episode(request_for(small, out)))

    second = threading.Thread(target=run)
    with episode_lease(request_for(small, out), open_storage(out)) as first:
        second.start()
        wait_until(lambda: any(f"is being worked on by {first.fence.owner}; waiting" in text for text in ears.said))
        assert not (out / "small").exists()
    second.join(300)
    assert results[0].outputs["fr"] == str(out / "small/fr/small.fr.mp4")
    assert token_of(out) == 1  # the first published nothing and left no trace


def test_a_run_that_overslept_ends_with_one_message_and_leaves_what_the_newer_one_published(small, environment, prefect_api, tmp_path):
    from flows.dub_episode import dub_episode

    out, told = tmp_path / "out", tmp_path / "stderr"
    own = {"DUBFLOW_LEASE_S": "8", "PREFECT_API_URL": prefect_api}
    with open(told, "wb") as stderr:
        process = subprocess.Popen(command_line(small, out, "--json"), stdout=subprocess.PIPE, stderr=stderr, env=environment | own)
    try:
        wait_for_text(told, "shots 1/1", process)
        process.send_signal(signal.SIGSTOP)
        dub_episode(request_for(small, out))
        assert token_of(out) == 2
        published = {path: sha256_of_file(path) for path in (out / "small").rglob("*") if path.is_file()}
        process.send_signal(signal.SIGCONT)
        answer = json.loads(process.communicate(timeout=300)[0])
    finally:
        process.kill()
        process.wait()
    assert process.returncode == answer["exit_code"] == 1
    assert f"Episode small in {out} was taken over by " in answer["message"]
    assert "It publishes nothing any more" in answer["message"]
    assert "Traceback" not in told.read_text()
    assert published == {path: sha256_of_file(path) for path in (out / "small").rglob("*") if path.is_file()}


def test_nobody_holds_an_episode_while_people_review_it(small, tmp_path):
    from prefect.flow_runs import resume_flow_run

    from tests.flows.test_redo_shots import said
    from tests.flows.test_review_pause import paused_run, waiting_dub

    out = tmp_path / "out"
    thread = waiting_dub(small, out)
    run = paused_run(thread, out)
    assert newest(open_storage(out), ".leases/small").state == "released"
    resume_flow_run(run.id, run_input={"episode_id": "small", "decisions": [said(out, 0, "keep_original")]})
    thread.finished()
    assert token_of(out) == 2
