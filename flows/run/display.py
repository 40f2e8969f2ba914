"""Shows a run to people: a live per-stage, per-shot view on a terminal, plain lines in a pipe."""

import threading
import time
from types import TracebackType
from typing import Protocol, TextIO

from flows.run.forecast import Forecast, in_words
from flows.run.progress import STAGES, Ended, Event, Foreseen, Listener, RowsChanged, Said, StageBegan, StageEnded

MOST_RUNNING_SHOWN = 8


class Display(Listener, Protocol):
    def __enter__(self) -> "Display": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def open_display(forecast: Forecast, stream: TextIO) -> Display:
    """The display that fits the stream."""
    return LiveDisplay(forecast, stream) if stream.isatty() else PlainDisplay(forecast, stream)


class PlainDisplay:
    """One line per step that ended, with the remaining time at the end of each stage."""

    def __init__(self, forecast: Forecast, stream: TextIO) -> None:
        self._forecast, self._stream = forecast, stream
        self._counts: dict[str, list[int]] = {}
        self._reused: dict[str, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "PlainDisplay":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.flush()

    def hear(self, event: Event) -> None:
        self._forecast.hear(event)
        with self._lock:
            for line in self._lines(event):
                self._stream.write(f"{time.strftime('%H:%M:%S')} {line}\n")
            self._stream.flush()

    def _lines(self, event: Event) -> list[str]:
        if isinstance(event, Said):
            return [f"{'warning: ' if event.is_warning else ''}{event.text}"]
        if isinstance(event, StageBegan):
            self._counts[event.stage] = [0, event.num_calls]
            return []
        if isinstance(event, Ended):
            counts = self._counts.setdefault(event.stage, [0, 1])
            counts[0] += 1
            self._reused[event.stage] = self._reused.get(event.stage, 0) + event.was_reused
            return [f"{event.stage} {counts[0]}/{counts[1]} {event.about}".rstrip() + f": {_how_it_ended(event)}"]
        if isinstance(event, StageEnded) and self._counts.get(event.stage, [0, 0])[1] > 1:
            counts = self._counts[event.stage]
            left = _left_in_words(self._forecast)
            return [f"{event.stage}: {counts[0]} done, {self._reused.get(event.stage, 0)} of them found finished{f'; {left}' if left else ''}"]
        return []


class LiveDisplay:
    """A table of stages with what runs now, redrawn four times a second."""

    def __init__(self, forecast: Forecast, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._forecast = forecast
        self._console = Console(file=stream)
        self._started = time.monotonic()
        self._stages: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=False)

    def __enter__(self) -> "LiveDisplay":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def hear(self, event: Event) -> None:
        self._forecast.hear(event)
        if isinstance(event, Said):
            from rich.text import Text

            self._console.print(Text(event.text, style="yellow" if event.is_warning else ""))
            return
        if isinstance(event, RowsChanged):
            return
        with self._lock:
            stage = self._stages.setdefault(event.stage, {"total": 0, "done": 0, "reused": 0, "failed": 0, "began": 0, "over": 0})
            if isinstance(event, Foreseen | StageBegan):
                stage["total"] = event.num_calls
            if isinstance(event, StageBegan):
                stage["began"] = time.monotonic()
            elif isinstance(event, Ended):
                stage["done"] += 1
                stage["reused"] += event.was_reused
                stage["failed"] += bool(event.trouble)
            elif isinstance(event, StageEnded):
                stage["over"] = time.monotonic()

    def _render(self):
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        with self._lock:
            for name in (*(stage for stage in STAGES if stage in self._stages), *(stage for stage in self._stages if stage not in STAGES)):
                stage = self._stages[name]
                end = stage["over"] or time.monotonic()
                elapsed = in_words(end - stage["began"]) if stage["began"] else ""
                notes = [f"{stage['reused']:.0f} found finished"] if stage["reused"] else []
                notes += [f"{stage['failed']:.0f} failed"] if stage["failed"] else []
                about = "" if not stage["began"] else f"{stage['done']:.0f}/{stage['total']:.0f}"
                bar = ProgressBar(total=max(1, stage["total"]), completed=stage["total"] if stage["over"] else stage["done"], width=24)
                grid.add_row(
                    Text(name, style="green" if stage["over"] else "bold" if stage["began"] else "dim"), bar, about, elapsed, ", ".join(notes)
                )
        running = [f"  {stage} {about}  {in_words(seconds)}" for stage, about, seconds in self._forecast.running()[:MOST_RUNNING_SHOWN]]
        clock = f"{in_words(time.monotonic() - self._started)} so far"
        left = _left_in_words(self._forecast)
        return Group(grid, Text("\n".join(running), style="dim"), Text(f"{clock}; {left}" if left else clock))


def _how_it_ended(event: Ended) -> str:
    if event.trouble:
        return f"failed: {event.trouble}"
    return "found finished" if event.was_reused else f"{event.seconds:.1f} s"


def _left_in_words(forecast: Forecast) -> str:
    left = forecast.remaining_s()
    if left is None:
        return ""
    seconds, is_measured = left
    return f"about {in_words(seconds)} left" if is_measured else f"{in_words(seconds)} left as a first guess (this machine is not measured yet)"
