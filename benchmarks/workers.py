"""How much a second worker adds: equal episodes on one of Prefect's workers, then on two, each with a processor of its own and one thread.

    python -m benchmarks.workers FOLDER [--episodes 4] [--rounds 1] [--json FILE] [--record]

FOLDER holds film.mp4 and dub.wav. Every episode is the same film under another title, so the same work and nothing in common to be found again.
Server and coordinator are not held to a processor: what they take is taken from the workers, as it would be. Rounds go there and back (1 2, 2 1),
so that a machine that gets slower or faster favours neither.
"""

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.records import add_options, keep
from flows.run.local_server import serving
from infra import ffmpeg

ONE_THREAD = {"DUBFLOW_NUM_WORKERS": "1", "DUBFLOW_TORCH_THREADS": "1", "OMP_NUM_THREADS": "1"}
START_TIMEOUT_S = FFMPEG_TIMEOUT_S = 120.0


def make_season(folder: Path, into: Path, num_episodes: int) -> Path:
    """A table of episodes whose films differ in their title alone."""
    into.mkdir()
    rows = []
    for number in range(num_episodes):
        film = into / f"film-{number}.mp4"
        source = ["-i", str(folder / "film.mp4"), "-map", "0", "-c", "copy"]
        ffmpeg.run([*source, "-metadata", f"title=Episode {number}", str(film)], timeout_s=FFMPEG_TIMEOUT_S)
        rows.append((f"episode-{number}", film.name, "en", "dub.wav"))
    shutil.copyfile(folder / "dub.wav", into / "dub.wav")
    table = into / "season.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("episode", "film", "language", "track"), *rows])
    return table


@dataclass(frozen=True)
class Season:
    """One season: seconds from command to last episode, and processor seconds of what took part, from its own start to its end."""

    seconds: float
    coordinator_s: float
    workers_s: float
    server_s: float


def run_season(table: Path, folder: Path, processors: list[int]) -> Season:
    """`dub season` on a fresh server with one waiting worker per processor. Raises where it fails."""
    took_s: dict[str, float] = {}
    os.environ["PREFECT_HOME"] = str(folder / "home")  # the server's database, too: nothing that an earlier run left is found there
    with _timed(took_s, "all"), serving(folder / "server") as server, _timed(took_s, "workers"), ExitStack() as stack:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DUBFLOW_"))}
        environment |= ONE_THREAD | {"PREFECT_API_URL": server.url(), "PREFECT_HOME": str(folder / "home")}
        environment |= {"DUBFLOW_ARTIFACTS": str(folder / "artifacts"), "PREFECT_WORKER_QUERY_SECONDS": "1"}
        with _timed(took_s, "deploy"):
            _dubflow(environment | {"DUBFLOW_WORK_FOLDER": str(folder / "coordinator")}, "deploy")
        for processor in processors:
            stack.enter_context(_worker(folder, environment, processor))
        started = time.perf_counter()
        words = ["season", str(table), "--out", str(folder / "out"), "--on", "workers", "--work", str(folder / "coordinator")]
        with _timed(took_s, "coordinator"):
            _dubflow(environment | {"DUBFLOW_WORK_FOLDER": str(folder / "coordinator")}, *words)
        seconds = time.perf_counter() - started
    workers_s = took_s["workers"] - took_s["deploy"] - took_s["coordinator"]
    return Season(seconds, took_s["coordinator"], workers_s, took_s["all"] - took_s["workers"])


@contextmanager
def _timed(took_s: dict[str, float], name: str) -> Iterator[None]:
    """Keep the processor seconds of the processes that were waited for meanwhile, with all they started."""
    before = os.times()
    yield
    after = os.times()
    took_s[name] = after.children_user + after.children_system - before.children_user - before.children_system


def _dubflow(environment: dict[str, str], *words: str) -> None:
    subprocess.run([sys.executable, "-m", "flows.cli", *words], env=environment, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def _worker(folder: Path, environment: dict[str, str], processor: int) -> Iterator[None]:
    """A worker that takes one run at a time, it and all it starts on this processor; waited for until it is ready."""
    name = f"worker-{processor}"
    words = ["taskset", "-c", str(processor), sys.executable, "-m", "prefect", "--no-prompt", "worker", "start"]
    words += ["--pool", "dubflow", "--name", name, "--limit", "1"]
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(words, env=environment | {"DUBFLOW_WORK_FOLDER": str(folder / name)}, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while b"started!" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def benchmark(folder: Path, num_episodes: int, num_rounds: int) -> dict:
    """Figures as JSON values: seconds with one worker and with two, one after the other in every round."""
    processors = sorted(os.sched_getaffinity(0))[:2]
    if len(processors) < 2:
        raise SystemExit("Two workers need two processors; this process may use one.")
    seasons: dict[int, list[Season]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="dubflow-workers-") as name:
        table = make_season(folder, Path(name, "season"), num_episodes)
        for number in range(num_rounds):
            for num_used in (1, 2) if number % 2 == 0 else (2, 1):
                here = Path(name, f"{number}-{num_used}")
                here.mkdir()
                seasons[num_used].append(run_season(table, here, processors[:num_used]))
                print(f"{num_used} at work: {seasons[num_used][-1]}", flush=True)
                shutil.rmtree(here)
    ratios = [one.seconds / two.seconds for one, two in zip(seasons[1], seasons[2], strict=True)]
    return {
        "machine": describe_machine(),
        "num_episodes": num_episodes,
        "one_worker": [asdict(season) for season in seasons[1]],
        "two_workers": [asdict(season) for season in seasons[2]],
        "times_as_fast_by_round": [round(ratio, 3) for ratio in ratios],
        "times_as_fast": round(statistics.geometric_mean(ratios), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    add_options(parser)
    options = parser.parse_args()
    figures = benchmark(options.folder, options.episodes, options.rounds)
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")
    keep(options, "workers", figures)


if __name__ == "__main__":
    main()
