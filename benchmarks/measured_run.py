"""One dub in a process of its own, with what it took: seconds per stage, and memory of the process and of all it started."""

import multiprocessing
import os
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.machine import MemoryWatch
from infra import settings
from tasks.types import DubRequest


@dataclass(frozen=True)
class Stage:
    """wall_s: from its begin to its end; work_s: summed over its calls, which run side by side; cpu_s: processor time of the whole process and of
    the programs it ran; calls_s: each call's own seconds, in the order they ended."""

    wall_s: float
    work_s: float
    num_calls: int
    cpu_s: float = 0.0
    calls_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A run's figures. Memory: see MemoryWatch."""

    total_s: float
    stages: dict[str, Stage]
    peak_process_mib: float
    peak_tree_mib: float
    num_decoded: dict[str, int]  # frames, by file; those that other processes decode are missing


@dataclass
class Stopwatch:
    """A progress listener that adds up seconds."""

    wall_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    work_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    num_calls: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    cpu_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    begun: dict[str, tuple[float, float]] = field(default_factory=dict)

    def hear(self, event) -> None:
        from flows.run import progress

        if isinstance(event, progress.StageBegan):
            self.begun[event.stage] = (time.monotonic(), _cpu_s())
        elif isinstance(event, progress.StageEnded):
            wall_s, cpu_s = self.begun.pop(event.stage)
            self.wall_s[event.stage] += time.monotonic() - wall_s
            self.cpu_s[event.stage] += _cpu_s() - cpu_s
        elif isinstance(event, progress.Ended):
            self.work_s[event.stage] += event.seconds
            self.num_calls[event.stage] += 1
            self.calls_s[event.stage].append(round(event.seconds, 3))


def measure(request: DubRequest) -> Measured:
    """Dub in a fresh process, which starts from nothing, and measure it. Raises RuntimeError when it fails; its own messages are on stderr."""
    settings.ask_for_large_pages()  # as `dub` does, before anything is imported
    settings.apply_environment()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_dub, args=(request, theirs))
    process.start()
    theirs.close()
    assert process.pid is not None
    with MemoryWatch(process.pid) as memory:
        try:
            total_s, stages, num_decoded = ours.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"the run failed with exit code {process.exitcode}") from None
    process.join()
    measured = {name: Stage(**figures) for name, figures in stages.items()}
    return Measured(total_s, measured, memory.peak_process_mib, memory.peak_tree_mib, num_decoded)


def _dub(request: DubRequest, results: Connection) -> None:
    from infra import decoded_frames

    settings.apply_environment()
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.dub_episode import dub_episode
    from flows.run import progress
    from flows.run.local_server import send_what_is_queued, serving_unless_configured
    from infra.loading import load_late_modules

    stopwatch, started = Stopwatch(), time.monotonic()
    assert request.work is not None
    with ExitStack() as stack:
        server = stack.enter_context(serving_unless_configured(Path(request.work)))
        if server is not None:
            threading.Thread(target=load_late_modules).start()  # as `dub` does
            stack.enter_context(temporary_settings({PREFECT_API_URL: server.url()}))
            stack.callback(send_what_is_queued)
        stack.enter_context(progress.listening(stopwatch))
        stopwatch.wall_s["start"], stopwatch.cpu_s["start"] = time.monotonic() - started, _cpu_s()
        dub_episode(request)
    stages = {name: asdict(_stage(stopwatch, name)) for name in stopwatch.wall_s}
    results.send((round(time.monotonic() - started, 2), stages, decoded_frames.counts()))


def _stage(stopwatch: Stopwatch, name: str) -> Stage:
    work_s, cpu_s = round(stopwatch.work_s[name], 2), round(stopwatch.cpu_s[name], 2)
    return Stage(round(stopwatch.wall_s[name], 2), work_s, stopwatch.num_calls[name], cpu_s, tuple(stopwatch.calls_s[name]))


def _cpu_s() -> float:
    """Processor seconds of this process so far, and of the programs it ran that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
