"""What a run needs from outside goes away: one clear message, finished work kept, and the same command goes on from there."""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from flows.run import progress
from infra.errors import InputError
from infra.storage import open_storage
from tests.fault_proxy import refusing_server, switch
from tests.flows.command_process import command_line, wait_for_text
from tests.flows.test_dub_episode import request_for
from tests.swift_server import point_at


@dataclass
class After:
    """Does something once, when the first call of a stage has ended."""

    stage: str
    do: Callable[[], None]
    said: list[str] = field(default_factory=list)
    ended: Counter = field(default_factory=Counter)

    def hear(self, event: progress.Event) -> None:
        if isinstance(event, progress.Said):
            self.said.append(event.text)
        elif isinstance(event, progress.Ended):
            self.ended[event.stage] += 1
            if event.stage == self.stage and self.ended[event.stage] == 1:
                self.do()


@pytest.mark.usefixtures("settings_of_test")
def test_credentials_that_expire_in_mid_run_are_told_once_and_nothing_finished_is_done_again(small, s3_bucket, swift, tmp_path, monkeypatch):
    from flows.dub_episode import dub_episode

    monkeypatch.setenv("DUBFLOW_LEASE_S", "4")
    request = request_for(small, f"{s3_bucket}/out", work=str(tmp_path / "work"))
    with switch(swift.port) as proxy, refusing_server("ExpiredToken", 400, num_refusals=10_000) as refusing:
        point_at(monkeypatch, proxy.url)
        after = After("shots", lambda: proxy.turn(refusing.port))
        with progress.listening(after), pytest.raises(InputError, match="the credentials have expired; get new ones") as caught:
            dub_episode(request)
        assert "canary-secret" not in str(caught.value)
        assert after.ended["assemble"] == 1  # what needs no store went on
        assert sum("sign of life" in text for text in after.said) <= 1  # the early warning, however many heartbeats failed
        proxy.turn(swift.port)
        point_at(monkeypatch, proxy.url)  # as a new process with new credentials would
        again = dub_episode(request)
    assert all(count.made == 0 for step, count in again.steps.items() if step not in ("make_preview", "write_report")), again.steps
    assert {"small/manifest.json", "small/fr/small.fr.mp4"} <= set(open_storage(f"{s3_bucket}/out").list())


@pytest.mark.usefixtures("settings_of_test")
def test_credentials_that_expire_in_mid_season_end_it_with_one_message_and_begin_nothing_more(small, s3_bucket, swift, tmp_path, monkeypatch):
    from flows.dub_season import dub_season
    from tasks.types import SeasonRequest

    class AtTheStart:
        states: ClassVar[set[tuple[str, str]]] = set()

        def hear(self, event: progress.Event) -> None:
            if isinstance(event, progress.Said) and event.text.startswith("season "):
                proxy.turn(refusing.port)
            elif isinstance(event, progress.RowsChanged):
                self.states.update((row.episode_id, row.state) for row in event.rows)

    manifest, ears = tmp_path / "season.csv", AtTheStart()
    manifest.write_text("episode,film,language,track\n" + "".join(f"ep-{n},{small.film},fr,{small.dub}\n" for n in range(3)))
    request = SeasonRequest(manifest=str(manifest), out=f"{s3_bucket}/out", season_id="season", work=str(tmp_path / "work"), model="tiny")
    with switch(swift.port) as proxy, refusing_server("ExpiredToken", 400, num_refusals=10_000) as refusing:
        point_at(monkeypatch, proxy.url)
        with progress.listening(ears), pytest.raises(InputError, match="the credentials have expired; get new ones"):
            dub_season(request)
    assert ears.states == {("ep-0", "running"), ("ep-0", "waiting")}


@pytest.mark.usefixtures("settings_of_test")
def test_a_bucket_that_is_missing_is_told_before_any_work(small, s3_bucket, tmp_path):
    from flows.dub_episode import dub_episode

    work = tmp_path / "work"
    with pytest.raises(InputError, match=r"there is no such bucket"):
        dub_episode(request_for(small, f"{s3_bucket}-mistyped/out", work=str(work)))
    assert not (work / "artifacts").exists()


def test_a_prefect_server_that_does_not_answer_at_the_start_is_told_at_once(small, environment, tmp_path):
    command = command_line(small, tmp_path / "out", "--json")
    done = subprocess.run(command, env=environment | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    message = json.loads(done.stdout)["message"]
    assert message.startswith("Prefect's server at http://127.0.0.1:9/api does not answer")
    assert "PREFECT_API_URL" in message
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_steps_under_way_when_the_prefect_server_is_killed_finish_and_count_in_the_next_run(small, environment, tmp_path, monkeypatch):
    from flows.run.local_server import serving

    monkeypatch.setenv("PREFECT_HOME", environment["PREFECT_HOME"])
    command, told = command_line(small, tmp_path / "out", "--json", "--workers", "1"), tmp_path / "stderr"
    impatient = {"PREFECT_CLIENT_MAX_RETRIES": "1"}  # as it comes, Prefect tries for a minute before it gives up telling how the run ended
    with serving(tmp_path / "server") as server, open(told, "wb") as stderr:
        own = environment | impatient | {"PREFECT_API_URL": server.url()}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=own)
        try:
            wait_for_text(told, "shots 1/1", process)
            os.kill(server.process.pid or 0, signal.SIGKILL)
            answer = json.loads(process.communicate(timeout=500)[0])
        finally:
            process.kill()
            process.wait()
    shown = told.read_text()
    assert process.returncode == answer["exit_code"] == 1
    assert "Prefect's server does not answer any more" in answer["message"]
    assert shown.count("work goes on without it") == 1
    assert "Traceback" not in shown
    assert "EventsWorker" not in shown
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert again.returncode == 0, again.stderr[-3000:]
    assert all(count["made"] == 0 for count in json.loads(again.stdout)["steps"].values())
