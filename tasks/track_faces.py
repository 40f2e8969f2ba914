"""Who is seen in a shot, and where in every frame: detected as often as motion asks, followed in between, smoothed, and cropped."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from infra.errors import InputError
from infra.video import FrameReader
from tasks.face_looks import SMALLEST_FACE_PX, Shape, face_paths
from tasks.face_stills import StillCutter
from tasks.track_crops import Frames, cut_crops
from tasks.types import FaceTrack, Film, Shot, ShotFaces
from wav2lip_core.face_detector import FaceDetector, FaceDetectorError, open_detector
from wav2lip_core.face_path import FacePath

VERSION = 5
MOST_CROPPED_TRACKS = 50  # the largest faces


def track_faces(store: ArtifactStore, film: Film, shot: Shot, detector_name: str, detector_weights: str | Path | None) -> ShotFaces:
    """The faces of one shot: a track per person, numbered from the left at first sight, and for each usable one its 96x96 crops.

    Geometry per track: boxes (n, 4) float32 canonical XYXY in film pixels (they may reach over the picture's edge), confidence (n,)
    float32 in the detector's own scale, detected (n,) bool (False where a gap was bridged), landmarks (n, 5, 2) float32 if the detector
    gives any. Crops: uint8 (n, 96, 96, 3) BGR. Memory does not grow with the shot. Raises InputError when the detector cannot be opened.
    """
    detector = open_once(detector_name, detector_weights)

    def make() -> ShotFaces:
        timing = store.load_arrays(film.timing)
        reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
        pts = timing["pts"][shot.first_frame : shot.end_frame]
        return follow_faces(store, film, shot, (pts - pts[0]) * float(film.time_base), reader, detector)

    return keep_faces(store, film.sha256, shot, detector, make)


def keep_faces(store: ArtifactStore, film_sha256: str, shot: Shot, detector: FaceDetector, make: Callable[[], ShotFaces]) -> ShotFaces:
    """The faces of one shot; make() finds them where they are not stored yet."""
    return store.get_or_make("track_faces", VERSION, _inputs(film_sha256, shot, detector), ShotFaces, make)


def stored_faces(store: ArtifactStore, film_sha256: str, shot: Shot, detector: FaceDetector) -> ShotFaces | None:
    """The faces of one shot, if somebody found them before."""
    return store.find("track_faces", VERSION, _inputs(film_sha256, shot, detector), ShotFaces)


def _inputs(film_sha256: str, shot: Shot, detector: FaceDetector) -> dict:
    return {"film_sha256": film_sha256, "shot": shot, "detector": detector.name, "detector_sha256": detector.sha256}


def open_once(name: str, weights: str | Path | None) -> FaceDetector:
    """The detector; the same one for the same weights. Raises InputError when it cannot be opened."""
    try:
        status = None if weights is None else Path(weights).stat()
        return _opened(name, None if weights is None else str(weights), status and (status.st_mtime_ns, status.st_size))
    except (FaceDetectorError, OSError) as error:
        raise InputError(f"the face detector cannot be opened: {error}") from error


@lru_cache(maxsize=4)
def _opened(name: str, weights: str | None, _file_state: tuple[int, int] | None) -> FaceDetector:
    return open_detector(name, weights)


def follow_faces(store: ArtifactStore, film: Shape, shot: Shot, times_s: np.ndarray, reader: Frames, detector: FaceDetector) -> ShotFaces:
    """The faces of one shot, from its frames. times_s: float64 (n,) of each, from the shot's first."""
    paths = face_paths(reader, film, shot, times_s, detector)
    reasons = [_unusable_reason(path) for path in paths]
    usable = [i for i, reason in enumerate(reasons) if reason is None]
    for i in sorted(usable, key=lambda i: -_height(paths[i]))[MOST_CROPPED_TRACKS:]:
        reasons[i] = "too_many"
    cut = {i: paths[i] for i, reason in enumerate(reasons) if reason is None}
    stills = {i: StillCutter(path.boxes, times_s[path.first_frame : path.end_frame], film.width, film.height) for i, path in cut.items()}
    crops = cut_crops(store, reader, film.rotation_degrees, shot, cut, stills)
    kept = {i: cutter.put(store) for i, cutter in stills.items()}
    tracks = [_record(store, shot, i, path, crops.get(i), kept.get(i), reasons[i]) for i, path in enumerate(paths)]
    return ShotFaces(shot_index=shot.index, num_faces=len(tracks), tracks=tuple(tracks))


def _unusable_reason(path: FacePath) -> str | None:
    if _height(path) < SMALLEST_FACE_PX:
        return "too_small"
    return "profile" if path.landmarks is not None and _is_profile(path.landmarks) else None


def _height(path: FacePath) -> float:
    return float(np.median(path.boxes[:, 3] - path.boxes[:, 1]))


def _is_profile(landmarks: np.ndarray) -> bool:
    """Whether the nose mostly lies beyond one of the eyes, measured along the line between them."""
    eye, other_eye, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    between = other_eye - eye
    place = ((nose - eye) * between).sum(axis=1) / np.maximum((between * between).sum(axis=1), 1e-6)
    return not 0 <= float(np.median(place)) <= 1


def _record(
    store: ArtifactStore, shot: Shot, track_id: int, path: FacePath, crops: Artifact | None, stills: Artifact | None, reason: str | None
) -> FaceTrack:
    arrays = {"boxes": path.boxes, "confidence": path.confidence, "detected": path.detected}
    if path.landmarks is not None:
        arrays["landmarks"] = path.landmarks
    x0, y0, x1, y1 = (float(value) for value in path.boxes.mean(axis=0, dtype=np.float64))
    return FaceTrack(
        shot_index=shot.index,
        track_id=track_id,
        first_frame=shot.first_frame + path.first_frame,
        end_frame=shot.first_frame + path.end_frame,
        geometry=store.put_arrays(**arrays),
        mean_box=(x0, y0, x1, y1),
        crops=crops,
        stills=stills,
        usable=reason is None,
        unusable_reason=reason,
    )
