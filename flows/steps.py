"""The steps as Prefect tasks: named after their shot, retried when the trouble may pass, run on the task runner of choice."""

import functools
import inspect
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows import progress
from flows.log_file import continue_log, current_log
from flows.retry_take import retry_take
from infra.artifacts import ArtifactStore
from infra.errors import DubflowError, InputError, OurTroubleError, TransientError
from infra.settings import get_settings
from infra.storage import Storage
from tasks import (
    assemble_episode,
    check_take,
    choose_speaker,
    hand_over,
    inspect_film,
    judge_episode,
    judge_shot,
    make_previews,
    prepare_stem,
    render_reel,
    split_shots,
    sync_lips,
    track_faces,
    write_report,
)

RETRY_DELAYS_S = [1.0, 5.0]


@dataclass(frozen=True)
class TallyStore(ArtifactStore):
    """An artifact store that notes, for one step run, what was made and what was found."""

    tally: Counter = field(default_factory=Counter, compare=False)

    def get_or_make(self, step, version, inputs, record_type, make):
        made = []

        def make_and_note():
            made.append(step)
            return make()

        record = super().get_or_make(step, version, inputs, record_type, make_and_note)
        self.tally[step, "made" if made else "reused"] += 1
        return record


@dataclass(frozen=True)
class Done:
    """What one step run gave: its result, how long it took, and what it made or found in the store."""

    result: Any
    seconds: float
    tally: Counter

    @property
    def was_reused(self) -> bool:
        return bool(self.tally) and not any(kind == "made" for _, kind in self.tally)


@dataclass(frozen=True)
class Call:
    """One run of a step: its arguments, and how much work it is."""

    arguments: dict[str, Any]
    num_units: float = 1.0  # frames of faces, or megapixels of frames: what its time grows with

    @property
    def about(self) -> str:
        return progress.describe_call(self.arguments)


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


def as_task(step: Callable, name: str, run_name: str) -> Task:
    """A step function as a Prefect task. run_name may hold `{shot.name}` and the like, filled from its arguments."""
    return Task(
        _observed(step, name),
        name=name,
        task_run_name=run_name,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_condition_fn=may_pass,
        cache_policy=NO_CACHE,  # infra.artifacts is the one memory
        persist_result=False,
    )


def may_pass(_task: Task, _task_run: Any, state: Any) -> bool:
    """Whether another try makes sense: only for TransientError."""
    return is_worth_retrying(state.data)


def is_worth_retrying(error: object) -> bool:
    """Whether the trouble may pass by itself."""
    return isinstance(error, TransientError)


def _observed(step: Callable[..., Any], name: str) -> Callable[..., Done]:
    @functools.wraps(step)
    def run(*args, **kwargs):
        bound = inspect.signature(step).bind(*args, **kwargs)
        store = bound.arguments.get("store")
        watched = TallyStore(store.root) if isinstance(store, ArtifactStore) else None
        if watched is not None:
            bound.arguments["store"] = watched
        progress.tell(progress.Began(name, progress.describe_call(bound.arguments)))
        started = time.monotonic()
        result = step(*bound.args, **bound.kwargs)
        return Done(result, time.monotonic() - started, watched.tally if watched else Counter())

    return run


INSPECT = as_task(inspect_film.inspect_film, "inspect", "inspect film")
ORIGINAL = as_task(prepare_stem.prepare_original, "original", "original dialogue")
STEM = as_task(prepare_stem.prepare_stem, "stems", "dub {language}")
SHOTS = as_task(split_shots.split_shots, "shots", "split shots")
FACES = as_task(track_faces.track_faces, "faces", "faces {shot.name}")
CAST = as_task(choose_speaker.cast_shot, "casting", "cast {shot.name}")
SYNC = as_task(sync_lips.sync_lips, "sync", "sync {shot.name} {dub.language}")
JUDGE = as_task(judge_shot.judge_shot, "judge", "judge {shot.name} {dub.language}")
CHECK = as_task(check_take.check_take, "check", "check {shot.name} {patches.language}")
GROUND = as_task(judge_episode.study_ground, "self-test", "self-test {language}")
RETRY = as_task(retry_take, "retry", "retry {shot.name} {dub.language} {settings.rung}")
VERDICTS = as_task(judge_episode.judge_episode, "verdicts", "verdicts {language}")
REEL = as_task(render_reel.render_reel, "reels", "reel {first}-{end} {language}")
ASSEMBLE = as_task(assemble_episode.assemble_episode, "assemble", "assemble {language}")
PREVIEW = as_task(make_previews.make_preview, "previews", "preview {shot.name} {dub.language}")
REPORT = as_task(write_report.write_report, "report", "write report")
HAND_OVER = as_task(hand_over.hand_over, "hand-over", "hand over")


def put_file(storage: Storage, path: Path, key: str) -> None:
    """Put one finished file in its place; it appears there whole or not at all."""
    storage.put(path, key)


def put_files(storage: Storage, paths: dict[str, Path], first_key: str) -> None:
    """Put many small files in their places: key -> local path."""
    for key, path in paths.items():
        storage.put(path, key)


PUBLISH = as_task(put_file, "publish", "publish {key}")
PUBLISH_MEDIA = as_task(put_files, "media", "publish {first_key} and more")
MANIFEST = as_task(put_file, "manifest", "publish {key}")


def run_all(runner: TaskRunner, step: Task, calls: Sequence[Call]) -> list[Outcome]:
    """Run a step for every call, as many at a time as the runner has workers; outcomes in the order of the calls.

    Raises InputError at once (the rest is cancelled with the runner). Every other error is left in its outcome.
    """
    progress.tell(progress.StageBegan(step.name, len(calls), sum(call.num_units for call in calls)))
    futures: dict[PrefectFuture, int] = {runner.submit(step, parameters=call.arguments): index for index, call in enumerate(calls)}
    outcomes: dict[int, Outcome] = {}
    for future in as_completed(list(futures)):
        index = futures[future]
        outcomes[index] = _outcome(calls[index], _value_of(future))
        progress.tell(_ended(step.name, outcomes[index]))
    progress.tell(progress.StageEnded(step.name))
    return [outcomes[index] for index in range(len(calls))]


def run_one(runner: TaskRunner, step: Task, call: Call) -> Any:
    """Run a step once and give its result; raises its error."""
    return results_of(run_all(runner, step, [call]))[0]


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


def _value_of(future: PrefectFuture) -> Any:
    """What a finished call gave, or its error: the step's own, or that of a worker that died."""
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:
        return error


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


def _ended(stage: str, outcome: Outcome) -> progress.Ended:
    seconds = outcome.done.seconds if outcome.done else 0.0
    was_reused = outcome.done is not None and outcome.done.was_reused
    return progress.Ended(stage, outcome.call.about, outcome.call.num_units, seconds, was_reused, str(outcome.error) if outcome.error else "")


def make_runner(kind: str | None, num_workers: int | None) -> TaskRunner:
    """The task runner asked for, or else of the settings; always with a bound. Raises InputError when its package is not installed."""
    settings = get_settings()
    kind, num_workers = kind or settings.task_runner, num_workers or settings.num_workers
    if kind == "threads":
        return ThreadPoolTaskRunner(max_workers=num_workers)
    if kind == "processes":
        return ProcessPoolTaskRunner(max_workers=num_workers, initializer=_begin_worker, initargs=(os.getpid(), current_log()))
    try:
        if kind == "dask":
            from prefect_dask import DaskTaskRunner  # pyright: ignore[reportMissingImports]

            return DaskTaskRunner(cluster_kwargs={"n_workers": num_workers, "threads_per_worker": 1})
        from prefect_ray import RayTaskRunner  # pyright: ignore[reportMissingImports]

        return RayTaskRunner(init_kwargs={"num_cpus": num_workers})
    except ImportError as error:
        raise InputError(
            f"The task runner {kind!r} needs more packages ({error}): pip install 'dubflow[{kind}]'. Or choose threads or processes."
        ) from error


def _begin_worker(parent_pid: int, log: Path | None) -> None:
    """In a worker process: its share of the processors, the parent's log; Ctrl-C is the parent's business, and without the parent it ends."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(get_settings().threads_per_worker)
    if log is not None:
        continue_log(log)

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
