"""How faces for a patch are generated: what the generator sees and hears, as a take's settings say, and back into the canonical box."""

import threading
from functools import lru_cache

import cv2
import numpy as np
import torch

from infra.artifacts import ArtifactStore
from infra.settings import get_settings, num_cpus
from infra.video import FrameReader, upright_bgr
from tasks.resting_faces import resting_faces
from tasks.sync_evidence import shared_expert
from tasks.timeline import TICKS_PER_S, frame_times_s, speech_share
from tasks.types import FaceTrack, Film, Models, Stem, TakeSettings
from wav2lip_core.face_crop import crop
from wav2lip_core.face_detector import open_detector
from wav2lip_core.lip_syncer import LipSyncer
from wav2lip_core.mel import COLUMNS_PER_S, SILENCE, WINDOW_COLUMNS, first_columns, windows_from
from wav2lip_core.precision import Precision, describe_arithmetic, pick_device

SPEECH_MARGIN_S = 0.2  # lips move before they are heard and rest a little after
LOOK_AROUND = 0.4  # share of the box's size by which a face found anew may lie outside it
FARTHEST = 0.25  # share of the box's height that a face found anew may be away from the smooth path; farther is somebody else
CPU_BATCH, CUDA_BATCH = 16, 256
BATCH_WAIT_S = 0.02  # for other shots' frames, where a full batch costs hardly more than a small one
_loading = threading.Lock()


@lru_cache(maxsize=2)
def _loaded(path: str, sha256: str, precision: Precision, device: str, batch_size: int) -> LipSyncer:
    wait_s = 0.0 if device == "cpu" else BATCH_WAIT_S
    num_at_once = max(1, num_cpus() // torch.get_num_threads()) if device == "cpu" else 1
    return LipSyncer(path, batch_size, device, precision, get_settings().models_folder / "compiled", wait_s, num_at_once)


def shared_lip_syncer(models: Models) -> LipSyncer:
    """The generator of this process, loaded and compiled once: shots that run at the same time share its batches."""
    device = pick_device(get_settings().device)
    most = CUDA_BATCH if device != "cpu" else CPU_BATCH
    batch_size = most if device != "cpu" else min(most, get_settings().batch_size)
    with _loading:
        return _loaded(models.generator_path, models.generator_sha256, models.precision, device, batch_size)


def load_networks(models: Models, lips: bool) -> None:
    """Have ready what every shot will ask for at once: the expert, and where lips are to be made the generator."""
    shared_expert(models)
    if lips:
        shared_lip_syncer(models)


def arithmetic_inputs(models: Models) -> dict[str, str]:
    """What the key of anything generated says of its arithmetic; nothing for float32, the reference."""
    if models.precision == "float32":
        return {}
    return {"arithmetic": describe_arithmetic(models.precision, pick_device(get_settings().device))}


def heard(store: ArtifactStore, dub: Stem, times: np.ndarray) -> np.ndarray:
    """The dub's mel windows at these times, its pauses digitally silent, so that noise between words does not move the mouth."""
    windows = windows_from(store.load_array(dub.analysis), times)
    columns = first_columns(times)[:, None] + np.arange(WINDOW_COLUMNS)
    first = int(columns.min())
    column_times = np.arange(first, int(columns.max()) + 1) / COLUMNS_PER_S
    spoken = speech_share(store, dub, column_times - SPEECH_MARGIN_S / 2, SPEECH_MARGIN_S) > 0
    silent = ~spoken[columns - first]
    windows.transpose(0, 2, 1)[silent] = SILENCE
    return windows


def make_lips(
    store: ArtifactStore, film: Film, track: FaceTrack, frames: tuple[int, int], dub: Stem, models: Models, settings: TakeSettings
) -> tuple[np.ndarray, np.ndarray]:
    """(the film's own crops, the generated faces) of a track's frames [first, end): uint8 (n, 96, 96, 3) BGR each, both in the canonical boxes."""
    times = frame_times_s(store, film)[slice(*frames)] - settings.sound_shift_frames / TICKS_PER_S
    return generate(store, film, track, np.arange(*frames), heard(store, dub, times), models, settings)


def generate(
    store: ArtifactStore, film: Film, track: FaceTrack, frames: np.ndarray, mel: np.ndarray, models: Models, settings: TakeSettings
) -> tuple[np.ndarray, np.ndarray]:
    """The same for any frames (n,) of the track, ascending, and what is heard at each: mel float32 (n, 80, 16)."""
    assert track.crops is not None
    filmed = store.load_array(track.crops)
    crops = np.ascontiguousarray(filmed[frames - track.first_frame])
    own = frames - track.first_frame
    resting = np.ascontiguousarray(resting_faces(store, film, track, models)[own]) if _takes_resting(models, settings) else None
    if settings.padding == 0 and settings.smoothing == "centred":
        references = _alike(filmed[len(filmed) // 2], len(crops)) if settings.reference == "middle_frame" else resting
        return crops, shared_lip_syncer(models).generate(crops, mel, references)
    boxes = store.load_arrays(track.geometry)["boxes"][own]
    seen, framed = _reframed(store, film, frames, boxes, settings)
    if settings.reference == "middle_frame":
        resting = _alike(seen[len(seen) // 2], len(seen))
    elif resting is not None:
        resting = np.stack([_moved(*each) for each in zip(resting, boxes, framed, seen, strict=True)])
    made = shared_lip_syncer(models).generate(seen, mel, resting)
    return crops, np.stack([_moved(*each) for each in zip(made, framed, boxes, crops, strict=True)])


def _takes_resting(models: Models, settings: TakeSettings) -> bool:
    return settings.reference == "auto" and shared_lip_syncer(models).model.config.reference == "resting"


def _alike(face: np.ndarray, count: int) -> np.ndarray:
    return np.broadcast_to(face, (count, *face.shape)).copy()


def _reframed(store: ArtifactStore, film: Film, frames: np.ndarray, boxes: np.ndarray, settings: TakeSettings) -> tuple[np.ndarray, np.ndarray]:
    """(crops, their boxes) for the generator's eyes only: the film is read again with wider boxes, or with faces found anew in every frame."""
    timing = store.load_arrays(film.timing)
    reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
    wanted = {int(n): i for i, n in enumerate(frames)}
    crops, framed = [], []
    for n, frame in reader.frames(int(frames[0]), int(frames[-1]) + 1):
        if n not in wanted:
            continue
        picture, box = upright_bgr(frame, film.rotation_degrees), boxes[wanted[n]]
        if settings.smoothing == "none":
            box = _found_anew(picture, box)
        margin = settings.padding * (box[3] - box[1]) * np.array([-1, -1, 1, 1], np.float32)
        crops.append(crop(picture, box + margin))
        framed.append(np.round(box + margin))  # as `crop` cuts: whole pixels
    return np.stack(crops), np.stack(framed).astype(np.float32)


@lru_cache(maxsize=1)
def _detector():
    return open_detector("dlib", None)


_detecting = threading.Lock()


def _found_anew(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The canonical box (4,) of the face that the embedded detector finds about here, else the box as it is."""
    height = float(box[3] - box[1])
    area = np.clip(box + LOOK_AROUND * height * np.array([-1, -1, 1, 1]), 0, np.tile(picture.shape[1::-1], 2)).round().astype(int)
    x0, y0, x1, y1 = (int(v) for v in area)
    if x1 - x0 < 8 or y1 - y0 < 8:
        return box
    scale = 160.0 / height
    looked_at = cv2.resize(picture[y0:y1, x0:x1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    with _detecting:
        faces = _detector().detect([looked_at])[0]
    found = [np.asarray(face.box, np.float32) / scale + np.array([x0, y0, x0, y0], np.float32) for face in faces]
    near = [each for each in found if np.abs(each - box).max() <= FARTHEST * height]
    return min(near, key=lambda each: float(np.abs(each - box).max())) if near else box


def _moved(face: np.ndarray, own: np.ndarray, box: np.ndarray, under: np.ndarray) -> np.ndarray:
    """A face generated for the box `own`, seen through `box`; what it does not cover stays as it is in `under`. All uint8 (96, 96, 3)."""
    size = face.shape[0]
    scale = (box[2:] - box[:2]) / (own[2:] - own[:2])
    start = (box[:2] - own[:2]) / (own[2:] - own[:2]) * size + 0.5 * scale - 0.5
    matrix = np.array([[scale[0], 0, start[0]], [0, scale[1], start[1]]], np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(face, matrix, (size, size), dst=under.copy(), flags=flags, borderMode=cv2.BORDER_TRANSPARENT)
