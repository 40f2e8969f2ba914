"""What one dub costs: seconds per stage, frames per second, real-time factor, peak memory.

    python -m benchmarks.episode [FOLDER] [--json FILE] [--record] [--model NAME] [--workers N]

FOLDER holds film.mp4 and dub.wav; ../shared/media/episode_a if not given. Work and output go to a temporary folder, so nothing is reused.
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.measured_run import Measured, measure
from benchmarks.records import add_options, keep
from infra.video import scan
from tasks.types import BUNDLED_MODEL, DubRequest

EPISODE_A = Path(__file__).parents[2] / "shared" / "media" / "episode_a"


def benchmark(film: Path, dub: Path, model: str, num_workers: int | None) -> dict:
    """Dub once from nothing and give all figures as JSON values."""
    facts = scan(film)
    num_frames, duration_s = len(facts.pts), len(facts.pts) / float(facts.fps)
    with tempfile.TemporaryDirectory(prefix="dubflow-benchmark-") as folder:
        request = DubRequest(
            film=str(film),
            audio={"en": str(dub)},
            out=f"{folder}/out",
            episode_id="benchmark",
            work=f"{folder}/work",
            model=model,
            num_workers=num_workers,
        )
        run: Measured = measure(request)
    num_read = sum(count for path, count in run.num_decoded.items() if Path(path) == film.absolute())
    return {
        "machine": describe_machine(),
        "film": {"path": film.name, "num_frames": num_frames, "duration_s": round(duration_s, 2), "size": [facts.width, facts.height]},
        "model": model,
        "total_s": run.total_s,
        "frames_per_s": round(num_frames / run.total_s, 2),
        "real_time_factor": round(run.total_s / duration_s, 2),
        "peak_process_mib": round(run.peak_process_mib),
        "peak_tree_mib": round(run.peak_tree_mib),
        "decoded_per_film_frame": round(num_read / num_frames, 2),
        "decoded_of_other_files": sum(run.num_decoded.values()) - num_read,
        "stages": {name: asdict(stage) for name, stage in run.stages.items()},
    }


def show(figures: dict) -> None:
    machine, film = figures["machine"], figures["film"]
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{film['path']}: {film['num_frames']} frames, {film['duration_s']} s, {film['size'][0]}x{film['size'][1]}; model {figures['model']}")
    print(f"{'stage':10} {'wall s':>9} {'work s':>9} {'cpu s':>9} {'cores':>6} {'calls':>6}")
    for name, stage in figures["stages"].items():
        cores = stage["cpu_s"] / stage["wall_s"] if stage["wall_s"] else 0.0  # busy on average
        print(f"{name:10} {stage['wall_s']:9.2f} {stage['work_s']:9.2f} {stage['cpu_s']:9.2f} {cores:6.2f} {stage['num_calls']:6}")
    print(f"{'total':10} {figures['total_s']:9.2f}")
    print(f"{figures['frames_per_s']} frames/s, {figures['real_time_factor']} s per second of film")
    print(f"{figures['decoded_per_film_frame']} frames decoded per frame of film; {figures['decoded_of_other_files']} frames of other files")
    print(f"peak memory: {figures['peak_process_mib']} MiB the process, {figures['peak_tree_mib']} MiB with all it started")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=EPISODE_A)
    add_options(parser)
    parser.add_argument("--model", default=BUNDLED_MODEL)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    figures = benchmark(options.folder / "film.mp4", options.folder / "dub.wav", options.model, options.workers)
    show(figures)
    keep(options, "episode", figures)


if __name__ == "__main__":
    main()
