"""A Prefect task runner on processes. Prefect's own tells its workers of the run with every call, which costs more than a small step."""

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Self
from uuid import UUID, uuid4

from prefect import Task
from prefect.futures import PrefectConcurrentFuture
from prefect.task_runners import TaskRunner
from prefect.utilities.callables import cloudpickle_wrapped_call

from flows.runners.remote_calls import context_of_run, enter_run, run_call
from flows.runners.worker_start import WorkerStart


class ProcessWorkers(TaskRunner[PrefectConcurrentFuture[Any]]):
    """`num_workers` processes that end with the run. One that dies takes the pool with it: every later future holds BrokenProcessPool."""

    def __init__(self, num_workers: int, start: WorkerStart) -> None:
        super().__init__()
        self._num_workers, self._start = num_workers, start

    def duplicate(self) -> Self:
        return type(self)(self._num_workers, self._start)

    def __enter__(self) -> Self:
        super().__enter__()
        self._run_id = uuid4()
        told = (self._start, self._run_id, cloudpickle_wrapped_call(enter_run, self._run_id, context_of_run()))
        self._executor = ProcessPoolExecutor(self._num_workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=told)
        return self

    def submit(self, task: Task, parameters: dict[str, Any], wait_for: Any = None, dependencies: Any = None) -> PrefectConcurrentFuture[Any]:  # type: ignore[override]
        task_run_id = uuid4()
        try:
            future: Future = self._executor.submit(run_call, self._run_id, task, task_run_id, parameters)
        except BrokenProcessPool as error:
            future = Future()
            future.set_exception(error)
        return PrefectConcurrentFuture(task_run_id, future)

    def __exit__(self, *exc_info: Any) -> None:
        self._executor.shutdown(cancel_futures=True)
        super().__exit__(*exc_info)


def _begin(start: WorkerStart, run_id: UUID, enter: Any) -> None:
    start()
    enter()
