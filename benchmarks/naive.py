"""The plain procedure of lip dubbing, as simple as it reads, and what `dub episode` takes for the same film: the price list of doing less.

    python -m benchmarks.naive [FOLDER] [--seconds N] [--json FILE] [--record]

FOLDER holds film.mp4 and dub.wav; ../shared/media/episode_a if not given; --seconds cuts both. Plain: the whole film in memory, the face detector
on every frame at full size, float32 batches of 128 in eager mode, the whole face pasted, a lossy intermediate and a second encode. It neither finds
shots and speakers nor judges nor reports, as `dub episode` does. Both run in new processes, one after the other, with the same detector and weights.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.episode import EPISODE_A
from benchmarks.machine import describe_machine
from benchmarks.measured_run import Measured, measure
from benchmarks.records import add_options, keep
from infra import ffmpeg
from tasks.types import BUNDLED_MODEL, DubRequest
from wav2lip_core.checkpoint import load_generator
from wav2lip_core.face_detector import open_detector
from wav2lip_core.lip_syncer import BUNDLED_GENERATOR
from wav2lip_core.mel import WINDOW_COLUMNS, log_mel

BATCH, SMOOTHED_FRAMES = 128, 5
FFMPEG_TIMEOUT_S = 3600.0
PUBLISHED_DETECTION_S = 3.1  # of wall time per 720p frame on two cores: the published S3FD detector, 582 GFLOP


class Clock:
    """What each part of the procedure takes: wall seconds, and processor seconds with those of the programs it ran."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}
        self._last = self._now()

    def _now(self) -> tuple[float, float]:
        return time.monotonic(), sum(os.times()[:4])

    def lap(self, part: str) -> None:
        now = self._now()
        self.wall_s[part], self.cpu_s[part] = (round(later - earlier, 2) for later, earlier in zip(now, self._last, strict=True))
        self._last = now


def plain_dub(film: Path, dub: Path, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Dub it the plain way into folder/plain.mp4; wall and processor seconds by part. A frame without a face takes the last face's place."""
    clock = Clock()
    frames, fps = read_all(film)
    clock.lap("read")
    mel = mel_chunks(dub, len(frames), fps, folder)
    clock.lap("mel")
    boxes = smoothed(detect_all(frames))
    clock.lap("detect")
    faces = np.stack([cv2.resize(frame[y0:y1, x0:x1], (96, 96)) for frame, (x0, y0, x1, y1) in zip(frames, boxes, strict=True)])
    painted = generate(faces, mel)
    clock.lap("generate")
    video = cv2.VideoWriter(str(folder / "plain.avi"), cv2.VideoWriter.fourcc(*"DIVX"), fps, frames[0].shape[1::-1])
    for frame, (x0, y0, x1, y1), face in zip(frames, boxes, painted, strict=True):
        frame[y0:y1, x0:x1] = cv2.resize(face, (x1 - x0, y1 - y0))
        video.write(frame)
    video.release()
    clock.lap("paste")
    encoding = ["-c:v", "libx264", "-preset", "medium", "-y", str(folder / "plain.mp4")]
    ffmpeg.run(["-i", str(folder / "plain.avi"), "-i", str(dub), *encoding], timeout_s=FFMPEG_TIMEOUT_S)
    clock.lap("encode")
    return clock.wall_s, clock.cpu_s


def read_all(film: Path) -> tuple[list[np.ndarray], float]:
    video, frames = cv2.VideoCapture(str(film)), []
    while (read := video.read())[0]:
        frames.append(read[1])
    return frames, video.get(cv2.CAP_PROP_FPS)


def mel_chunks(dub: Path, num_frames: int, fps: float, folder: Path) -> np.ndarray:
    """Sixteen columns of mel for each frame, float32 (n, 80, 16); where the sound has ended, its last."""
    wave = folder / "plain.f32"
    ffmpeg.run(["-i", str(dub), "-ac", "1", "-ar", "16000", "-f", "f32le", "-y", str(wave)], timeout_s=FFMPEG_TIMEOUT_S)
    mel = log_mel(np.fromfile(wave, np.float32))
    starts = np.minimum((np.arange(num_frames) * 80 / fps).astype(int), mel.shape[1] - WINDOW_COLUMNS)
    return np.stack([mel[:, start : start + WINDOW_COLUMNS] for start in starts]).astype(np.float32)


def detect_all(frames: list[np.ndarray]) -> np.ndarray:
    """The best face of every frame, int (n, 4)."""
    detector, height, width = open_detector("dlib", None), *frames[0].shape[:2]
    boxes, last = [], np.array([0, 0, width, height])
    for frame in frames:
        found = detector.detect([frame])[0]
        if found:
            last = np.clip(np.asarray(max(found, key=lambda face: face.score).box).astype(int), 0, [width - 2, height - 2, width, height])
        boxes.append(last)
    return np.stack(boxes)


def smoothed(boxes: np.ndarray) -> np.ndarray:
    return np.stack([boxes[i : i + SMOOTHED_FRAMES].mean(axis=0) for i in range(len(boxes))]).astype(int)


@torch.inference_mode()
def generate(faces: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """uint8 (n, 96, 96, 3) -> the same, speaking."""
    model, painted = load_generator(BUNDLED_GENERATOR), []
    for i in range(0, len(faces), BATCH):
        own = faces[i : i + BATCH]
        hidden = own.copy()
        hidden[:, 48:] = 0
        both = torch.from_numpy(np.concatenate([hidden, own], axis=3) / np.float32(255)).permute(0, 3, 1, 2)
        painted.append((model(torch.from_numpy(mel[i : i + BATCH, None]), both).permute(0, 2, 3, 1) * 255).byte().numpy())
    return np.concatenate(painted)


def our_dub(film: Path, dub: Path, folder: Path) -> Measured:
    request = DubRequest(
        film=str(film),
        audio={"en": str(dub)},
        out=f"{folder}/out",
        episode_id="benchmark",
        work=f"{folder}/work",
        model=BUNDLED_MODEL,
        detector="dlib",
    )
    return measure(request)


def cut(source: Path, seconds: float, folder: Path) -> Path:
    shortened = folder / source.name
    ffmpeg.run(["-i", str(source), "-t", str(seconds), "-c", "copy", "-y", str(shortened)], timeout_s=FFMPEG_TIMEOUT_S)
    return shortened


def compare(film: Path, dub: Path, seconds: float | None) -> dict:
    with tempfile.TemporaryDirectory(prefix="dubflow-naive-") as name:
        folder = Path(name)
        if seconds is not None:
            film, dub = cut(film, seconds, folder), cut(dub, seconds, folder)
        frames, fps = read_all(film)
        num_frames = len(frames)
        del frames
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            wall_s, cpu_s = fresh.apply(plain_dub, (film, dub, folder))
        ours = our_dub(film, dub, folder)
        num_read = sum(count for path, count in ours.num_decoded.items() if Path(path) == film.absolute())
    our_wall_s = {name: stage.wall_s for name, stage in ours.stages.items()} | {"total": ours.total_s}
    our_cpu_s = {name: stage.cpu_s for name, stage in ours.stages.items()}
    our_cpu_s["total"] = round(sum(our_cpu_s.values()), 2)
    return {
        "machine": describe_machine(),
        "num_frames": num_frames,
        "film_s": round(num_frames / fps, 2),
        "decoded_per_film_frame": round(num_read / num_frames, 2),
        "plain": {"wall_s": with_total(wall_s), "cpu_s": with_total(cpu_s)},
        "dub_episode": {"wall_s": our_wall_s, "cpu_s": our_cpu_s},
        "ratio": {kind: ratios(*pair, num_frames) for kind, pair in {"wall": (wall_s, our_wall_s), "processor": (cpu_s, our_cpu_s)}.items()},
    }


def with_total(spent_s: dict[str, float]) -> dict[str, float]:
    return spent_s | {"total": round(sum(spent_s.values()), 2)}


def ratios(plain: dict[str, float], ours: dict[str, float], num_frames: int) -> dict[str, float]:
    """Plain by ours; ours always without the start of the local server, which a second episode does not pay.

    Without detection: all of it is taken out of the plain one, out of ours only what was not done while the film was inspected.
    """
    plain_s, our_s = sum(plain.values()), ours["total"] - ours.get("start", 0.0)
    undetected_s = plain_s - plain["detect"]
    return {
        "same detector": round(plain_s / our_s, 2),
        "without detection": round(undetected_s / (our_s - ours.get("faces", 0.0)), 2),
        "published detector": round((undetected_s + PUBLISHED_DETECTION_S * num_frames) / our_s, 2),
        "generator alone": round(plain["generate"] / ours["sync"], 2),
    }


def show(figures: dict) -> None:
    print(", ".join(f"{name} {value}" for name, value in figures["machine"].items()))
    print(f"{figures['num_frames']} frames, {figures['film_s']} s; dub episode decoded {figures['decoded_per_film_frame']} frames per frame of film")
    for name in ("plain", "dub_episode"):
        for kind, spent_s in figures[name].items():
            print(f"{name:12} {kind:7}" + ", ".join(f"{part} {seconds}" for part, seconds in spent_s.items()))
    for kind, found in figures["ratio"].items():
        print(f"plain / dub episode, {kind} seconds: " + ", ".join(f"{name} {ratio}" for name, ratio in found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=EPISODE_A)
    parser.add_argument("--seconds", type=float)
    add_options(parser)
    options = parser.parse_args()
    figures = compare(options.folder / "film.mp4", options.folder / "dub.wav", options.seconds)
    show(figures)
    keep(options, "naive", figures)


if __name__ == "__main__":
    main()
