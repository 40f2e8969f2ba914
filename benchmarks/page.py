"""A page that plots the kept figures of the benchmarks over commits, with what was promised.

    python -m benchmarks.page [--kept FOLDER] [--out benchmarks.html]

Points taken on different machines have different colours: only points of one colour compare.
"""

import argparse
import html
import io
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.records import KEPT, read_all

matplotlib.use("Agg")


@dataclass(frozen=True)
class Tracked:
    """A figure to follow: where it stands in its benchmark's figures, in words, and what was promised (None: nothing yet)."""

    benchmark: str
    where: str
    words: str
    promised: float | None = None
    is_more_better: bool = False


TRACKED = (
    Tracked("episode", "real_time_factor", "seconds per second of film, whole dub", 1.0),
    Tracked("episode", "decoded_per_film_frame", "frames decoded per frame of film", 2.2),
    Tracked("episode", "peak_tree_mib", "MiB with all it started"),
    Tracked("generator_speed", "ratio/width 1/bf16", "bf16 frames per second / eager float32, width 1", 6.0, True),
    Tracked("generator_speed", "ratio/width 1/int8", "int8 frames per second / eager float32, width 1", 9.0, True),
    Tracked("generator_speed", "ratio/bundled/bf16", "bf16 frames per second / eager float32, bundled", 6.0, True),
    Tracked("generator_speed", "ratio/bundled/int8", "int8 frames per second / eager float32, bundled", 9.0, True),
    Tracked("naive", "ratio/processor/same detector", "processor seconds, plain procedure / ours, same detector", 8.0, True),
    Tracked("naive", "ratio/processor/without detection", "processor seconds, plain procedure / ours, no detection", 5.0, True),
    Tracked("naive", "ratio/processor/published detector", "processor seconds, published procedure / ours", 60.0, True),
    Tracked("memory", "ratios/none", "peak memory, longest film / shortest", 1.1),
    Tracked("orchestration", "share", "share of time that is no work", 0.03),
    Tracked("plan", "times_real_time", "seconds of film planned per second", 20.0, True),
    Tracked("workers", "times_as_fast", "a season on two workers, times as fast as on one", 1.85, True),
    Tracked("start", "help_s", "seconds of `dub --help`", 0.4),
)


def points_of(tracked: Tracked, runs: list[dict]) -> list[tuple[str, str, float]]:
    """(commit, machine, value) of every kept run that holds the figure, oldest first."""
    found = []
    for run in runs:
        if run["benchmark"] != tracked.benchmark:
            continue
        value = reduce(lambda table, name: table.get(name) if isinstance(table, dict) else None, tracked.where.split("/"), run["figures"])
        if isinstance(value, int | float):
            machine = run["figures"].get("machine", {})
            found.append((run["commit"] + "+" * run["changed"], f"{machine.get('processor')}, {machine.get('num_cores')} cores", float(value)))
    return found


def plot(tracked: Tracked, points: list[tuple[str, str, float]]) -> str:
    """An SVG of one figure."""
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    axes = figure.subplots()
    for machine in dict.fromkeys(machine for _, machine, _ in points):
        own = [(i, value) for i, (_, of, value) in enumerate(points) if of == machine]
        axes.plot(*zip(*own, strict=True), "o-", label=machine)
    if tracked.promised is not None:
        axes.axhline(
            tracked.promised, linestyle="--", color="grey", label=f"{'at least' if tracked.is_more_better else 'at most'} {tracked.promised:g}"
        )
    axes.set_xticks(range(len(points)), [commit[:8] for commit, _, _ in points], rotation=30, fontsize=7)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7)
    out = io.StringIO()
    figure.savefig(out, format="svg")
    return out.getvalue()[out.getvalue().index("<svg") :]


def page(runs: list[dict]) -> str:
    """The page as HTML: a section per figure, the newest value in words, the figures that nobody has kept yet at the end."""
    sections, missing = [], []
    for tracked in TRACKED:
        points = points_of(tracked, runs)
        if not points:
            missing.append(f"<li>{html.escape(f'{tracked.benchmark}: {tracked.words}')}</li>")
            continue
        newest = f"{points[-1][2]:g} at {points[-1][0]}" + ("" if tracked.promised is None else f"; promised: {tracked.promised:g}")
        sections.append(f"<h2>{html.escape(f'{tracked.benchmark}: {tracked.words}')}</h2><p>{html.escape(newest)}</p>{plot(tracked, points)}")
    nothing_yet = f"<h2>Not kept yet</h2><ul>{''.join(missing)}</ul>" if missing else ""
    style = "body{font:15px system-ui;margin:2em auto;max-width:46em}h2{font-size:1em;margin-bottom:0}p{margin:.2em 0}svg{max-width:100%;height:auto}"
    head = f"<!doctype html><meta charset=utf-8><title>dubflow: benchmarks</title><style>{style}</style><h1>Benchmarks</h1>"
    return head + "".join(sections) + nothing_yet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--out", type=Path, default=Path("benchmarks.html"))
    options = parser.parse_args()
    runs = read_all(options.kept)
    options.out.write_text(page(runs), encoding="utf-8")
    print(f"{options.out}: {len(runs)} runs")


if __name__ == "__main__":
    main()
