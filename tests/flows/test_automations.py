"""What a studio's Prefect server does by itself about runs in trouble, seen on runs whose workers are nothing but claims: nobody is there."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.prefect_server import dub, prefect_server

pytestmark = pytest.mark.long
LIMIT_S = 240
REQUEST = {"request": {"film": "/nowhere.mp4", "audio": {"fr": "/nowhere.wav"}, "out": "/nowhere", "episode_id": "nowhere"}}


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[dict]]]:
    """(address, messages) of a receiver of notifications."""
    messages: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", messages
        server.shutdown()


@pytest.fixture(scope="module")
def studio(told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with little patience; gives its log."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    from flows.run.local_server import talking_to

    folder = tmp_path_factory.mktemp("studio")
    with prefect_server(folder) as environment, talking_to(environment["PREFECT_API_URL"]):
        block = CustomWebhookNotificationBlock(name="studio", url=told[0], json_data={"subject": "{{subject}}", "body": "{{body}}"})
        block.save("studio")
        patience = ["--silent-after", "60", "--claimed-for", "60", "--longest", "120", "--restarts", "1"]
        done = dub(environment | {"DUBFLOW_NOTIFY": "custom-webhook/studio"}, "deploy", *patience)
        assert done.returncode == 0, done.stderr
        yield folder / "server.log"


def client():
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def run_in(*states, deployment: str = "dub-episode/dub-episode"):
    """A run of a deployment that has gone through these states."""
    with client() as server:
        run = server.create_flow_run_from_deployment(server.read_deployment_by_name(deployment).id, parameters=REQUEST)
        for state in states:
            server.set_flow_run_state(run.id, state, force=True)
        return run


def alive(run, end: threading.Event) -> None:
    """What the process of a live run does: a sign of life now and then."""
    from prefect.events import emit_event

    related = [{"prefect.resource.id": "prefect.tag.dubflow", "prefect.resource.role": "tag"}]
    while not end.wait(10):
        emit_event("prefect.flow-run.heartbeat", resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"}, related=related)


def state_names(run) -> list[str]:
    with client() as server:
        return [state.name for state in sorted(server.read_flow_run_states(run.id), key=lambda state: state.timestamp)]


def wait_for(is_there: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not is_there():
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(1)


def test_each_kind_of_trouble_is_answered_and_nothing_else_is_touched(studio, told):
    from contextvars import copy_context

    from prefect.states import Completed, Pending, Running

    end = threading.Event()
    claimed, silent, done = run_in(Pending()), run_in(Pending(), Running()), run_in(Pending(), Running(), Completed())
    endless, working = run_in(Pending(), Running()), run_in(Pending(), Running())
    context = copy_context()
    threads = [threading.Thread(target=context.copy().run, args=(alive, run, end)) for run in (endless, working)]
    for thread in threads:
        thread.start()
    try:
        for run in (claimed, silent):
            wait_for(lambda run=run: "AwaitingRetry" in state_names(run), studio)
            assert state_names(run).index("Crashed") < state_names(run).index("AwaitingRetry")
        assert "Crashed" not in state_names(endless) + state_names(working)  # they say that they are alive
        with client() as server:
            server.set_flow_run_state(working.id, Completed())
        wait_for(lambda: {"Cancelling", "Cancelled"} & set(state_names(endless)), studio)
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert state_names(working)[-1] == "Completed"
    assert state_names(done)[-1] == "Completed"
    for reason in ("No sign of life for 60 s", "A worker took it and never began within 60 s"):
        wait_for(lambda reason=reason: any(reason in message["body"] for message in told[1]), studio)


def test_a_run_is_started_again_as_often_as_was_said_and_no_more(studio, told):
    from prefect.states import Crashed, Pending, Running

    run = run_in(Pending(), Running(), Crashed(message="its machine burnt down"))
    wait_for(lambda: state_names(run)[-1] == "AwaitingRetry", studio)
    with client() as server:
        for state in (Pending(), Running(), Crashed(message="and the next one")):
            server.set_flow_run_state(run.id, state, force=True)
    wait_for(lambda: sum(run.name in message["body"] for message in told[1]) == 2, studio)
    time.sleep(10)
    assert state_names(run)[-1] == "Crashed"
    assert "its machine burnt down" in "".join(message["body"] for message in told[1])


def test_runs_of_others_on_the_server_are_left_alone(studio):
    from prefect import flow
    from prefect.states import Crashed, Pending, Running

    with client() as server:
        theirs = server.create_deployment(server.create_flow(flow(name="theirs")(lambda: None)), "theirs", work_pool_name="dubflow")
        run = server.create_flow_run_from_deployment(theirs)
        for state in (Pending(), Running(), Crashed(message="not our business")):
            server.set_flow_run_state(run.id, state, force=True)
    ours = run_in(Pending(), Running(), Crashed())
    wait_for(lambda: state_names(ours)[-1] == "AwaitingRetry", studio)
    assert state_names(run)[-1] == "Crashed"
