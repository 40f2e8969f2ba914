"""What runs the steps: threads, processes, Dask or Ray, each with a bound, each started alike, and each mended when a worker dies."""

import os
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.run.log_file import current_log
from flows.runners.process_workers import ProcessWorkers
from flows.runners.worker_start import WorkerStart, set_modules_aside
from infra.errors import InputError
from infra.settings import get_settings, num_cpus

DEATHS = ("KilledWorker", "WorkerCrashedError", "OutOfMemoryError", "NodeDiedError")  # what Dask and Ray call it


class Workers(AbstractContextManager):
    """The task runner of one run. Within, networks called in this process use `num_threads`, too: sums come out alike under every runner."""

    def __init__(self, open_runner: Callable[[], TaskRunner[Any]], num_workers: int, num_threads: int) -> None:
        self.num_workers = num_workers
        self.num_at_once = 2 * num_workers  # calls with the runner at a time: one under way and one ready for each worker
        self._open_runner = open_runner
        self._num_threads = num_threads
        self._runner: TaskRunner[Any] | None = None

    def __enter__(self) -> Self:
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(self._num_threads)
        set_modules_aside()
        self._runner = self._open_runner().__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        torch.set_num_threads(self._threads_before)
        assert self._runner is not None
        self._runner.__exit__(*exc_info)

    def submit(self, step: Task, arguments: dict[str, Any]) -> PrefectFuture:
        """Hand over one call of a step."""
        assert self._runner is not None
        return self._runner.submit(step, parameters=arguments)

    def mend(self) -> None:
        """After a worker died: a pool of processes is no use any more, so open another. Dask and Ray have started another worker by themselves."""
        if isinstance(self._runner, ProcessWorkers):
            self._runner.__exit__(None, None, None)
            self._runner = self._open_runner().__enter__()


def is_worker_death(value: object) -> bool:
    """Whether this is what a task runner gives for a call whose worker process died under it: a crash in a library, or no memory left."""
    if isinstance(value, BrokenProcessPool):
        return True
    return type(value).__name__ in DEATHS and type(value).__module__.startswith(("distributed.", "ray."))


def make_runner(kind: str | None, num_workers: int | None) -> Workers:
    """The task runner asked for, or else of the settings. Raises InputError when its package is not installed."""
    settings = get_settings()
    kind, num_workers = kind or settings.task_runner, num_workers or settings.num_workers
    num_threads = settings.torch_threads or max(1, num_cpus() // num_workers)
    return Workers(_opener(kind, num_workers, num_threads), num_workers, num_threads)


def _opener(kind: str, num_workers: int, num_threads: int) -> Callable[[], TaskRunner[Any]]:
    if kind == "threads":
        return lambda: ThreadPoolTaskRunner(max_workers=num_workers)
    start = WorkerStart(num_threads, current_log(), None if kind == "ray" else os.getpid())
    if kind == "processes":
        return lambda: ProcessWorkers(num_workers, start)
    try:
        if kind == "dask":
            from flows.runners.dask_workers import DaskWorkers

            return lambda: DaskWorkers(num_workers, start)
        from flows.runners.ray_workers import RayWorkers

        return lambda: RayWorkers(num_workers, start)
    except ImportError as error:
        raise InputError(
            f"The task runner {kind!r} needs more packages ({error}): pip install 'dubflow[{kind}]'. Or choose threads or processes."
        ) from error
