"""Shows a season to people: a live table of episodes and languages on a terminal, plain lines in a pipe."""

import threading
import time
from collections import Counter
from types import TracebackType
from typing import TextIO

from flows.run.display import Display
from flows.run.forecast import in_words
from flows.run.progress import Event, RowsChanged, Said
from tasks.plain_text import one_line
from tasks.types import SeasonRow

MOST_ROWS_SHOWN = 24
SHOW_PROGRESS_EVERY_S = 30.0
_ORDER = {"running": 0, "failed": 1, "done": 2, "waiting": 3, "skipped": 4}
_STYLES = {"running": "bold", "failed": "red", "done": "green", "waiting": "dim", "skipped": "dim"}


def open_season_display(stream: TextIO) -> Display:
    """The display that fits the stream."""
    return LiveSeason(stream) if stream.isatty() else PlainSeason(stream)


class PlainSeason:
    """A line for every row that begins, ends or fails; how far all is now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows: dict[tuple[str, str], SeasonRow] = {}
        self._shown = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> "PlainSeason":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.flush()

    def hear(self, event: Event) -> None:
        with self._lock:
            for line in self._lines(event):
                self._stream.write(f"{time.strftime('%H:%M:%S')} {line}\n")
            self._stream.flush()

    def _lines(self, event: Event) -> list[str]:
        if isinstance(event, Said):
            return [f"{'warning: ' if event.is_warning else ''}{one_line(event.text)}"]
        if not isinstance(event, RowsChanged):
            return []
        lines = []
        for row in event.rows:
            before = self._rows.get((row.episode_id, row.language))
            self._rows[row.episode_id, row.language] = row
            if before is None or before.state != row.state:
                lines.append(f"{row.episode_id} {row.language}: {how_it_stands(row, was_running=before is not None and before.state == 'running')}")
        if not lines and time.monotonic() - self._shown > SHOW_PROGRESS_EVERY_S:
            running = [row for row in self._rows.values() if row.state == "running"]
            lines = [", ".join(f"{row.episode_id} {row.language} {row.progress:.0%}" for row in running)] if running else []
        if lines:
            self._shown = time.monotonic()
        return lines


class LiveSeason:
    """The table, redrawn four times a second: what runs and what failed first; of many rows the most telling."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream)
        self._started = time.monotonic()
        self._rows: dict[tuple[str, str], SeasonRow] = {}
        self._changed: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=False)

    def __enter__(self) -> "LiveSeason":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def hear(self, event: Event) -> None:
        if isinstance(event, Said):
            from rich.text import Text

            self._console.print(Text(one_line(event.text), style="yellow" if event.is_warning else ""))
        elif isinstance(event, RowsChanged):
            with self._lock:
                for row in event.rows:
                    key = (row.episode_id, row.language)
                    self._rows[key], self._changed[key] = row, time.monotonic()

    def _render(self):
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            rows = sorted(self._rows.items(), key=lambda item: (_ORDER[item[1].state], -self._changed[item[0]]))
        grid = Table("episode", "language", "state", "", "time", "cost", "shots", box=None, pad_edge=False)
        for _, row in rows[:MOST_ROWS_SHOWN]:
            bar = ProgressBar(total=1.0, completed=1.0 if row.state == "done" else row.progress, width=16)
            about = Text(one_line(row.reason)[:80] if row.state == "failed" else qa_in_words(row))
            spent = in_words(row.seconds) if row.seconds else ""
            cost = "" if row.cost is None else f"{row.cost:.2f}"
            grid.add_row(row.episode_id, row.language, Text(row.state, style=_STYLES[row.state]), bar, spent, cost, about)
        counts = Counter(row.state for _, row in rows)
        rest = f"; {len(rows) - MOST_ROWS_SHOWN} rows more" if len(rows) > MOST_ROWS_SHOWN else ""
        said = ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])
        return Group(grid, Text(f"{said}{rest}; {in_words(time.monotonic() - self._started)} so far"))


def how_it_stands(row: SeasonRow, was_running: bool) -> str:
    """One row's state in a sentence."""
    if row.state == "done":
        how = f"done in {in_words(row.seconds)}" if was_running else "was finished before"
        return f"{how}; {qa_in_words(row)}"
    return f"{row.state}: {one_line(row.reason)}" if row.reason else row.state


def qa_in_words(row: SeasonRow) -> str:
    """How the shots came out; empty before they did."""
    if row.num_pass is None:
        return ""
    return f"{row.num_pass} in sync, {row.num_review} to review, {row.num_kept_original} left as they were"
