"""The learning curves of a run as one picture: losses, shares, and what people kept aside say."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infra.durable import publish
from infra.scratch import new_scratch_name

matplotlib.use("Agg")

_NOT_DRAWN = {"step", "progress", "seconds"}
_LOSSES = {"loss", "l1", "sync", "adversarial", "discriminator"}
_SETTINGS = {"rate", "scale", "sync_weight", "gan_weight"}
_SMOOTHING = 0.02  # of a run's rows


def draw_curves(rows: list[dict], path: Path, title: str) -> Path:
    """PNG of the log's rows: losses of training and (`validation_...`) of people kept aside, shares picked right, the schedule, and the figures of
    the model in use on people kept aside."""
    series = _series(rows)
    losses = {name: points for name, points in series.items() if name.removeprefix("validation_") in _LOSSES}
    settings = {name: points for name, points in series.items() if name in _SETTINGS}
    held_out = {name: points for name, points in series.items() if name.startswith("held_out.")}
    rest = {name: points for name, points in series.items() if name not in losses.keys() | settings.keys() | held_out.keys()}
    named = {"loss": losses, "share right": rest, "people kept aside": held_out, "schedule": settings}
    panels = [(name, panel) for name, panel in named.items() if panel]
    figure = Figure(figsize=(7, 3.2 * max(1, len(panels))), layout="constrained")
    figure.suptitle(title)
    for axes, (name, panel) in zip(np.atleast_1d(figure.subplots(max(1, len(panels)), sharex=True)), panels, strict=False):
        _draw(axes, name, panel)
    temporary = path.with_name(new_scratch_name())
    figure.savefig(temporary, format="png", dpi=110)
    publish(temporary, path)
    return path


def _series(rows: list[dict]) -> dict[str, tuple[list[int], list[float]]]:
    series: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        flat = {name: value for name, value in row.items() if isinstance(value, (int, float))}
        flat |= {f"held_out.{name}": figure["value"] for name, figure in row.get("held_out", {}).items() if isinstance(figure, dict)}
        for name, value in flat.items():
            if name not in _NOT_DRAWN:
                steps, values = series.setdefault(name, ([], []))
                steps.append(row["step"])
                values.append(value)
    return series


def _draw(axes: Axes, name: str, panel: dict[str, tuple[list[int], list[float]]]) -> None:
    for label, (steps, values) in sorted(panel.items()):
        is_sparse = label.startswith(("validation_", "held_out."))
        (line,) = axes.plot(steps, values, "o-" if is_sparse else "-", markersize=3, linewidth=1, alpha=1 if is_sparse else 0.3)
        smooth = values if is_sparse else _smoothed(values)
        axes.plot(steps, smooth, color=line.get_color(), linewidth=1.5, label=label.removeprefix("held_out."))
    if name == "people kept aside":
        axes.set_yscale("symlog", linthresh=1)
    axes.set_ylabel(name)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2)


def _smoothed(values: list[float]) -> np.ndarray:
    """Mean of the rows around each one."""
    reach = max(1, round(len(values) * _SMOOTHING))
    sums = np.cumsum([0.0, *values])
    index = np.arange(len(values))
    first, end = np.maximum(0, index - reach), np.minimum(len(values), index + reach + 1)
    return (sums[end] - sums[first]) / (end - first)
