"""How long a season takes on so many machines, and what holds it up: the model of season_model.py with the times of a measured run.

    python -m benchmarks.scaling                               10 x 45 minutes x 5 languages on 1, 8 and 64 GPUs
    python -m benchmarks.scaling --measure FOLDER              film.mp4 and dub.wav with one worker and with two, and what the model says of the two
    python -m benchmarks.scaling --times one-worker.json ...   with what was measured elsewhere

Measured: processor seconds of every stage (per megapixel or per frame of film), how many processors a call keeps busy, the start of a run.
Assumed, because it cannot be measured on a machine without a card: --gpu-speedup and the share of sync and judge that runs on it (NETWORK_SHARE).
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.season_model import GROUP_OF, Call, Episode, Machines, bottlenecks, simulate
from flows.run.forecast import in_words
from tasks.types import BUNDLED_MODEL

MEASURED = Path(__file__).parent / "measured"
ONE_WORKER, TWO_WORKERS = "one-worker.json", "two-workers.json"
MEAN_SHOT_S, LEAST_SHOT_S = 4.0, 0.5
NETWORK_SHARE = {"sync": 0.8, "judge": 0.8, "retry": 0.8}  # assumed: of their processor seconds, those a card takes over
# What a stage's time grows with, and how often it is done. In the order of the flow.
STAGES = {
    "start": ("once", "film"),
    "between": ("once", "film"),
    "inspect": ("pixels", "film"),
    "original": ("frames", "film"),
    "stems": ("frames", "language"),
    "shots": ("pixels", "film"),
    "mix": ("frames", "language"),
    "faces": ("pixels", "shot"),
    "casting": ("frames", "shot"),
    "who": ("frames", "film"),
    "sync": ("frames", "shot and language"),
    "judge": ("frames", "shot and language"),
    "check": ("frames", "shot and language"),
    "self-test": ("frames", "language"),
    "retry": ("frames", "shot and language"),
    "verdicts": ("frames", "language"),
    "reels": ("pixels", "shot and language"),
    "assemble": ("pixels", "language"),
    "previews": ("pixels", "shot and language"),
    "report": ("frames", "film"),
    "hand-over": ("frames", "film"),
}


@dataclass(frozen=True)
class Season:
    """What is to be dubbed; bytes per second of film are those of a mezzanine in, and of a film, its patches and reels out."""

    num_episodes: int = 10
    minutes: float = 45.0
    num_languages: int = 5
    width: int = 1920
    height: int = 1080
    fps: float = 25.0
    film_mbit: float = 50.0
    result_mbit: float = 20.0


@dataclass(frozen=True)
class Place:
    """The machines' kind: processors, calls at a time, the card against one processor, the lines to the store, a task run's cost at the server."""

    num_cores: int = 16
    num_workers: int = 16
    gpu_speedup: float = 50.0
    line_gbit: float = 10.0
    store_gbit: float = 100.0
    task_ms: float = 5.0


def rates_of(measured: dict) -> dict[str, tuple[float, float]]:
    """Stage -> (processor seconds per unit, processors that a call keeps busy). Unit: a megapixel or a frame of film, or once."""
    frames = measured["film"]["num_frames"]
    width, height = measured["film"]["size"]
    amount = {"once": 1.0, "frames": frames, "pixels": frames * width * height / 1e6}
    stages = with_between(measured)
    return {name: (_cpu_s(stages[name]) / amount[unit], _width(stages[name])) for name, (unit, _) in STAGES.items() if name in stages}


def with_between(measured: dict) -> dict[str, dict]:
    """The stages, and what the run took beside them: task runs handed over, the flow's own thinking."""
    stages = measured["stages"]
    rest = max(0.0, measured["total_s"] - sum(stage["wall_s"] for stage in stages.values()))
    return {"start": stages["start"], "between": {"wall_s": rest, "work_s": rest, "num_calls": 1}} | stages


def _cpu_s(stage: dict) -> float:
    """Its processor seconds; where they were not measured, or it waited for others (the server's start), its seconds."""
    return (stage.get("cpu_s") or stage["work_s"]) if stage["num_calls"] else stage["wall_s"]


def _width(stage: dict) -> float:
    return max(1.0, stage.get("cpu_s", 0.0) / stage["work_s"]) if stage["work_s"] else 1.0


def episodes_of(season: Season, place: Place, rates: dict[str, tuple[float, float]], seed: int = 1) -> list[Episode]:
    """Each episode's stages and calls; the cuts fall at random, four seconds apart in the mean."""
    chance = random.Random(seed)
    return [list(_stages(season, place, rates, list(_cut(season.minutes * 60, chance)))) for _ in range(season.num_episodes)]


def _cut(seconds: float, chance: random.Random) -> Iterator[float]:
    while seconds > 0:
        shot = min(seconds, LEAST_SHOT_S + chance.expovariate(1 / (MEAN_SHOT_S - LEAST_SHOT_S)))
        yield shot
        seconds -= shot


def _stages(season: Season, place: Place, rates: dict[str, tuple[float, float]], shots: list[float]) -> Iterator[tuple[str, list[Call]]]:
    seconds, line = season.minutes * 60, place.line_gbit * 1000
    yield "fetch", [Call(store_s=seconds * season.film_mbit / line)]
    for stage, (unit, per) in STAGES.items():
        if stage not in rates:
            continue
        rate, width = rates[stage]
        per_s = {"once": 0.0, "frames": season.fps, "pixels": season.fps * season.width * season.height / 1e6}[unit]
        pieces = shots if "shot" in per else [seconds]
        share = NETWORK_SHARE.get(stage, 0.0) if place.gpu_speedup else 0.0
        calls = []
        for piece in pieces:
            cpu_s = rate * (per_s * piece if per_s else 1.0)
            calls.append(Call(cpu_s * (1 - share), width, cpu_s * share / place.gpu_speedup if share else 0.0))
        yield stage, calls * (season.num_languages if "language" in per else 1)
    yield "publish", [Call(store_s=seconds * season.result_mbit / line)] * season.num_languages


def machines_of(place: Place, num_machines: int, spread: bool) -> Machines:
    return Machines(num_machines, place.num_cores, place.num_workers, place.store_gbit / place.line_gbit, place.task_ms / 1000, spread)


def replay(measured: dict) -> Episode:
    """The measured run itself: every call with its share of its stage's processor seconds."""
    stages = []
    for name, stage in with_between(measured).items():
        calls_s = stage.get("calls_s") or [stage["work_s"] or stage["wall_s"]]
        scale = _cpu_s(stage) / (sum(calls_s) or 1.0)
        stages.append((name, [Call(seconds * scale, _width(stage)) for seconds in calls_s]))
    return stages


def check(one: dict, two: dict) -> tuple[float, float]:
    """(seconds the model expects of two workers on the machine that ran with one, seconds they took)."""
    return simulate([replay(one)], Machines(1, one["machine"]["num_cores"], 2)).total_s, two["total_s"]


def measure(folder: Path, into: Path) -> None:
    """Dub once with one worker and once with two, and say how well the second follows from the first. An idle machine is needed for that."""
    from benchmarks.episode import benchmark

    runs = []
    for name, num_workers in ((ONE_WORKER, 1), (TWO_WORKERS, 2)):
        run = benchmark(folder / "film.mp4", folder / "dub.wav", BUNDLED_MODEL, num_workers)
        run["film"]["path"] = "film.mp4"
        (into / name).write_text(json.dumps(run, indent=1) + "\n")
        runs.append(run)
        print(f"{num_workers} at a time: {run['total_s']:.1f} s, load {run['machine']['load_1min']}", flush=True)
    expected, took = check(*runs)
    print(f"two workers: {expected:.1f} s expected, {took:.1f} s measured, {expected / took - 1:+.0%}")


def show_season(season: Season, place: Place, measured: dict, numbers: list[int], spreads: list[bool]) -> list[dict]:
    """Print the table; its rows for machines."""
    episodes = episodes_of(season, place, rates_of(measured))
    size = f"{season.width}x{season.height} at {season.fps:g} fps"
    print(f"{season.num_episodes} x {season.minutes:g} min x {season.num_languages} languages, {size}; {place}")
    rows = []
    for spread in spreads:
        print(f"\n{'shots go to all machines (Dask, Ray)' if spread else 'an episode stays on one machine (a work pool, one worker per card)'}")
        print(f"{'GPUs':>5} {'season':>12} {'processors':>11} {'cards':>6} {'store':>6} {'server':>7}  saved if twice as fast")
        for number in numbers:
            machines = machines_of(place, number, spread)
            account, saved = simulate(episodes, machines), bottlenecks(episodes, machines)
            tops = ", ".join(f"{group} {share:.0%}" for group, share in list(saved.items())[:4] if share >= 0.005)
            processors, cards, store, server = account.busy.values()
            print(f"{number:5} {in_words(account.total_s):>12} {processors:11.0%} {cards:6.1%} {store:6.1%} {server:7.1%}  {tops}", flush=True)
            row = {"gpus": number, "spread": spread, "total_s": round(account.total_s), "busy": account.busy, "saved": saved}
            rows.append(row | {"stages": account.stage_s})
    return rows


def show_stages(measured: dict) -> None:
    """What the model is fed with: the measured run's processor seconds by group."""
    groups: dict[str, float] = {}
    for name, stage in with_between(measured).items():
        groups[GROUP_OF.get(name, name)] = groups.get(GROUP_OF.get(name, name), 0.0) + _cpu_s(stage)
    total = sum(groups.values())
    print("measured: " + ", ".join(f"{group} {seconds / total:.0%}" for group, seconds in sorted(groups.items(), key=lambda item: -item[1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=Path, default=MEASURED / ONE_WORKER, help="what --measure wrote of one worker")
    parser.add_argument("--measure", type=Path, metavar="FOLDER")
    parser.add_argument("--into", type=Path, default=MEASURED, help="where --measure writes to")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--spread", choices=("no", "yes", "both"), default="both")
    for name, value in (vars(Season()) | vars(Place())).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--json", type=Path)
    options = vars(parser.parse_args())
    if options["measure"]:
        measure(options["measure"], options["into"])
        return
    measured = json.loads(options["times"].read_text())
    show_stages(measured)
    season, place = (kind(**{name: options[name] for name in vars(kind())}) for kind in (Season, Place))
    spreads = {"no": [False], "yes": [True], "both": [False, True]}[options["spread"]]
    rows = show_season(season, place, measured, options["gpus"], spreads)
    if options["json"]:
        options["json"].write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
