"""How long people wait for the command itself: `dub --help`, and Python with nothing in it beside it.

python -m benchmarks.start [--rounds 10] [--json FILE] [--record]
"""

import argparse
import statistics
import subprocess
import sys
import time

from benchmarks.machine import describe_machine
from benchmarks.records import add_options, keep

COMMANDS = {"python_s": ["-c", "pass"], "help_s": ["-m", "flows.cli", "--help"], "episode_help_s": ["-m", "flows.cli", "episode", "--help"]}


def wall_s(words: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    add_options(parser)
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds):  # A B C A B C: whatever else the machine does falls on all alike
        for name, words in COMMANDS.items():
            taken[name].append(wall_s(words))
    figures = {"machine": describe_machine()} | {name: round(statistics.median(each), 3) for name, each in taken.items()}
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")
    keep(options, "start", figures)


if __name__ == "__main__":
    main()
