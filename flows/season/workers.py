"""Runs a season's episodes on Prefect's workers: handed over by urgency, watched until they end, found again by the next run of the season."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectException, PrefectHTTPStatusError
from prefect.states import Cancelled, Crashed

from flows.run import progress
from flows.season.board import SeasonBoard
from flows.season.jobs import Job, queue_of
from flows.season.lives import Lives
from infra.errors import InputError, OurTroubleError, TransientError

logger = logging.getLogger(__name__)
ValueT = TypeVar("ValueT")
WORKERS = "dub-episode/dub-episode"  # the deployment that `on: workers` means
POLL_S = 2.0
PATIENCE_S = 900.0  # with a server that does not answer
CRASH_GRACE_S = 45.0  # the server's automation may start a crashed run again within about 20 s
MOST_RESTARTS = 2  # of a crashed run by the season itself
MOST_IDS = 200  # in one question to the server
UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]


class StoppedError(Exception):
    """The season was stopped while the episode was with the workers."""


@dataclass(frozen=True)
class Seen:
    """What the server said last of a run; share: how far it is, 0 to 1."""

    run: FlowRun
    share: float


class Workers:
    """Episodes as runs of a deployment. A server out of reach for a while is waited for: what runs goes on without it."""

    def __init__(self, deployment: str, board: SeasonBoard, lives: Lives, stop: threading.Event) -> None:
        """Raises InputError when the server has no such deployment."""
        self._board, self._lives, self._stop = board, lives, stop
        self._tag = f"season:{board.request.season_id}"
        self._lock = threading.Lock()
        self._watched: dict[UUID, Seen | None] = {}
        self._asked = 0.0
        self._is_silent = False
        with get_client(sync_client=True) as client:
            try:
                self._deployment = client.read_deployment_by_name(deployment)
            except ObjectNotFound:
                raise InputError(
                    f"Prefect's server has no deployment {deployment}. Make it with `dub deploy` and start a worker; or run the season --on here."
                ) from None

    def run(self, job: Job) -> tuple[float, Exception | None]:
        """Have the episode dubbed by a worker: the seconds of its run, and its error if it failed. Raises StoppedError."""
        self._board.begin(job)
        seconds, message = 0.0, ""
        for restart in range(MOST_RESTARTS + 1):
            run = self._ended(job, self._found(job) or self._handed_over(job, restart))
            seconds += run.total_run_time.total_seconds() if run.total_run_time else 0.0
            assert run.state is not None
            if run.state.type == StateType.COMPLETED:
                return seconds, None
            if run.state.type != StateType.CRASHED:
                return seconds, error_of(run)
            message = run.state.message
            progress.tell(progress.Said(f"{job.episode_id}: its worker died ({message}); handed over again", is_warning=True))
        return seconds, OurTroubleError(f"Its run crashed {MOST_RESTARTS + 1} times: {message}")

    def stop(self) -> str:
        """Take back what no worker has begun; say what goes on by itself."""
        going_on = 0
        with suppress(httpx.HTTPError, PrefectException), get_client(sync_client=True) as client:
            for flow_run in self._read(client, self._unsettled()):
                if flow_run.state is not None and flow_run.state.type == StateType.SCHEDULED:
                    client.set_flow_run_state(flow_run.id, Cancelled(message="The season was stopped."))
                elif flow_run.state is not None and not flow_run.state.is_final():
                    going_on += 1
        return f"{going_on} episodes go on at their workers; the next run of the season finds them." if going_on else ""

    def _found(self, job: Job) -> FlowRun | None:
        """The unfinished run of this very episode that an earlier process of the season has left behind."""
        assert job.request is not None
        wanted = FlowRunFilter(
            tags=FlowRunFilterTags(all_=[self._tag, _tag_of(job)]), state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
        )
        ours = DeploymentFilter(id=DeploymentFilterId(any_=[self._deployment.id]))
        for run in self._patiently(lambda client: client.read_flow_runs(flow_run_filter=wanted, deployment_filter=ours)):
            asked: Any = run.parameters.get("request")
            if run.id not in self._watched and isinstance(asked, dict) and asked.get("inputs_digest") == job.request.inputs_digest:
                progress.tell(progress.Said(f"{job.episode_id}: found with the workers from before"))
                return run
        return None

    def _handed_over(self, job: Job, restart: int) -> FlowRun:
        assert job.request is not None
        queue, key = queue_of(job, datetime.now(UTC)), uuid4().hex
        parameters = {"request": job.request.model_dump(mode="json")}

        def hand_over(_client: object) -> FlowRun:
            with self._lock:  # Prefect numbers a run's children without one
                return run_deployment(  # type: ignore[return-value]
                    self._deployment.id,
                    parameters=parameters,
                    flow_run_name=job.episode_id if restart == 0 else f"{job.episode_id} again {restart}",
                    timeout=0,
                    tags=[self._tag, _tag_of(job), "dubflow"],
                    idempotency_key=key,  # an answer may be lost: asked again, there is still one run
                    work_queue_name=queue,
                )

        run = self._patiently(hand_over)
        logger.info("%s handed over to the queue %s as run %s", job.episode_id, queue, run.id)
        return run

    def _patiently(self, ask: Callable[[SyncPrefectClient], ValueT]) -> ValueT:
        """Ask the server; one that is out of reach is asked again for a while. Raises TransientError in the end, StoppedError."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with get_client(sync_client=True) as client:
                    answer = ask(client)
            except (httpx.TransportError, PrefectHTTPStatusError) as error:
                if isinstance(error, PrefectHTTPStatusError) and error.response.status_code < 500:
                    raise
                self._note_silence(True, type(error).__name__)
                if time.monotonic() > deadline:
                    raise TransientError(f"Prefect's server did not answer for {PATIENCE_S:.0f} s ({type(error).__name__}).") from error
                if self._stop.wait(POLL_S):
                    raise StoppedError from error
            else:
                self._note_silence(False, "")
                return answer

    def _ended(self, job: Job, run: FlowRun) -> FlowRun:
        """Wait for a run's end; its rows advance meanwhile. A crash counts once nobody has started the run again for a while."""
        with self._lock:
            self._watched[run.id] = None
        crashed_at: float | None = None
        while True:
            if self._stop.wait(POLL_S / 4):
                raise StoppedError
            seen = self._look(run.id)
            if seen is None or seen.run.state is None:
                continue
            self._board.advance(job, seen.share)
            if seen.run.state.type == StateType.RUNNING and self._is_dead(job):
                self._mark_crashed(seen.run)
            if seen.run.state.type == StateType.CRASHED:
                crashed_at = crashed_at or time.monotonic()
                if time.monotonic() - crashed_at < CRASH_GRACE_S:
                    continue
            else:
                crashed_at = None
            if seen.run.state.is_final():
                return seen.run

    def _is_dead(self, job: Job) -> bool:
        with self._lock:
            return self._lives.is_dead(job.episode_id)

    def _mark_crashed(self, run: FlowRun) -> None:
        logger.warning("run %s of %s gives no sign of life and is marked as crashed", run.id, run.name)
        with suppress(httpx.HTTPError, PrefectException), get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Crashed(message="Its episode's lease gave no sign of life."), force=True)

    def _look(self, run_id: UUID) -> Seen | None:
        """What is known of a run; all watched runs are asked for together, every POLL_S at most."""
        with self._lock:
            if time.monotonic() - self._asked > POLL_S:
                self._asked = time.monotonic()
                try:
                    self._ask()
                    self._note_silence(False, "")
                except (httpx.HTTPError, PrefectException) as error:
                    self._note_silence(True, type(error).__name__)
            return self._watched[run_id]

    def _ask(self) -> None:
        waiting = self._unsettled()
        with get_client(sync_client=True) as client:
            for first in range(0, len(waiting), MOST_IDS):
                ids = waiting[first : first + MOST_IDS]
                bars = client.read_artifacts(
                    artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=ids), type=ArtifactFilterType(any_=["progress"])),
                    limit=MOST_IDS,
                )
                shares = {bar.flow_run_id: float(bar.data) / 100 for bar in bars if isinstance(bar.data, int | float)}
                for run in self._read(client, ids):
                    self._watched[run.id] = Seen(run, shares.get(run.id, 0.0))

    def _unsettled(self) -> list[UUID]:
        return [run_id for run_id, seen in self._watched.items() if seen is None or not _is_settled(seen.run)]

    def _read(self, client: Any, ids: list[UUID]) -> list[FlowRun]:
        return client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=MOST_IDS) if ids else []

    def _note_silence(self, is_silent: bool, why: str) -> None:
        if is_silent and not self._is_silent:
            self._board.warn(f"Prefect's server does not answer ({why}); what the workers do goes on, and is looked at again when it does.")
        self._is_silent = is_silent


def error_of(run: FlowRun) -> Exception:
    """Why a run that did not complete did not, as the error that its flow raised."""
    assert run.state is not None
    message = (run.state.message or run.state.name or "no reason was given").strip()
    text = message.removeprefix("Flow run encountered an exception: ")
    if text.startswith(("InputError: ", "BusyError: ")):
        return InputError(text.partition(": ")[2])
    return OurTroubleError(text if text != message else f"{run.state.name}: {message}")


def _is_settled(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final() and run.state.type != StateType.CRASHED


def _tag_of(job: Job) -> str:
    return f"episode:{job.episode_id}"
