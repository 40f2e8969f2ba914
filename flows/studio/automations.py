"""What Prefect's server does by itself about runs in trouble: silence is noticed, the run is marked, and started again a bounded number of times."""

import flows.environment  # noqa: F401  # isort: skip
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, CancelFlowRun, ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from pydantic import Field

from tasks.types import Record

TAG = "dubflow"  # every deployment of ours bears it, and so do its runs; other people's runs on the server are none of our business
ANY = "prefect.flow-run.*"
HEARTBEAT = "prefect.flow-run.heartbeat"
BEGUN = "prefect.flow-run.Running"
CRASHED = "prefect.flow-run.Crashed"
CLAIMED = frozenset(f"prefect.flow-run.{name}" for name in ("Pending", "Submitting", "InfrastructurePending"))
ENDED = frozenset(f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Cancelling", "TimedOut"))
WAITING = frozenset(f"prefect.flow-run.{name}" for name in ("Paused", "Suspended", "Scheduled", "AwaitingRetry"))
# Prefect's server on SQLite gives an event up when it cannot note it at once for an automation that waits for absence. So a crash never counts
# as the sign that such an automation waits for: it must reach those that answer it. What is told too often is refused by a run that has ended.
NEVER_BEGUN = "A worker took it and never began"
RESTART_AFTER_S = 15.0  # whoever watches runs and would start them anew should wait longer


class Patience(Record):
    """How long a run may be silent, and how often it is started again. Runs say every 30 s that they are alive."""

    silent_s: float = Field(default=300.0, ge=60.0)  # then it is taken for dead
    claimed_s: float = Field(default=1800.0, ge=60.0)  # between a worker's taking a run and its beginning: a machine may have to start first
    longest_s: float = Field(default=7 * 24 * 3600.0, ge=60.0)  # at work without a pause; then it is stopped
    num_restarts: int = Field(default=2, ge=0)


def automations(patience: Patience, blocks: Sequence[UUID]) -> list[AutomationCore]:
    """All that dubflow sets up. blocks: the notification blocks that are told of a crash.

    To start a run again is safe whatever happened to it: finished steps are found in the store, an episode is published by one run at a time, and
    what a revived process still does is refused at publishing.
    """
    made = [_silent(patience), _never_begun(patience), _endless(patience), _requeue()]
    return made + ([_restart(patience)] if patience.num_restarts else []) + ([_tell(blocks)] if blocks else [])


def _silent(patience: Patience) -> AutomationCore:
    return AutomationCore(
        name="dubflow: a silent run is marked as crashed",
        description=f"A run that gave no sign of life for {patience.silent_s:.0f} s: its process or its machine is gone.",
        trigger=_absence({HEARTBEAT, BEGUN}, {HEARTBEAT, BEGUN} | ENDED | WAITING, patience.silent_s),
        actions=_change(StateType.CRASHED, "Crashed", f"No sign of life for {patience.silent_s:.0f} s."),
    )


def _never_begun(patience: Patience) -> AutomationCore:
    return AutomationCore(
        name="dubflow: a run that was claimed and never begun is marked as crashed",
        description=f"A worker took it and did not begin within {patience.claimed_s:.0f} s: the worker is gone.",
        trigger=_absence(CLAIMED, {HEARTBEAT, BEGUN} | ENDED | WAITING, patience.claimed_s),
        actions=_change(StateType.CRASHED, "Crashed", f"{NEVER_BEGUN} within {patience.claimed_s:.0f} s."),
    )


def _endless(patience: Patience) -> AutomationCore:
    return AutomationCore(
        name="dubflow: a run that does not end is stopped",
        description=f"At work for {patience.longest_s / 3600:.0f} h without an end or a pause. Finished steps are kept; it is not started again.",
        trigger=_absence({BEGUN}, ENDED | WAITING, patience.longest_s),
        actions=[CancelFlowRun()],
    )


def _requeue() -> AutomationCore:
    return AutomationCore(
        name="dubflow: a run that was never begun goes back to its queue",
        description="Nothing had been done, so this is no second start.",
        trigger=_crash({"prefect.state-message": f"{NEVER_BEGUN}*"}),
        actions=_change(StateType.SCHEDULED, "AwaitingRetry", "Its worker never began; back in the queue."),
    )


def _restart(patience: Patience) -> AutomationCore:
    """Not at once: a worker reports the crash of its process a second time, some seconds later, and that must not hit the new start."""
    return AutomationCore(
        name="dubflow: a crashed run is started again",
        description=f"At most {patience.num_restarts} times for one run. A run that failed by its own word is left alone: it said what is wrong.",
        trigger=EventTrigger(
            after={CRASHED},
            expect={BEGUN, *CLAIMED, *ENDED, *WAITING},
            match={"prefect.resource.id": ANY, "prefect.run-count": [str(count) for count in range(1, patience.num_restarts + 1)]},  # pyright: ignore[reportArgumentType]
            match_related=_ours(),  # pyright: ignore[reportArgumentType]
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=RESTART_AFTER_S),
        ),
        actions=_change(StateType.SCHEDULED, "AwaitingRetry", "It crashed; started again by dubflow's automation."),
    )


def _tell(blocks: Sequence[UUID]) -> AutomationCore:
    body = "{{ flow_run.name }} crashed: {{ flow_run.state.message }} (started {{ flow_run.run_count }} times)"
    return AutomationCore(
        name="dubflow: a crash is told",
        description="Runs tell of their own end and failure; a process that was killed cannot.",
        trigger=_crash({}),
        actions=[SendNotification(block_document_id=block, subject="dubflow: {{ flow_run.name }} crashed", body=body) for block in blocks],
    )


def _crash(match: dict[str, str | list[str]]) -> EventTrigger:
    """Fires for every crash of a run of ours that bears these labels."""
    return EventTrigger(
        expect={CRASHED},
        match={"prefect.resource.id": ANY, **match},  # pyright: ignore[reportArgumentType]
        match_related=_ours(),  # pyright: ignore[reportArgumentType]
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
    )


def _change(state: StateType, name: str, message: str) -> list[ActionTypes]:
    return [ChangeFlowRunState(state=state, name=name, message=message, force=False)]


def _absence(after: set[str] | frozenset[str], expect: set[str] | frozenset[str], within_s: float) -> EventTrigger:
    """Fires for a run of ours when, after one of these events, none of the expected ones comes in time."""
    return EventTrigger(
        after=set(after),
        expect=set(expect),
        match={"prefect.resource.id": ANY},  # pyright: ignore[reportArgumentType]
        match_related=_ours(),  # pyright: ignore[reportArgumentType]
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=within_s),
    )


def _ours() -> dict[str, str]:
    return {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
