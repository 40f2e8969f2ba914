"""Runs a step for many calls: as many at a time as there are workers, errors left in their outcomes, dead workers made good."""

import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from prefect import Task
from prefect.futures import PrefectFuture

from flows.run import progress
from flows.runners.step_runs import Done
from flows.runners.task_runner import Workers, is_worker_death
from infra.errors import DubflowError, InputError, OurTroubleError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """One run of a step: its arguments, and how much work it is."""

    arguments: dict[str, Any]
    num_units: float = 1.0  # frames of faces, or megapixels of frames: what its time grows with

    @property
    def about(self) -> str:
        return progress.describe_call(self.arguments)


@dataclass(frozen=True)
class Job:
    """A call, and the step that it is a call of."""

    step: Task
    call: Call


@dataclass(frozen=True)
class Outcome:
    """A call's end: done, or the error that is left after retries."""

    call: Call
    done: Done | None
    error: Exception | None

    @property
    def result(self) -> Any:
        assert self.done is not None
        return self.done.result


Batch = tuple[Task, Sequence[Call]]  # a step, and all its calls


def run_all(workers: Workers, step: Task, calls: Sequence[Call], check: Callable[[], None] = lambda: None) -> list[Outcome]:
    """Run a step for every call; outcomes in the order of the calls. check: called after each; what it raises ends the run.

    Calls whose worker process dies are run again, one at a time: the one that kills its worker again has failed, the others were only beside it.
    Raises InputError at once (the rest is cancelled with the runner). Every other error is left in its outcome.
    """
    return run_together(workers, [(step, calls)], check)[0]


def run_together(workers: Workers, batches: Sequence[Batch], check: Callable[[], None] = lambda: None) -> list[list[Outcome]]:
    """As run_all(), for steps that need nothing of each other: workers that have no call of the first left to begin take the next one's."""
    jobs = [Job(step, call) for step, calls in batches for call in calls]
    to_begin = {step.name: progress.StageBegan(step.name, len(calls), sum(call.num_units for call in calls)) for step, calls in batches}
    for step, calls in batches:
        if not calls:
            progress.tell(to_begin.pop(step.name))
            progress.tell(progress.StageEnded(step.name))
    outcomes: dict[int, Outcome] = {}
    num_left = Counter(job.step.name for job in jobs)

    def begins(index: int, num_under_way: int) -> bool:
        """Whether a call may be handed over now. A step's first waits for a worker that is idle: until then it would only be said to have begun."""
        name = jobs[index].step.name
        if num_under_way >= (workers.num_workers if name in to_begin else workers.num_at_once):
            return False
        if name in to_begin:
            progress.tell(to_begin.pop(name))
        return True

    def settle(index: int, value: Any) -> None:
        name = jobs[index].step.name
        outcomes[index] = _settled(jobs[index], value)
        num_left[name] -= 1
        if not num_left[name]:
            progress.tell(progress.StageEnded(name))

    waiting = deque(range(len(jobs)))
    while waiting:
        lost = []
        for index, value in _until_a_worker_dies(workers, jobs, waiting, begins):
            if is_worker_death(value):
                lost.append(index)
            else:
                settle(index, value)
            check()
        if lost:
            workers.mend()
        for index in sorted(lost):
            settle(index, _again_alone(workers, jobs[index]))
    ended = iter(outcomes[index] for index in range(len(jobs)))
    return [list(itertools.islice(ended, len(calls))) for _, calls in batches]


def run_one(workers: Workers, step: Task, call: Call) -> Any:
    """Run a step once and give its result; raises its error."""
    return results_of(run_all(workers, step, [call]))[0]


def results_of(outcomes: Iterable[Outcome]) -> list[Any]:
    """The results, or the first error: for steps that nothing can stand in for."""
    outcomes = list(outcomes)
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.result for outcome in outcomes]


def refuse_all_failed(stage: str, num_calls: int, errors: Sequence[Exception]) -> None:
    """One bad shot never costs an episode; but when every one of several fails, it is not the shots. Raises OurTroubleError."""
    if num_calls > 1 and len(errors) == num_calls:
        raise OurTroubleError(f"All {num_calls} shots failed at {stage}, so the trouble is not in them. The first: {errors[0]}") from errors[0]


def _until_a_worker_dies(workers: Workers, jobs: Sequence[Job], waiting: deque[int], begins: Callable[[int, int], bool]) -> Iterator[tuple[int, Any]]:
    """(index, result or error) as they end. Once a worker has died nothing more is taken from `waiting`; what is under way is waited for."""
    under_way: dict[PrefectFuture, int] = {}
    ended: SimpleQueue[PrefectFuture] = SimpleQueue()
    has_died = False
    while under_way or (waiting and not has_died):
        while waiting and not has_died and begins(waiting[0], len(under_way)):
            index = waiting.popleft()
            future = workers.submit(jobs[index].step, jobs[index].call.arguments)
            under_way[future] = index
            future.add_done_callback(ended.put)
        future = ended.get()
        value = _value_of(future)
        has_died = has_died or is_worker_death(value)
        yield under_way.pop(future), value


def _again_alone(workers: Workers, job: Job) -> Any:
    named = f"{job.step.name} {job.call.about}"
    logger.warning("a worker process died during %s; it is run again by itself", named)
    progress.tell(progress.Said(f"a worker process died during {named}; another one does it again", is_warning=True))
    value = _value_of(workers.submit(job.step, job.call.arguments))
    if not is_worker_death(value):
        return value
    workers.mend()
    return OurTroubleError(f"its worker process died, with no other beside it: out of memory, or a fault in a library ({value})")


def _value_of(future: PrefectFuture) -> Any:
    """What a call gives in the end, or its error: the step's own, or that of a worker that died."""
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:
        return error


def _settled(job: Job, value: Any) -> Outcome:
    outcome = _outcome(job.call, value)
    seconds = outcome.done.seconds if outcome.done else 0.0
    was_reused = outcome.done is not None and outcome.done.was_reused
    progress.tell(progress.Ended(job.step.name, job.call.about, job.call.num_units, seconds, was_reused, str(outcome.error) if outcome.error else ""))
    return outcome


def _outcome(call: Call, value: Any) -> Outcome:
    if isinstance(value, InputError):
        raise value
    if isinstance(value, DubflowError):
        return Outcome(call, None, value)
    if isinstance(value, BaseException):
        if not isinstance(value, Exception):
            raise value
        trouble = OurTroubleError(f"{type(value).__name__}: {value}")
        trouble.__cause__ = value
        return Outcome(call, None, trouble)
    return Outcome(call, value, None)
