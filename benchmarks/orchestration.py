"""What orchestration costs: the same film under threads, processes, Dask and Ray, and the share of a run that is not spent in steps.

    python -m benchmarks.orchestration [--shots 200] [--frames-per-shot 20] [--runners threads processes dask ray] [--rounds 2] [--workers 1]
        [--json FILE] [--record] [--model NAME]

The film has that many shots (0.8 s if not told), each with one face, made from the demo's stills (320x240). Each run begins from nothing; the
runners take turns (A B C D, A B C D), so that a machine that gets slower or faster favours none. Overhead: the clock's time of all stages times
the workers that a stage could use, less the time within steps; with one worker there is no waiting for the slowest in it, so that is the
default. Starting the local server and the workers is told apart, since a server and a worker pool of a studio are there before.
Ends with exit code 1 where the overhead of the first runner is more than 3 % (promised at 200 shots) or runners disagree about a patch.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage

from benchmarks.machine import describe_machine
from benchmarks.measured_run import Measured, measure
from benchmarks.records import add_options, keep
from flows.demo.script import VOICES, View
from flows.demo.sound import RATE_HZ, speak, write_wav
from flows.demo.stills import load_still, look
from infra import ffmpeg
from tasks.types import BUNDLED_MODEL, DubRequest

WIDTH, HEIGHT, FPS, FRAMES_PER_SHOT = 320, 240, 25, 20  # a short shot: the worst case
PROMISED_SHARE = 0.03
RUNNERS = ("threads", "processes", "dask", "ray")
FFMPEG_TIMEOUT_S = 3600.0
VIEWS = (("captain", View(226, 145, 300)), ("colleague", View(286, 145, 220)))
LINE = "This sentence is said again and again, as long as the film lasts."
DUB_LINE = "Diesen Satz hört man immer wieder, solange der Film läuft."


@dataclass(frozen=True)
class Cost:
    """One run. wall_s: of the stages alone; work_s: within steps; overhead_ms: for each call."""

    runner: str
    num_calls: int
    total_s: float
    start_s: float  # the local server, and the workers
    wall_s: float
    work_s: float
    overhead_share: float
    overhead_ms: float
    patches: tuple[str, ...]


def make_film(folder: Path, num_shots: int, frames_per_shot: int) -> tuple[Path, Path]:
    """A film of cuts between two people, and its dub."""
    cycle, film, dub = folder / "cycle.mp4", folder / "film.mp4", folder / "dub.wav"
    inputs: list[str] = []
    for still, view in VIEWS:
        picture = folder / f"{still}.png"
        enlarged = load_still(still, Path(skimage.__file__).parent / "data").picture
        cv2.imwrite(str(picture), look(enlarged, view, view, 0, WIDTH, HEIGHT))
        inputs += ["-loop", "1", "-framerate", str(FPS), "-t", str(frames_per_shot / FPS), "-i", str(picture)]
    graph = f"concat=n={len(VIEWS)}:v=1,format=yuv420p"
    coded = ["-c:v", "libx264", "-preset", "fast", "-bf", "0", "-g", str(frames_per_shot)]
    ffmpeg.run([*inputs, "-filter_complex", graph, *coded, "-y", str(cycle)], timeout_s=FFMPEG_TIMEOUT_S)
    for name, text, voice in zip(("film", "dub"), (LINE, DUB_LINE), VOICES["captain"], strict=True):
        write_wav(folder / f"{name}-line.wav", np.pad(speak(text, voice, folder / "line.wav"), (0, RATE_HZ // 4)))
    duration = ["-t", str(num_shots * frames_per_shot / FPS)]
    looped = ["-stream_loop", "-1", "-i"]
    sound = [*looped, str(folder / "film-line.wav")]
    ffmpeg.run([*looped, str(cycle), *sound, *duration, "-c:v", "copy", "-c:a", "aac", "-y", str(film)], timeout_s=FFMPEG_TIMEOUT_S)
    ffmpeg.run([*looped, str(folder / "dub-line.wav"), *duration, "-y", str(dub)], timeout_s=FFMPEG_TIMEOUT_S)
    return film, dub


def measure_runner(runner: str, film: Path, dub: Path, num_workers: int, model: str) -> Cost:
    """Dub from nothing under one runner."""
    with tempfile.TemporaryDirectory(prefix="dubflow-orchestration-") as name:
        fields = {"film": str(film), "audio": {"de": str(dub)}, "out": f"{name}/out", "episode_id": "costs", "work": f"{name}/work"}
        fields |= {"speaker": "only-face", "model": model, "task_runner": runner, "num_workers": num_workers}
        run = measure(DubRequest.model_validate(fields))
        manifest = json.loads(Path(name, "out", "costs", "manifest.json").read_text())
    return cost_of(runner, run, num_workers, tuple(sorted(patch["sha256"] for patch in manifest["patches"])))


def cost_of(runner: str, run: Measured, num_workers: int, patches: tuple[str, ...]) -> Cost:
    """Overhead from a run's stages: workers that a stage could use, times its wall time, less the work in it."""
    first = run.stages["inspect"]  # its one call waits until workers have started
    stages = {name: stage for name, stage in run.stages.items() if stage.num_calls and stage is not first}
    at_hand_s = sum(stage.wall_s * min(num_workers, stage.num_calls) for stage in stages.values())
    work_s, num_calls = sum(stage.work_s for stage in stages.values()), sum(stage.num_calls for stage in stages.values())
    wall_s = sum(stage.wall_s for stage in stages.values())
    return Cost(
        runner=runner,
        num_calls=num_calls,
        total_s=run.total_s,
        start_s=round(run.stages["start"].wall_s + first.wall_s - first.work_s, 2),
        wall_s=round(wall_s, 2),
        work_s=round(work_s, 2),
        overhead_share=round((at_hand_s - work_s) / at_hand_s, 4),
        overhead_ms=round(1000 * (at_hand_s - work_s) / num_calls, 1),
        patches=patches,
    )


def table(costs: list[Cost], num_shots: int) -> list[str]:
    """One line per runner: medians over its rounds."""
    lines = [
        f"{'runner':10} {'total s':>9} {'start s':>9} {'stages s':>9} {'work s':>9} {'calls':>6} {'ms a call':>10} {'ms a shot':>10} {'share':>7}"
    ]
    for runner in dict.fromkeys(cost.runner for cost in costs):
        own = [cost for cost in costs if cost.runner == runner]
        total_s, start_s, wall_s, work_s, each_ms, share = (
            statistics.median(getattr(cost, name) for cost in own)
            for name in ("total_s", "start_s", "wall_s", "work_s", "overhead_ms", "overhead_share")
        )
        shot_ms = each_ms * own[0].num_calls / num_shots
        lines.append(
            f"{runner:10} {total_s:9.1f} {start_s:9.1f} {wall_s:9.1f} {work_s:9.1f} {own[0].num_calls:6} {each_ms:10.1f} {shot_ms:10.1f} {share:7.2%}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=200)
    parser.add_argument("--frames-per-shot", type=int, default=FRAMES_PER_SHOT)
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, default=list(RUNNERS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    add_options(parser)
    parser.add_argument("--model", default=BUNDLED_MODEL)
    options = parser.parse_args()
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory(prefix="dubflow-orchestration-") as folder:
        film, dub = make_film(Path(folder), options.shots, options.frames_per_shot)
        for _ in range(options.rounds):
            for runner in options.runners:
                costs.append(measure_runner(runner, film, dub, options.workers, options.model))
                print(*table(costs[-1:], options.shots)[1:], flush=True)
    lines = table(costs, options.shots)
    print(f"{options.shots} shots, {options.workers} worker(s), medians of {options.rounds}:", *lines, sep="\n")
    agree = len({cost.patches for cost in costs}) == 1
    print(f"patches: {'the same from all runs' if agree else 'DIFFERENT'} ({len(costs[0].patches)} of them)")
    shares = [cost.overhead_share for cost in costs if cost.runner == options.runners[0]]
    share = statistics.median(shares)
    print(f"overhead under {options.runners[0]}: {share:.2%} (promised: at most {PROMISED_SHARE:.0%})")
    figures = {"machine": describe_machine(), "num_shots": options.shots, "num_workers": options.workers, "model": options.model}
    figures["frames_per_shot"] = options.frames_per_shot
    keep(options, "orchestration", figures | {"runs": [asdict(cost) for cost in costs], "share": share})
    sys.exit(not agree or share > PROMISED_SHARE)


if __name__ == "__main__":
    main()
