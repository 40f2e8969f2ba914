"""A call of a step in a worker process: in the flow run's context, with its states told to the server before the worker may end."""

import atexit
import contextvars
import threading
from contextlib import ExitStack
from functools import cache
from typing import Any
from uuid import UUID

from prefect import Task
from prefect.context import SyncClientContext, hydrated_context, serialize_context
from prefect.events.worker import EventsWorker
from prefect.task_engine import run_task_sync

from flows.runners.worker_start import WorkerStart

FLUSH_TIMEOUT_S = 5.0  # a server that is away must not hold up the work
_contexts: dict[UUID, contextvars.Context] = {}  # by run


@cache
def settle_in(start: WorkerStart) -> None:
    """Once for each worker process."""
    start()


def context_of_run() -> dict[str, Any]:
    """What a worker needs to know of flow run, server and settings: the same for every call of a run, and dear to make."""
    return serialize_context()


def enter_run(run_id: UUID, context: dict[str, Any]) -> None:
    """Once for each run in a worker: have its calls run in this context, with one client for all. Dearer than a small step."""
    if run_id in _contexts:
        return
    own, stack = contextvars.copy_context(), ExitStack()
    own.run(stack.enter_context, hydrated_context(context))
    own.run(stack.enter_context, SyncClientContext.get_or_create())
    atexit.register(own.run, stack.close)
    _contexts[run_id] = own


def run_call(run_id: UUID, task: Task, task_run_id: UUID, parameters: dict[str, Any]) -> Any:
    """Run one step of a run that was entered, and give its final state."""
    own = _contexts[run_id].copy()
    state = own.run(run_task_sync, task=task, task_run_id=task_run_id, parameters=parameters, return_type="state")
    own.run(_send_events)
    return state


def enter_and_run(run_id: UUID, context: dict[str, Any], task: Task, task_run_id: UUID, parameters: dict[str, Any]) -> Any:
    """For a worker that may not have heard of the run."""
    enter_run(run_id, context)
    return run_call(run_id, task, task_run_id, parameters)


def _send_events() -> None:
    if not EventsWorker._instances:
        return
    sending = threading.Thread(target=EventsWorker.instance().wait_until_empty, daemon=True)
    sending.start()
    sending.join(FLUSH_TIMEOUT_S)
