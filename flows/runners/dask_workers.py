"""Prefect's Dask task runner with worker processes of this machine that start as ours do. Needs the extra `dask`."""

from typing import Any, Self
from uuid import uuid4

import dask.config
from distributed import Client, WorkerPlugin
from prefect import Task
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from flows.runners.remote_calls import context_of_run, enter_and_run, settle_in
from flows.runners.worker_start import WorkerStart

CLUSTER = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}  # no limit of memory, as under the other runners
CONFIG = {"distributed.scheduler.allowed-failures": 0}  # flows.runners.calls sees to a call whose worker died


class SettlingIn(WorkerPlugin):
    """Starts every worker as ours do, also one that takes the place of a dead one."""

    name = "dubflow"

    def __init__(self, start: WorkerStart) -> None:
        self._start = start

    def setup(self, worker: Any) -> None:
        settle_in(self._start)


class DaskWorkers(DaskTaskRunner):
    """`num_workers` processes that end with the run."""

    def __init__(self, num_workers: int, start: WorkerStart) -> None:
        super().__init__(cluster_kwargs={"n_workers": num_workers, **CLUSTER})
        self._start = start

    def __enter__(self) -> Self:
        super().__enter__()
        self._exit_stack.enter_context(dask.config.set(CONFIG))
        self.client.register_plugin(SettlingIn(self._start))
        self._run_id, self._context = uuid4(), context_of_run()
        return self

    def submit(self, task: Task, parameters: dict[str, Any], wait_for: Any = None, dependencies: Any = None) -> PrefectDaskFuture:  # type: ignore[override]
        """As DaskTaskRunner's, but without the price of a context and a digest of all arguments for every call."""
        task_run_id = uuid4()
        key = f"{task.name}-{task_run_id}"
        future = Client.submit(self.client, enter_and_run, self._run_id, self._context, task, task_run_id, parameters, key=key, pure=False)
        return PrefectDaskFuture(task_run_id, future)
