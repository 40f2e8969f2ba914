"""Who is seen in a shot, and where in every frame: detected as often as motion asks, followed in between, smoothed, and cropped."""

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from infra.errors import InputError
from infra.video import FrameReader, upright_bgr
from tasks.face_stills import StillCutter
from tasks.track_crops import Frames, cut_crops
from tasks.types import FaceTrack, Film, Shot, ShotFaces
from wav2lip_core.face_detector import DETECTION_WIDTH_PX, Face, FaceDetector, FaceDetectorError, open_detector
from wav2lip_core.face_path import FacePath, smooth_path
from wav2lip_core.face_tracker import FaceTracker, Trail

VERSION = 4
LOOK_EVERY_S = 0.2
CALM_LOOK_EVERY_S = 0.6  # where no face moves and nothing changes
CALM_CHANGE = 20.0  # grey levels since the last look, of the thumbnail's pixel that changed most: somebody new changes a dozen of them by more
FIRST_LOOKS = 3  # a shot's, whatever happens in it
SHORTEST_LOOK_GAP_S = 0.08  # however restless the picture is
RESTLESS_CHANGE = 12.0  # mean grey levels of a thumbnail since the last look, above which a detector looks again
CLOSE_WIDTH_PX = 2 * DETECTION_WIDTH_PX
CLOSE_LOOK_EVERY = 10  # looks between two close ones, which tell whether there are faces too small to be seen otherwise
LONGEST_GAP_S = 2.0  # a face unseen for longer has left; if it comes back it is somebody new

SEEN_SHARE = 0.2  # of a shot's looks, below which a face must have been seen often and well to count
FEW_LOOKS = 5
SURE_SCORES = {"dlib": 0.5, "yunet": 0.8, "retinaface": 0.95}

SMALLEST_FACE_PX = 48  # of the canonical box's height
MOST_CROPPED_TRACKS = 50  # the largest faces

MissesFaces = Callable[[av.VideoFrame, list[Face]], bool]


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


class Shape(Protocol):
    """Upright size in pixels, their shape, and the clockwise turn that makes the coded picture upright."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def rotation_degrees(self) -> int: ...
    @property
    def sample_aspect_ratio(self) -> Fraction: ...


def follow_faces(store: ArtifactStore, film: Shape, shot: Shot, times_s: np.ndarray, reader: Frames, detector: FaceDetector) -> ShotFaces:
    """The faces of one shot, from its frames. times_s: float64 (n,) of each, from the shot's first."""
    paths = _paths(reader, film, shot, times_s, detector)
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


# First pass: where the faces are.


def _paths(reader: Frames, film: Shape, shot: Shot, times_s: np.ndarray, detector: FaceDetector) -> list[FacePath]:
    """The smooth path of every person, from left to right at first sight. Starts again, closer, when faces turn out to be too small."""
    size, close_size = (_square_size(film, min(film.width, width)) for width in (DETECTION_WIDTH_PX, CLOSE_WIDTH_PX))
    close_detector = detector.at_width(close_size[0])

    def misses_faces(frame: av.VideoFrame, faces: list[Face]) -> bool:
        return close_detector.count(_picture(frame, film.rotation_degrees, close_size)) > len(faces)

    sees_all = close_size == size or detector.smallest_face_px(film.width) <= SMALLEST_FACE_PX
    tracker = _followed(reader, film.rotation_degrees, shot, times_s, detector, size, _misses_none if sees_all else misses_faces)
    if tracker is None:
        size, tracker = close_size, _followed(reader, film.rotation_degrees, shot, times_s, close_detector, close_size, _misses_none)
        assert tracker is not None
    scale = film.width / size[0], film.height / size[1]
    paths = [smooth_path(trail, tracker.looks, times_s, scale) for trail in _people(tracker, SURE_SCORES[detector.name])]
    return sorted(paths, key=lambda path: (path.boxes[0, 0] + path.boxes[0, 2], path.first_frame))


def _square_size(film: Shape, width: int) -> tuple[int, int]:
    """Width and height of the upright picture with square pixels: a detector does not know squeezed faces."""
    squeeze = float(film.sample_aspect_ratio if film.rotation_degrees % 180 == 0 else 1 / film.sample_aspect_ratio)
    return width, max(1, round(film.height * width / (film.width * min(max(squeeze, 0.25), 4.0))))


def _picture(frame: av.VideoFrame, rotation_degrees: int, size: tuple[int, int]) -> np.ndarray:
    picture = upright_bgr(frame, rotation_degrees, size[0])
    return picture if picture.shape[0] == size[1] else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _misses_none(_frame: av.VideoFrame, _faces: list[Face]) -> bool:
    return False


def _followed(
    reader: Frames,
    rotation_degrees: int,
    shot: Shot,
    times_s: np.ndarray,
    detector: FaceDetector,
    size: tuple[int, int],
    misses_faces: MissesFaces,
) -> FaceTracker | None:
    """Every face followed through the shot, in pictures of this size and with frames counted from the shot's first; None if faces are missed."""
    tracker = FaceTracker()
    half_frame_s = float(np.median(np.diff(times_s))) / 2 if len(times_s) > 1 else 0.0
    looked_s, looked_at = -np.inf, np.zeros((1, 1), np.float32)
    for n, frame in reader.frames(shot.first_frame, shot.end_frame):
        i = n - shot.first_frame
        picture = _picture(frame, rotation_degrees, size)
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        thumbnail = cv2.resize(grey, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32)
        tracker.follow(grey)
        is_last = i == len(times_s) - 1
        if not is_last and not _is_due(tracker, times_s[i] - looked_s + half_frame_s, np.abs(thumbnail - looked_at)):
            continue
        faces = detector.detect([picture])[0]
        if (len(tracker.looks) % CLOSE_LOOK_EVERY == 0 or is_last) and misses_faces(frame, faces):
            return None
        tracker.see(i, faces)
        tracker.end_unseen_since(int(np.searchsorted(times_s, times_s[i] - LONGEST_GAP_S)))
        looked_s, looked_at = times_s[i], thumbnail
    return tracker


def _is_due(tracker: FaceTracker, waited_s: float, change: np.ndarray) -> bool:
    """Whether a detector should look again. change: of each pixel of the thumbnail since it last did."""
    if waited_s < LOOK_EVERY_S:
        return waited_s >= SHORTEST_LOOK_GAP_S and (tracker.is_restless() or float(change.mean()) > RESTLESS_CHANGE)
    is_calm = len(tracker.looks) >= FIRST_LOOKS and tracker.is_calm() and float(change.max()) < CALM_CHANGE
    return waited_s >= CALM_LOOK_EVERY_S or not is_calm


def _people(tracker: FaceTracker, sure_score: float) -> list[Trail]:
    """The trails that are faces indeed: seen in a fair share of the shot's looks, or often and well."""

    def is_real(trail: Trail) -> bool:
        num_seen, num_looks = len(trail.sightings), len(tracker.looks)
        if num_looks < FEW_LOOKS or num_seen >= SEEN_SHARE * num_looks:
            return True
        return num_seen >= FEW_LOOKS and float(np.mean([face.score for _, face in trail.sightings])) >= sure_score

    return [trail for trail in tracker.trails() if is_real(trail)]


# Second pass: the crops (see tasks.track_crops), and what can be done with each face.


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
