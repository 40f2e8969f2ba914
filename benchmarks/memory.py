"""Memory must not grow with a film's length: peak memory of one minute and of ten, without a cut and with many.

    python -m benchmarks.memory [--minutes 1 10 ...] [--cuts none many] [--size 640x360] [--pixels yuv420p] [--json FILE] [--record] [--model NAME]

The films are made from the demo's stills and voices (25 fps). Promise: the longest film's peak is within 10 % of the shortest one's.
Ends with exit code 1 where it is not kept.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import skimage

from benchmarks.machine import describe_machine
from benchmarks.measured_run import measure
from benchmarks.records import add_options, keep
from benchmarks.tiny_model import on_the_shelf
from flows.demo.script import VOICES, View
from flows.demo.sound import RATE_HZ, speak, write_wav
from flows.demo.stills import load_still, look
from infra import ffmpeg
from tasks.types import BUNDLED_MODEL, DubRequest

FPS = 25
LIMIT = 1.10
FFMPEG_TIMEOUT_S = 3600.0
VIEWS = {"captain": View(226, 145, 420), "coffee": View(300, 200, 440), "colleague": View(286, 145, 420), "rocket": View(320, 215, 480)}
CYCLES = {"none": (("captain", 12.0),), "many": (("captain", 4.0), ("coffee", 2.0), ("colleague", 4.0), ("rocket", 2.0))}  # still, seconds
ORIGINAL_LINE = "This sentence is said again and again, as long as the film lasts."
DUB_LINE = "Diesen Satz hört man immer wieder, solange der Film läuft."
PAUSE_S = 1.0


def make_film(folder: Path, minutes: float, cuts: str, size: tuple[int, int] = (640, 360), pixels: str = "yuv420p") -> tuple[Path, Path]:
    """A film of that length and its dub: one cycle is encoded and then repeated without re-encoding."""
    cycle, film, dub = folder / "cycle.mp4", folder / "film.mp4", folder / "dub.wav"
    inputs: list[str] = []
    for still, seconds in CYCLES[cuts]:
        picture = folder / f"{still}.png"
        enlarged = load_still(still, Path(skimage.__file__).parent / "data").picture
        cv2.imwrite(str(picture), look(enlarged, VIEWS[still], VIEWS[still], 0, *size))
        inputs += ["-loop", "1", "-framerate", str(FPS), "-t", str(seconds), "-i", str(picture)]
    graph = f"concat=n={len(CYCLES[cuts])}:v=1,format={pixels}"
    ffmpeg.run([*inputs, "-filter_complex", graph, "-c:v", "libx264", "-preset", "fast", "-bf", "0", "-y", str(cycle)], timeout_s=FFMPEG_TIMEOUT_S)
    for name, text, voice in zip(("film", "dub"), (ORIGINAL_LINE, DUB_LINE), VOICES["captain"], strict=True):
        line = speak(text, voice, folder / "line.wav")
        write_wav(folder / f"{name}-line.wav", np.pad(line, (0, round(PAUSE_S * RATE_HZ))))
    duration = ["-t", str(60 * minutes)]
    looped = ["-stream_loop", "-1", "-i"]
    sound = [*looped, str(folder / "film-line.wav")]
    ffmpeg.run([*looped, str(cycle), *sound, *duration, "-c:v", "copy", "-c:a", "aac", "-y", str(film)], timeout_s=FFMPEG_TIMEOUT_S)
    ffmpeg.run([*looped, str(folder / "dub-line.wav"), *duration, "-y", str(dub)], timeout_s=FFMPEG_TIMEOUT_S)
    return film, dub


def measure_length(minutes: float, cuts: str, model: str, size: tuple[int, int], pixels: str) -> dict:
    """Dub a film of that length from nothing; every face speaks all the time."""
    with tempfile.TemporaryDirectory(prefix="dubflow-memory-") as name:
        folder = Path(name)
        film, dub = make_film(folder, minutes, cuts, size, pixels)
        request = DubRequest(
            film=str(film),
            audio={"de": str(dub)},
            out=f"{folder}/out",
            episode_id="memory",
            work=f"{folder}/work",
            speaker="only-face",
            model=model,
        )
        run = measure(request)
    return {
        "minutes": minutes,
        "cuts": cuts,
        "total_s": run.total_s,
        "peak_process_mib": round(run.peak_process_mib),
        "peak_tree_mib": round(run.peak_tree_mib),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", nargs="+", type=float, default=[1, 10], help="shortest first; each is held to it")
    parser.add_argument("--cuts", nargs="+", choices=list(CYCLES), default=list(CYCLES))
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--pixels", default="yuv420p", help="yuv420p10le for ten bits")
    add_options(parser)
    parser.add_argument("--model", default=BUNDLED_MODEL, help="tiny: small networks of random numbers, made for this")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    size = width, height
    figures: dict = {"machine": describe_machine(), "size": size, "pixels": options.pixels, "runs": [], "ratios": {}}
    for cuts in options.cuts:
        runs = []
        for minutes in options.minutes:
            with on_the_shelf(options.model):
                run = measure_length(minutes, cuts, options.model, size, options.pixels)
            print(
                f"{run['minutes']:g} min, cuts {cuts}: peak {run['peak_process_mib']} MiB the process, "
                f"{run['peak_tree_mib']} MiB with all it started, in {run['total_s']} s",
                flush=True,
            )
            runs.append(run)
        figures["runs"] += runs
        figures["ratios"][cuts] = round(max(run["peak_process_mib"] for run in runs) / runs[0]["peak_process_mib"], 3)
        print(f"ratio, cuts {cuts}: {figures['ratios'][cuts]} (promised: at most {LIMIT})")
    keep(options, "memory", figures)
    sys.exit(any(ratio > LIMIT for ratio in figures["ratios"].values()))


if __name__ == "__main__":
    main()
