"""From a film of somebody speaking to what training reads: aligned crops at 25 fps and 16 kHz voice, stretch by stretch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.scan import VideoFacts, scan
from infra.sound import SoundReader, read_mono
from infra.video import FrameReader
from training.dataset import FPS, MARGIN, PREPARED_SIZE
from wav2lip_core import face_crop
from wav2lip_core.face_detector import FaceDetector
from wav2lip_core.face_path import smoothed
from wav2lip_core.mel import SAMPLE_RATE_HZ

LOOK_EVERY = 5  # frames at 25 fps
SUFFIXES = {".mp4", ".mpg", ".mpeg", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts", ".mxf"}
MIN_FRAMES = 16
MIN_LOOKS = 4
LONGEST_CLIP = 10 * FPS  # frames; longer stretches are cut into equal pieces
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FPS
_PLACE_WINDOW_S, _SIZE_WINDOW_S = 0.16, 0.5


class UnusableClipError(ValueError):
    """The clip cannot be trained on; says why."""


@dataclass(frozen=True, eq=False)
class FaceRun:
    """One face through a stretch of film without a cut: boxes float (n, 4), canonical XYXY in upright film pixels, at times_s (n,) after the
    film's first frame, ascending."""

    times_s: np.ndarray
    boxes: np.ndarray


FindFaces = Callable[[Path, VideoFacts], list[FaceRun]]


@dataclass(frozen=True, eq=False)
class PreparedClip:
    """crops uint8 (n, 144, 144, 3) BGR at 25 fps with a margin around the canonical box, voice float32 (n * 640,) at 16 kHz beginning with the
    first frame; start_s after the film's first frame."""

    crops: np.ndarray
    voice: np.ndarray
    start_s: float


def prepare_film(path: Path, find_faces: FindFaces) -> Iterator[PreparedClip]:
    """The clips of every face that is found, one in memory at a time. Frames of any rate become 25 a second, any sound 16 kHz mono.

    Raises UnusableClipError for a film without sound, without a steady face, or shorter than 16 frames; InputError for a damaged file.
    """
    facts = scan(path)
    times_s = _frame_times(facts)
    if not facts.audio:
        raise UnusableClipError("it has no sound")
    if round((times_s[-1] + 1 / float(facts.fps)) * FPS) < MIN_FRAMES:
        raise UnusableClipError(f"only {round((times_s[-1] + 1 / float(facts.fps)) * FPS)} frames at {FPS} fps, {MIN_FRAMES} are needed")
    runs = find_faces(path, facts)
    voice = _voice(path, float(facts.pts[0] * facts.time_base))
    pieces = [piece for run in runs for piece in _pieces(run, float(facts.fps))]
    if not pieces:
        raise UnusableClipError(f"no face is seen for {MIN_FRAMES} frames")
    reader = FrameReader(str(path), facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)
    for run, ticks in pieces:
        yield _cut(reader, times_s, run, ticks, voice)


def find_one_face(detector: FaceDetector) -> FindFaces:
    """For clips that show one person from beginning to end: a finder of that face."""

    def find(path: Path, facts: VideoFacts) -> list[FaceRun]:
        times_s = _frame_times(facts)
        ticks = np.arange(round((times_s[-1] + 1 / float(facts.fps)) * FPS)) / FPS
        reader = FrameReader(str(path), facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)
        return [FaceRun(ticks, _boxes(reader, _nearest(times_s, ticks), detector))]

    return find


def _frame_times(facts: VideoFacts) -> np.ndarray:
    return (facts.pts - facts.pts[0]) * float(facts.time_base)


def _nearest(times_s: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """The frame on screen at each tick."""
    return np.clip(np.searchsorted(times_s, ticks + 0.002, side="right") - 1, 0, len(times_s) - 1)


def _boxes(reader: FrameReader, picks: np.ndarray, detector: FaceDetector) -> np.ndarray:
    """One smooth box per pick, of a face looked for every fifth of a second."""
    looks = sorted({*range(0, len(picks), LOOK_EVERY), len(picks) - 1})
    look_at, found = {int(picks[i]): i for i in reversed(looks)}, {}
    for n, picture in reader.pictures(0, int(picks[-1]) + 1):
        faces = detector.detect([picture])[0] if n in look_at else []
        if faces:
            found[look_at[n]] = np.array(faces[0].box)
    if len(found) < MIN_LOOKS:
        raise UnusableClipError(f"a face in only {len(found)} of {len(looks)} frames looked at")
    seen, box = np.array(list(found)), np.array(list(found.values()))
    centre, height = (box[:, :2] + box[:, 2:]) / 2, box[:, 3] - box[:, 1]
    usual = np.median(height)
    steady = (np.abs(height / usual - 1) < 0.2) & (np.abs(centre - np.median(centre, axis=0)).max(axis=1) < 0.5 * usual)
    if steady.sum() < MIN_LOOKS:
        raise UnusableClipError("no steady face")
    index, times = np.arange(len(picks)), np.arange(len(picks)) / FPS
    places = np.stack([np.interp(index, seen[steady], column[steady]) for column in (*centre.T, height)], axis=1)
    middle = smoothed(places[:, :2], times, _PLACE_WINDOW_S)
    half = smoothed(places[:, 2:], times, _SIZE_WINDOW_S) / 2 * np.array([face_crop.WIDTH_IN_EM / face_crop.HEIGHT_IN_EM, 1])
    return np.concatenate([middle - half, middle + half], axis=1)


def _pieces(run: FaceRun, fps: float) -> list[tuple[FaceRun, np.ndarray]]:
    """Ticks of 1/25 s, in pieces of nearly equal length."""
    first, end = np.ceil(run.times_s[0] * FPS - 1e-6), round((run.times_s[-1] + 1 / max(fps, FPS)) * FPS)
    ticks = np.arange(first, end) / FPS
    pieces = np.array_split(ticks, max(1, -(-len(ticks) // LONGEST_CLIP)))
    return [(run, piece) for piece in pieces if len(piece) >= MIN_FRAMES]


def _cut(reader: FrameReader, times_s: np.ndarray, run: FaceRun, ticks: np.ndarray, voice: np.ndarray) -> PreparedClip:
    picks = _nearest(times_s, ticks)
    boxes = np.stack([np.interp(ticks, run.times_s, column) for column in run.boxes.T], axis=1)
    boxes += MARGIN * np.tile(boxes[:, 2:] - boxes[:, :2], 2) * np.array([-1, -1, 1, 1])
    crops: list[np.ndarray] = []
    for n, picture in reader.pictures(int(picks[0]), int(picks[-1]) + 1):
        while len(crops) < len(picks) and picks[len(crops)] == n:
            crops.append(face_crop.crop(picture, boxes[len(crops)], PREPARED_SIZE))
    first = round(float(ticks[0]) * SAMPLE_RATE_HZ)
    sound = voice[first : first + len(ticks) * SAMPLES_PER_FRAME]
    sound = np.pad(sound, (0, len(ticks) * SAMPLES_PER_FRAME - len(sound))).astype(np.float32)
    return PreparedClip(np.stack(crops), sound, float(ticks[0]))


def _voice(path: Path, first_frame_s: float) -> np.ndarray:
    """All of the first sound, float32 (n,), 16 kHz mono, beginning with the first frame."""
    reader = SoundReader(path)
    wave = np.concatenate(list(read_mono(reader, SAMPLE_RATE_HZ)))
    lead = round((reader.start_s - first_frame_s) * SAMPLE_RATE_HZ)
    return np.pad(wave, (max(0, lead), 0))[max(0, -lead) :]
