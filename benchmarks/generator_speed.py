"""What faster arithmetic gives and costs: the lip generator's frames per second of one core, and how far its faces are from float32's.

    python -m benchmarks.generator_speed [--width 1.0] [--faces FILM] [--rounds 3] [--json FILE] [--record]

Plain: PyTorch float32 as the published code runs it, batches of 128 in eager mode. Every way is measured in turn, round after round (A B C A B C), by
processor seconds on one thread, so that other work on the machine disturbs the ratios little. PSNR is of the bundled weights on the faces of FILM
(default: the test film's). First frame: a fresh process loads, compiles and paints; cold has no compiled network on disk.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soxr
import torch

from benchmarks.episode import EPISODE_A
from benchmarks.machine import describe_machine
from benchmarks.records import add_options, keep
from infra.video import FrameReader, read_audio, scan
from wav2lip_core.checkpoint import load_generator
from wav2lip_core.face_crop import crop
from wav2lip_core.face_detector import open_detector
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.lip_syncer import BUNDLED_GENERATOR, LipSyncer
from wav2lip_core.mel import NUM_BANDS, WINDOW_COLUMNS, log_mel, windows_at
from wav2lip_core.precision import Precision, describe_arithmetic, openvino_version

PLAIN_BATCH, BATCH = 128, 16
NUM_FACES, EVERY = 96, 7
FIRST_FRAME = """
import sys, time
import numpy as np
from pathlib import Path
from wav2lip_core.lip_syncer import LipSyncer
started, worked = time.perf_counter(), time.process_time()
syncer = LipSyncer(precision=sys.argv[1], cache_folder=Path(sys.argv[2]))
syncer.generate(np.zeros((1, 96, 96, 3), np.uint8), np.zeros((1, 80, 16), np.float32))
print(time.perf_counter() - started, time.process_time() - worked)
"""


def ways() -> list[Precision]:
    return ["float32", "bf16", "int8"] if openvino_version() else ["float32", "bf16"]


def like(model: LipGenerator) -> LipGenerator:
    """The same weights in memory of their own, in torch's usual layout."""
    own = LipGenerator(model.config).eval()
    own.load_state_dict(model.state_dict())
    return own


def speeds(model: LipGenerator, num_rounds: int) -> dict[str, list[float]]:
    """Frames per processor second of every way, round by round; `plain` first."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (PLAIN_BATCH, 96, 96, 3), dtype=np.uint8)
    mel = rng.uniform(-4, 4, (PLAIN_BATCH, NUM_BANDS, WINDOW_COLUMNS)).astype(np.float32)
    plain, plain_faces, plain_mel = like(model), torch.rand(PLAIN_BATCH, 6, 96, 96), torch.from_numpy(mel[:, None].copy())

    @torch.inference_mode()
    def run_plain() -> object:
        return plain(plain_mel, plain_faces)

    syncers = {way: LipSyncer(like(model), BATCH, precision=way) for way in ways()}
    runs = {"plain": run_plain} | {way: lambda syncer=syncer: syncer.generate(faces, mel) for way, syncer in syncers.items()}
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(num_rounds):
        for name, run in runs.items():
            started = time.process_time()
            run()
            found[name].append(PLAIN_BATCH / (time.process_time() - started))
    return found


def film_faces(film: Path) -> tuple[np.ndarray, np.ndarray]:
    """Faces of the film, uint8 (n, 96, 96, 3), and what is heard with them, float32 (n, 80, 16)."""
    facts, detector = scan(film), open_detector("dlib", None)
    reader = FrameReader(str(film), facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)
    found: list[tuple[int, np.ndarray]] = []
    for n, picture in reader.pictures(0, facts.num_frames):
        if n % EVERY == 0 and len(found) < NUM_FACES:
            found += [(n, crop(picture, np.asarray(face.box))) for face in detector.detect([picture])[0][:1]]
    samples, rate_hz, _ = read_audio(film)
    mono = soxr.resample(samples.mean(axis=1), rate_hz, 16000).astype(np.float32)
    times = np.array([n for n, _ in found]) / float(facts.fps)
    return np.stack([face for _, face in found]), windows_at(log_mel(mono), times).astype(np.float32)


def psnr_db(film: Path) -> dict[str, list[float]]:
    """By way: PSNR against float32 of the faces that go into the film: all of them whole, their lower halves, and the worst face."""
    faces, mel = film_faces(film)
    model, found = load_generator(BUNDLED_GENERATOR), {}
    wanted = LipSyncer(like(model), BATCH).generate(faces, mel).astype(float)
    for way in ways()[1:]:
        error = (LipSyncer(like(model), BATCH, precision=way).generate(faces, mel) - wanted) ** 2
        means = error.mean(), error[:, error.shape[1] // 2 :].mean(), error.mean(axis=(1, 2, 3)).max()
        found[way] = [round(float(10 * np.log10(255**2 / max(each, 1e-9))), 2) for each in means]
    return found


def first_frame_s(way: str) -> dict[str, tuple[float, float]]:
    """(wall, processor) seconds to the first face of the bundled weights in a new process, without and with a compiled network on disk.

    Imports are not counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-c", FIRST_FRAME, way, folder]
        outputs = {name: subprocess.run(run, capture_output=True, text=True, check=True).stdout.split() for name in ("cold", "warm")}
    return {name: (round(float(wall), 2), round(float(worked), 2)) for name, (wall, worked) in outputs.items()}


def benchmark(width: float, film: Path, num_rounds: int) -> dict:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures: dict = {
        "machine": describe_machine(),
        "arithmetic": {way: describe_arithmetic(way) for way in ways()},
        "frames_per_core_s": {},
        "ratio": {},
    }
    for name, model in (("bundled", load_generator(BUNDLED_GENERATOR)), (f"width {width:g}", LipGenerator(GeneratorConfig(width)).eval())):
        found = speeds(model, num_rounds)
        figures["frames_per_core_s"][name] = {way: round(float(np.median(each)), 1) for way, each in found.items()}
        figures["ratio"][name] = {way: round(float(np.median(np.divide(each, found["plain"]))), 2) for way, each in found.items()}
    figures["psnr_db"] = psnr_db(film) if film.is_file() else {}
    figures["first_frame_s"] = {way: first_frame_s(way) for way in ways()}
    return figures


def show(figures: dict) -> None:
    print(", ".join(f"{name} {value}" for name, value in figures["machine"].items()))
    for model, found in figures["frames_per_core_s"].items():
        for way, each in found.items():
            print(f"{model:10} {way:8} {each:8.1f} frames per second of a core, {figures['ratio'][model][way]:5.2f} times plain")
    for way, (whole, lower, worst) in figures["psnr_db"].items():
        print(f"{way:8} PSNR against float32, bundled weights: {whole} dB, lower halves {lower} dB, worst face {worst} dB")
    for way, each in figures["first_frame_s"].items():
        text = ", ".join(f"{wall} s {name} ({worked} s of processor time)" for name, (wall, worked) in each.items())
        print(f"{way:8} first frame after {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--faces", type=Path, default=EPISODE_A / "film.mp4")
    parser.add_argument("--rounds", type=int, default=3)
    add_options(parser)
    options = parser.parse_args()
    figures = benchmark(options.width, options.faces, options.rounds)
    show(figures)
    keep(options, "generator_speed", figures)


if __name__ == "__main__":
    main()
