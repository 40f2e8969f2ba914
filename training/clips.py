"""From clips of one person speaking to what training reads: aligned crops at 25 fps and 16 kHz voice, one .npz per clip.

python -m training.clips --source FOLDER --out FOLDER      (FOLDER holds PERSON/clip.*)
"""

import argparse
from pathlib import Path

import librosa
import numpy as np

from infra.errors import DubflowError
from infra.video import FrameReader, read_audio, scan
from training.dataset import FPS, MARGIN, PREPARED_SIZE
from wav2lip_core import face_crop
from wav2lip_core.face_detector import FaceDetector, open_detector
from wav2lip_core.face_path import smoothed
from wav2lip_core.mel import SAMPLE_RATE_HZ

LOOK_EVERY = 5  # frames
SUFFIXES = {".mp4", ".mpg", ".mkv", ".mov", ".avi", ".webm"}
MIN_FRAMES = 16
MIN_LOOKS = 4
_PLACE_WINDOW_S, _SIZE_WINDOW_S = 0.16, 0.5


class UnusableClipError(ValueError):
    """The clip cannot be trained on; says why."""


def prepare_clip(path: Path, detector: FaceDetector) -> dict[str, np.ndarray]:
    """crops uint8 (n, 144, 144, 3) BGR at 25 fps, audio float32 (n * 640,) at 16 kHz beginning with the first frame, boxes (n, 4).

    Raises UnusableClipError for a clip without sound, without a steady face, or shorter than 16 frames; InputError for a damaged file.
    """
    facts = scan(path)
    times = (facts.pts - facts.pts[0]) * float(facts.time_base)
    ticks = np.arange(round((times[-1] + 1 / float(facts.fps)) * FPS)) / FPS
    picks = np.clip(np.searchsorted(times, ticks + 0.002, side="right") - 1, 0, len(times) - 1)
    if len(picks) < MIN_FRAMES:
        raise UnusableClipError(f"only {len(picks)} frames at {FPS} fps")
    reader = FrameReader(str(path), facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)
    frames = [picture for _, picture in reader.pictures(0, len(facts.pts))]
    frames = [frames[i] for i in picks]
    boxes = _boxes(frames, detector)
    margin = MARGIN * np.tile(boxes[:, 2:] - boxes[:, :2], 2) * np.array([-1, -1, 1, 1])
    crops = np.stack([face_crop.crop(frame, box, PREPARED_SIZE) for frame, box in zip(frames, boxes + margin, strict=True)])
    return {"crops": crops, "audio": _voice(path, float(facts.pts[0] * facts.time_base), len(frames)), "boxes": boxes.astype(np.float32)}


def _boxes(frames: list[np.ndarray], detector: FaceDetector) -> np.ndarray:
    looks, found = sorted({*range(0, len(frames), LOOK_EVERY), len(frames) - 1}), {}
    for i in looks:
        faces = detector.detect([frames[i]])[0]
        if faces:
            found[i] = np.array(faces[0].box)
    if len(found) < MIN_LOOKS:
        raise UnusableClipError(f"a face in only {len(found)} of {len(looks)} frames looked at")
    seen, box = np.array(list(found)), np.array(list(found.values()))
    centre, height = (box[:, :2] + box[:, 2:]) / 2, box[:, 3] - box[:, 1]
    usual = np.median(height)
    steady = (np.abs(height / usual - 1) < 0.2) & (np.abs(centre - np.median(centre, axis=0)).max(axis=1) < 0.5 * usual)
    if steady.sum() < MIN_LOOKS:
        raise UnusableClipError("no steady face")
    index, times = np.arange(len(frames)), np.arange(len(frames)) / FPS
    places = np.stack([np.interp(index, seen[steady], column[steady]) for column in (*centre.T, height)], axis=1)
    middle = smoothed(places[:, :2], times, _PLACE_WINDOW_S)
    half = smoothed(places[:, 2:], times, _SIZE_WINDOW_S) / 2 * np.array([face_crop.WIDTH_IN_EM / face_crop.HEIGHT_IN_EM, 1])
    return np.concatenate([middle - half, middle + half], axis=1)


def _voice(path: Path, first_frame_s: float, num_frames: int) -> np.ndarray:
    samples, rate_hz, start_s = read_audio(path)
    if len(samples) == 0:
        raise UnusableClipError("no sound")
    wave = librosa.resample(samples.mean(axis=1), orig_sr=rate_hz, target_sr=SAMPLE_RATE_HZ, res_type="soxr_hq")
    lead = round((start_s - first_frame_s) * SAMPLE_RATE_HZ)
    wave = np.pad(wave, (max(0, lead), 0))[max(0, -lead) :]
    length = num_frames * SAMPLE_RATE_HZ // FPS
    return np.pad(wave, (0, max(0, length - len(wave))))[:length].astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    detector, unusable, num_usable = open_detector("dlib"), [], 0
    for path in sorted(p for p in args.source.glob("*/*") if p.suffix.lower() in SUFFIXES):
        target = args.out / f"{path.parent.name}__{path.stem}_{path.suffix[1:]}.npz"
        try:
            if not target.exists():
                np.savez(target, **prepare_clip(path, detector), allow_pickle=False)
            num_usable += 1
        except (DubflowError, UnusableClipError) as error:
            unusable.append(f"{path.name}: {error}")
    print("\n".join([*unusable, f"{num_usable} clips usable, {len(unusable)} not; they lie in {args.out}"]))
    if not num_usable:
        raise SystemExit("no usable clip")


if __name__ == "__main__":
    main()
