"""A run waits for people: it is published, paused in Prefect, goes on with what they decide, and shows all of it in the UI."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from tests.flows.test_dub_episode import request_for
from tests.flows.test_redo_shots import decisions_file, history, manifest_of, said, take_of

pytestmark = pytest.mark.usefixtures("settings_of_test")
LIMIT_S = 600


class InThread(threading.Thread):
    """Runs the flow beside the test, and keeps what came of it."""

    def __init__(self, work: Callable[[], object]):
        super().__init__(daemon=True)
        self.work, self.result, self.error = work, None, None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error

    def finished(self):
        self.join(LIMIT_S)
        assert not self.is_alive()
        assert self.error is None, self.error
        return self.result


def run_into(out: Path) -> FlowRun | None:
    """The run of the flow that publishes to this folder."""
    found = FlowFilter(name=FlowFilterName(any_=["dub-episode"]))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=found, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=20)
    return next((run for run in runs if run.parameters["request"]["out"] == str(out)), None)


def paused_run(thread: InThread, out: Path, after: UUID | None = None) -> FlowRun:
    """The run, once Prefect says that it is paused; after: not for this pause, which is over."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and thread.is_alive():
        run = run_into(out)
        if run is not None and run.state is not None and run.state.is_paused() and run.state.id != after:
            return run
        time.sleep(0.5)
    raise AssertionError(f"it was never paused: {thread.error}")


def artifacts_of(run: FlowRun) -> dict[str, object]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id])))
    bars = [artifact for artifact in found if artifact.type == "progress"]
    assert len(bars) == 1  # however often it was paused
    return {str(artifact.key): artifact for artifact in found}


def waiting_dub(small, out: Path) -> InThread:
    from flows.dub_episode import dub_episode

    return InThread(lambda: dub_episode(request_for(small, out, review="wait")))


def test_a_paused_run_goes_on_with_typed_decisions_and_pauses_again_if_asked_to(small, tmp_path):
    from prefect.flow_runs import resume_flow_run

    out = tmp_path / "out"
    thread = waiting_dub(small, out)
    run = paused_run(thread, out)
    assert (out / "small/report.html").is_file()  # what is to be reviewed lies there before anybody is asked

    review = {"episode_id": "small", "reviewer": "Anna", "decisions": [said(out, 0, "keep_original")]}
    with pytest.raises(RuntimeError, match="destroy"):
        resume_flow_run(run.id, run_input=review | {"decisions": [said(out, 0, "destroy")]})
    assert run_into(out).state.is_paused()  # a wrong word does not end the wait
    resume_flow_run(run.id, run_input=review | {"then": "pause again"})
    run = paused_run(thread, out, after=run.state.id)
    assert take_of(out, 0) is None
    resume_flow_run(run.id, run_input={"episode_id": "other", "decisions": []})  # not of this episode: said, and waited on
    run = paused_run(thread, out, after=run.state.id)
    resume_flow_run(run.id, run_input={"episode_id": "small", "reviewer": "Bert", "decisions": [said(out, 2, "approve")]})
    result = thread.finished()

    assert result.num_rendered_frames == 0  # an approval renders nothing
    assert [entry.reviewer for entry in history(out) if entry.kind == "decided"] == ["Anna", "Bert"]
    assert manifest_of(out)["request"]["review"] == "later"
    shown = artifacts_of(run)
    assert {"progress-small", "shots-small", "report-small", "episode-small"} <= set(shown)
    assert shown["progress-small"].data == 100.0
    assert {row["shot"] for row in json.loads(shown["shots-small"].data)} == {0, 1, 2}
    assert (out / "small/report.html").as_uri() in str(shown["report-small"].data)


def test_a_paused_run_goes_on_when_a_decisions_file_appears_beside_the_report(small, tmp_path):
    out = tmp_path / "out"
    thread = waiting_dub(small, out)
    paused_run(thread, out)
    (out / "small/decisions.json").write_text("{ not yet whole")
    time.sleep(3)
    assert thread.is_alive()
    decisions_file(out / "small/decisions.json", said(out, 2, "keep_original"))
    thread.finished()
    assert take_of(out, 2) is None
    assert [entry.reviewer for entry in history(out) if entry.kind == "decided"] == ["Anna"]
