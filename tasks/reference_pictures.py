"""Pictures of a character's face, as a cast file names them: found with the detector, kept as what the face looks like."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from infra.errors import InputError
from tasks.likeness import looks_of
from wav2lip_core.face_crop import crop
from wav2lip_core.face_detector import DETECTION_WIDTH_PX, Face, FaceDetector, FaceDetectorError, open_detector

MOST_BYTES = 50_000_000
MARGIN = 0.5  # of the picture's size, added around a picture that is all face
LARGE = 0.5  # of the largest face's height: smaller ones are people in the background


def looks_of_picture(path: Path, detector_name: str, detector_weights: str | None) -> np.ndarray:
    """What the one face of a picture looks like, float32 (D,) of length 1; see tasks.likeness.

    Raises InputError for what is no picture, and for no face or several faces in it.
    """
    try:
        size = path.stat()
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}.") from error
    return _looks(path, (size.st_mtime_ns, size.st_size), detector_name, detector_weights)


@lru_cache(maxsize=256)
def _looks(path: Path, state: tuple[int, int], detector_name: str, detector_weights: str | None) -> np.ndarray:
    picture = _read(path, state[1])
    try:
        detector = _opened(detector_name, detector_weights)
    except (FaceDetectorError, OSError) as error:
        raise InputError(f"the face detector cannot be opened: {error}") from error
    return looks_of(_only_face(picture, detector)[None])


@lru_cache(maxsize=2)
def _opened(name: str, weights: str | None) -> FaceDetector:
    return open_detector(name, weights)


def _read(path: Path, num_bytes: int) -> np.ndarray:
    """uint8 (H, W, 3) BGR, upright as its EXIF says."""
    if num_bytes > MOST_BYTES:
        raise InputError(f"it is larger than {MOST_BYTES // 1_000_000} MB.")
    try:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR) if num_bytes else None
    except (OSError, cv2.error) as error:
        raise InputError("it cannot be read as a picture.") from error
    if picture is None:
        raise InputError("it is no picture that can be read; give JPEG or PNG.")
    return picture


def _only_face(picture: np.ndarray, detector: FaceDetector) -> np.ndarray:
    """The canonical crop of the picture's one face, uint8 (96, 96, 3)."""
    border = round(MARGIN * max(picture.shape[:2]))
    wide = cv2.copyMakeBorder(picture, border, border, border, border, cv2.BORDER_REPLICATE)
    looks = ((picture, detector), (picture, detector.at_width(2 * DETECTION_WIDTH_PX)), (wide, detector))
    found = [(shown, looking.detect([shown])[0]) for shown, looking in looks]  # every way: two faces must not pass for one
    large = [(shown, face) for shown, faces in found for face in faces[:1]]
    most = max(sum(_height(face) >= LARGE * max(map(_height, faces)) for face in faces) for _, faces in found)
    if most > 1:
        raise InputError(f"{most} faces are seen in it; give a picture of this character alone.")
    for shown, face in large:
        return crop(shown, np.asarray(face.box, np.float32))
    raise InputError("no face is found in it; give a picture from the front, the face at least 80 pixels high.")


def _height(face: Face) -> float:
    return face.box[3] - face.box[1]
