"""How fast a film is planned: `dub plan` of a ten-minute film with a cut every two to four seconds, as a command, from nothing.

python -m benchmarks.plan [--minutes 10] [--size 1280x720] [--rounds 1] [--json FILE] [--record]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.memory import make_film
from benchmarks.records import add_options, keep


def plan_s(film: Path, folder: Path) -> tuple[float, float, int]:
    """Wall seconds and processor seconds of the command, with all it started, and how many shots it found."""
    before, started = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", "plan", str(film), "--work", str(folder), "--json"]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    wall_s, after = time.perf_counter() - started, os.times()
    worked_s = after.children_user + after.children_system - before.children_user - before.children_system
    return wall_s, worked_s, len(json.loads(said)["shots"])


def benchmark(minutes: float, size: tuple[int, int], num_rounds: int) -> dict:
    """Figures as JSON values; each round begins with an empty work folder."""
    with tempfile.TemporaryDirectory(prefix="dubflow-plan-") as name:
        film, _ = make_film(Path(name), minutes, "many", size)
        rounds = [plan_s(film, Path(name, f"work-{n}")) for n in range(num_rounds)]
    wall_s, worked_s = (statistics.median(each[i] for each in rounds) for i in (0, 1))
    return {
        "machine": describe_machine(),
        "minutes": minutes,
        "size": size,
        "num_shots": rounds[0][2],
        "wall_s": round(wall_s, 2),
        "processor_s": round(worked_s, 2),
        "times_real_time": round(60 * minutes / wall_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--rounds", type=int, default=1)
    add_options(parser)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    figures = benchmark(options.minutes, (width, height), options.rounds)
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")
    keep(options, "plan", figures)


if __name__ == "__main__":
    main()
