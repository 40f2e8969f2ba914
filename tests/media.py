"""Makes films and sounds with known truth: every picture carries its own number, every nasty container is made on the spot from a good one."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np

from infra import ffmpeg

NUM_BITS = 16
TIMEOUT_S = 120


# -- pictures: uint8 (H, W, 3) BGR


@cache
def scene(seed: int, width: int = 192, height: int = 112) -> np.ndarray:
    """A smooth picture of its own colours and shapes, a margin wider than asked for so that a camera may move over it. Unlike any other seed's."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 7, 3), np.uint8)
    tint = random.integers(0, 256, 3).astype(np.float32)
    picture = cv2.resize(coarse, (width + 64, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.clip(0.5 * picture + 0.5 * tint, 0, 255).astype(np.uint8)


def shot_pictures(seed: int, num_frames: int, width: int = 192, height: int = 112) -> list[np.ndarray]:
    """A shot: the camera drifts slowly over a scene, to and fro."""
    wide = scene(seed, width, height)
    offsets = [64 - abs(64 - n % 128) for n in range(num_frames)]
    return [np.ascontiguousarray(wide[:, x : x + width]) for x in offsets]


def with_number(picture: np.ndarray, number: int) -> np.ndarray:
    """The picture with `number` drawn along its top as black and white blocks, to survive any codec."""
    marked = picture.copy()
    height, width = picture.shape[0] // 4, picture.shape[1]
    for bit in range(NUM_BITS):
        marked[:height, width * bit // NUM_BITS : width * (bit + 1) // NUM_BITS] = 235 if number >> bit & 1 else 20
    return marked


def read_number(picture: np.ndarray) -> int:
    """The number drawn by with_number."""
    height, width = picture.shape[0] // 4, picture.shape[1]
    row = picture[height // 4 : max(height // 4 + 1, 3 * height // 4)].mean(axis=(0, 2))
    return sum(1 << bit for bit in range(NUM_BITS) if row[int(width * (bit + 0.5) / NUM_BITS)] > 128)


def numbered_pictures(num_frames: int, width: int = 192, height: int = 112) -> Iterator[np.ndarray]:
    """One shot in which picture n carries the number n."""
    for n, picture in enumerate(shot_pictures(0, num_frames, width, height)):
        yield with_number(picture, n)


def flash_pictures(num_frames: int, flashes: Iterable[int], width: int = 192, height: int = 112) -> Iterator[np.ndarray]:
    """Dark pictures, white at the frames of `flashes`."""
    flashes = set(flashes)
    for n in range(num_frames):
        yield np.full((height, width, 3), 250 if n in flashes else 20, np.uint8)


# -- sounds: float32 (n, num_channels)


def tone(duration_s: float, rate: int = 48000, num_channels: int = 1, frequency_hz: float = 440.0) -> np.ndarray:
    wave = 0.4 * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate)) / rate)
    return np.repeat(wave[:, None], num_channels, axis=1).astype(np.float32)


def beeps(duration_s: float, at_s: Iterable[float], rate: int = 48000, num_channels: int = 1, beep_s: float = 0.04) -> np.ndarray:
    """Silence with a 1 kHz beep from each of the given times on."""
    sound = np.zeros((round(duration_s * rate), num_channels), np.float32)
    for start_s in at_s:
        beep = tone(beep_s, rate, num_channels, 1000.0) * 2
        first = round(start_s * rate)
        sound[first : first + len(beep)] += beep[: max(0, len(sound) - first)]
    return sound


def beep_starts(samples: np.ndarray, rate: int) -> list[float]:
    """Seconds at which sound (n,) rises out of silence."""
    loud = np.abs(samples) > 0.1
    starts = [i for i in np.flatnonzero(loud) if not loud[max(0, i - rate // 20) : i].any()]
    return [i / rate for i in starts]


# -- films


@dataclass(frozen=True)
class Sound:
    samples: np.ndarray  # float32 (n, num_channels)
    rate: int = 48000
    codec: str = "aac"
    layout: str | None = None  # mono or stereo by the number of channels


def write_film(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    fps: Fraction = Fraction(25),
    pts: list[int] | None = None,
    time_base: Fraction | None = None,
    pixel_format: str = "yuv420p",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    sound: Sound | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode BGR pictures; `pts` in units of `time_base` make a variable frame rate."""
    if options is None:
        options = {"crf": "16", "preset": "ultrafast", "bf": "2", "g": "12"} if codec == "libx264" else {}
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        if time_base is not None:
            stream.codec_context.time_base = time_base
        audio = None
        if sound is not None:
            layout = sound.layout or {1: "mono", 2: "stereo"}[sound.samples.shape[1]]
            audio = container.add_stream(sound.codec, rate=sound.rate, layout=layout)
        for n, picture in enumerate(pictures):
            if n == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=pixel_format)
            frame.pts, frame.time_base = (n, 1 / fps) if pts is None else (pts[n], time_base or 1 / fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None and sound is not None:
            write_sound_stream(container, audio, sound)
    return path


def write_sound_stream(container, stream, sound: Sound) -> None:
    layout = sound.layout or {1: "mono", 2: "stereo"}[sound.samples.shape[1]]
    size = 4800
    for first in range(0, len(sound.samples), size):
        block = np.ascontiguousarray(sound.samples[first : first + size]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = sound.rate, first, Fraction(1, sound.rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_sound(path: Path, sound: Sound) -> Path:
    """A sound file on its own; the codec is sound.codec (pcm_s16le, flac, aac, libmp3lame, libopus, ...)."""
    with av.open(str(path), "w") as container:
        layout = sound.layout or {1: "mono", 2: "stereo"}[sound.samples.shape[1]]
        write_sound_stream(container, container.add_stream(sound.codec, rate=sound.rate, layout=layout), sound)
    return path


def numbered_film(path: Path, num_frames: int = 50, **how) -> Path:
    return write_film(path, numbered_pictures(num_frames, how.pop("width", 192), how.pop("height", 112)), **how)


# -- containers made from a good file without touching its pictures


def remux(source: Path, target: Path, *output_options: str, input_options: tuple[str, ...] = ()) -> Path:
    """The same packets in another container, or with other options."""
    ffmpeg.run(["-y", *input_options, "-i", str(source), "-map", "0", "-c", "copy", *output_options, str(target)], timeout_s=TIMEOUT_S)
    return target


def faststart(source: Path, target: Path) -> Path:
    return remux(source, target, "-movflags", "+faststart")


def fragmented(source: Path, target: Path) -> Path:
    return remux(source, target, "-movflags", "+frag_keyframe+empty_moov")


def rotated(source: Path, target: Path, degrees_clockwise: int) -> Path:
    return remux(source, target, input_options=("-display_rotation", str(-degrees_clockwise)))


def truncated(source: Path, target: Path, share: float = 0.5) -> Path:
    """The first part of a file's bytes, as an interrupted upload leaves it."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def damaged(source: Path, target: Path, first_share: float, num_bytes: int) -> Path:
    """A file with a stretch of its bytes overwritten."""
    data = bytearray(source.read_bytes())
    first = int(len(data) * first_share)
    data[first : first + num_bytes] = np.random.default_rng(0).integers(0, 256, num_bytes, np.uint8).tobytes()
    target.write_bytes(data)
    return target


def with_declared_duration(source_mkv: Path, target: Path, duration_s: float) -> Path:
    """A Matroska file whose header says another duration (element 0x4489, in milliseconds)."""
    data = bytearray(source_mkv.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", duration_s * 1000)
    target.write_bytes(data)
    return target


def with_declared_size(source_avi: Path, target: Path, width: int, height: int) -> Path:
    """A Motion JPEG AVI whose headers, outside and in every picture, declare another size."""
    data = bytearray(source_avi.read_bytes())
    at = data.index(b"strf") + 8
    data[at + 4 : at + 12] = struct.pack("<II", width, height)
    at = data.find(b"\xff\xc0")
    while at >= 0:
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
        at = data.find(b"\xff\xc0", at + 9)
    target.write_bytes(data)
    return target
