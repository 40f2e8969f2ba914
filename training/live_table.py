"""A run watched: a table that changes in place on a terminal, a line now and then elsewhere, and the curves drawn as they grow."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from training.curves import draw_curves
from training.recipes import Recipe
from training.run_folder import RunFolder

logger = logging.getLogger(__name__)

NUM_SHOWN = 12  # rows
LINES_EVERY = 50  # rows, where there is no terminal


@contextmanager
def watching(recipe: Recipe, run: RunFolder, also: Callable[[dict], None] | None) -> Iterator[Callable[[dict], None]]:
    """A function to be called with every row of the log; `also` gets the row too. Curves are drawn whenever people kept aside were looked at."""
    shown: list[dict] = []
    num_seen = 0
    with Live(console=Console(file=sys.stderr), auto_refresh=False) if sys.stderr.isatty() else _no_live() as live:

        def see(row: dict) -> None:
            nonlocal num_seen
            num_seen += 1
            shown.append(row)
            del shown[:-NUM_SHOWN]
            if live is not None:
                live.update(_table(recipe, shown), refresh=True)
            elif num_seen % LINES_EVERY == 1:
                logger.info("%s step %d of %d: %s", recipe.name, row["step"], recipe.num_steps, _text(row))
            if "held_out" in row:
                draw_curves(run.rows(), run.path / "curves.png", recipe.name)
            if also is not None:
                also(row)

        yield see


@contextmanager
def _no_live() -> Iterator[None]:
    yield None


def _table(recipe: Recipe, rows: list[dict]) -> Table:
    figures = [name for name in rows[-1] if name not in ("step", "progress", "seconds", "held_out")]
    table = Table(title=f"{recipe.name}: {_remaining(rows[-1])}")
    for name in ("step", *figures):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(f"{row['step']}/{recipe.num_steps}", *(f"{row[name]:.4g}" if name in row else "" for name in figures))
    return table


def _text(row: dict) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in row.items() if isinstance(value, float) and name not in ("progress", "seconds"))


def _remaining(row: dict) -> str:
    if not row["progress"]:
        return "just begun"
    return f"{100 * row['progress']:.1f} %, {row['seconds'] / 60:.1f} min so far"
