"""Prefect's Ray task runner with worker processes of this machine that start as ours do. Needs the extra `ray`."""

from typing import Any, Self
from uuid import UUID, uuid4

import ray
from prefect import Task
from prefect_ray.task_runners import PrefectRayFuture, RayTaskRunner

from flows.runners.remote_calls import context_of_run, enter_and_run, settle_in
from flows.runners.worker_start import WorkerStart

OBJECT_STORE_BYTES = 100 * 2**20  # records and errors only; pixels go by the work folder
AS_OURS = {"worker_niceness": 0}  # of itself Ray lets its workers give way to everybody, and they stand still on a machine that others use
QUIET = {"include_dashboard": False, "configure_logging": False, "log_to_driver": False}


class RayWorkers(RayTaskRunner):
    """`num_workers` processes that end with the run."""

    def __init__(self, num_workers: int, start: WorkerStart) -> None:
        super().__init__(init_kwargs={"num_cpus": num_workers, "object_store_memory": OBJECT_STORE_BYTES, "_system_config": AS_OURS, **QUIET})
        self._start = start

    def __enter__(self) -> Self:
        super().__enter__()
        self._run = ray.put((self._start, uuid4(), context_of_run()))
        self._remote = ray.remote(max_retries=0)(_settle_in_and_run)  # flows.runners.calls sees to a call whose worker died
        return self

    def submit(self, task: Task, parameters: dict[str, Any], wait_for: Any = None, dependencies: Any = None) -> PrefectRayFuture:  # type: ignore[override]
        """As RayTaskRunner's, but without the price of a context for every call."""
        task_run_id = uuid4()
        return PrefectRayFuture(task_run_id, self._remote.options(name=task.name).remote(self._run, task, task_run_id, parameters))


def _settle_in_and_run(run: tuple[WorkerStart, UUID, dict[str, Any]], task: Task, task_run_id: UUID, parameters: dict[str, Any]) -> Any:
    start, run_id, context = run
    settle_in(start)
    return enter_and_run(run_id, context, task, task_run_id, parameters)
