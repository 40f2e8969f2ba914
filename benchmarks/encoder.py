"""How films are written, beside x264's medium preset: as near to what was read, for a fifth of the processor time, in larger files.

    python -m benchmarks.encoder [FILM] [--frames N] [--json FILE] [--record]

FILM: ../shared/media/episode_a if not given. Its first frames are encoded with each setting in turn, twice (A B A B), and compared with the film.
"""

import argparse
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
from av.video.frame import VideoFrame

from benchmarks.episode import EPISODE_A
from benchmarks.machine import describe_machine
from benchmarks.records import add_options, keep
from infra import video_write
from infra.artifacts import ArtifactStore
from infra.video import FrameReader, VideoFacts, scan
from tasks.inspect_film import inspect_film
from tasks.types import Film
from training import measures

SETTINGS = {"ours": (video_write.PRESET, video_write.CRF), "medium": ("medium", 16), "veryfast": ("veryfast", 14)}
NUM_ROUNDS = 2
COMPARED_EVERY = 5  # frames


def reader_of(facts: VideoFacts) -> FrameReader:
    return FrameReader(facts.path, facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)


def encode(path: Path, film: Film, facts: VideoFacts, frames: list[VideoFrame], preset: str, crf: int) -> float:
    """Processor seconds."""
    with patch.multiple(video_write, PRESET=preset, CRF=crf):
        started = time.process_time()
        video_write.encode_segment(path, frames, film, facts.pts[: len(frames)], video_write.choose_encoding(film, "h264"))
        return time.process_time() - started


def compare(source: Path, num_frames: int) -> dict:
    facts = scan(source)
    num_frames = min(num_frames, facts.num_frames)
    seconds: dict[str, list[float]] = {name: [] for name in SETTINGS}
    quality = {}
    with tempfile.TemporaryDirectory(prefix="dubflow-encoder-") as name:
        film = inspect_film(ArtifactStore(Path(name, "store")), source)
        for turn in range(NUM_ROUNDS):
            for setting, (preset, crf) in SETTINGS.items():
                path = Path(name, f"{turn} {setting}.nut")
                frames = [frame for _, frame in reader_of(facts).frames(0, num_frames)]
                seconds[setting].append(encode(path, film, facts, frames, preset, crf))
                size = {"preset": preset, "crf": crf, "megabytes": round(path.stat().st_size / 1e6, 2)}
                quality[setting] = size | likeness(facts, path, num_frames)
    rows = {name: {**quality[name], "ms_per_frame": round(1000 * min(spent) / num_frames, 2)} for name, spent in seconds.items()}
    ratios = [round(slow / fast, 2) for slow, fast in zip(seconds["medium"], seconds["ours"], strict=True)]
    return {"machine": describe_machine(), "num_frames": num_frames, "settings": rows, "medium / ours, processor seconds": ratios}


def likeness(facts: VideoFacts, written: Path, num_frames: int) -> dict[str, float]:
    """To what was read: PSNR over all compared frames and of the worst, and the same of SSIM."""
    psnr, ssim = [], []
    pairs = zip(reader_of(facts).pictures(0, num_frames), reader_of(scan(written)).pictures(0, num_frames), strict=True)
    for (n, film), (_, seen) in pairs:
        if n % COMPARED_EVERY == 0:
            psnr.append(measures.psnr(seen[None], film[None]))
            ssim.append(measures.ssim(seen[None], film[None]))
    mean_psnr = -10 * np.log10(np.mean(10 ** (-np.array(psnr) / 10)))
    figures = {"psnr_db": mean_psnr, "worst_psnr_db": min(psnr), "ssim": np.mean(ssim), "worst_ssim": min(ssim)}
    return {name: round(float(value), 5 if "ssim" in name else 2) for name, value in figures.items()}


def show(figures: dict) -> None:
    print(", ".join(f"{name} {value}" for name, value in figures["machine"].items()))
    for name, row in figures["settings"].items():
        print(f"{name:23} " + ", ".join(f"{key} {value}" for key, value in row.items()))
    print(f"medium / ours, processor seconds, each round: {figures['medium / ours, processor seconds']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", nargs="?", type=Path, default=EPISODE_A / "film.mp4")
    parser.add_argument("--frames", type=int, default=250)
    add_options(parser)
    options = parser.parse_args()
    figures = compare(options.film, options.frames)
    show(figures)
    keep(options, "encoder", figures)


if __name__ == "__main__":
    main()
