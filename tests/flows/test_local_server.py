"""The server that a run starts for itself: all of Prefect's API, what a run asks in front, task runs kept; none where the user has one."""

import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID


def test_what_a_run_asks_comes_first_and_nothing_is_left_out():
    from prefect.server.api import server

    from flows.run.local_server import ASKED_PREFIXES, asked_first

    routers = asked_first(server.API_ROUTERS)
    assert tuple(router.prefix for router in routers[: len(ASKED_PREFIXES)]) == ASKED_PREFIXES
    assert sorted(map(id, routers)) == sorted(map(id, server.API_ROUTERS))


def test_a_flows_task_runs_are_all_kept_with_their_states(prefect_api):
    from prefect import flow, get_client, task
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.context import FlowRunContext

    from flows.run.local_server import send_what_is_queued

    @task(persist_result=False)
    def small(n: int) -> int:
        return n

    @flow(persist_result=False)
    def many() -> UUID:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        assert [future.result() for future in small.map(range(60))] == list(range(60))  # more than are written at once
        return context.flow_run.id

    mine = FlowRunFilter(id=FlowRunFilterId(any_=[many()]))
    assert send_what_is_queued()
    with get_client(sync_client=True) as client:
        deadline, states = time.monotonic() + 60, []
        while time.monotonic() < deadline and states != ["COMPLETED"] * 60:  # written some seconds later
            states = [run.state.type.value for run in client.read_task_runs(flow_run_filter=mine) if run.state]
            time.sleep(0.2)
    assert states == ["COMPLETED"] * 60


def test_where_the_user_names_a_server_a_runs_own_ends_by_itself_before_it_opens_a_database(prefect_api, tmp_path):
    script = """
import sys
from pathlib import Path
from flows.run.local_server import serving
if __name__ == "__main__":
    with serving(Path(sys.argv[1]), unless_configured=True) as server:
        server.process.join(60)
        print(server.process.exitcode)
"""
    (tmp_path / "script.py").write_text(script)
    home = tmp_path / "home"
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": prefect_api}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "work")]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "0"
    assert not (home / "prefect.db").exists()
