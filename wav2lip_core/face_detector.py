"""Faces in pictures: three back ends behind one protocol, all answering in the canonical crop convention of `face_crop`.

A picture is looked at scaled to a set width (640 px); what is found is scaled back to the picture's own pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from wav2lip_core import face_crop
from wav2lip_core.face_back_ends import BackEnd, DlibBackEnd, FaceDetectorError, RawFaces, RetinaFaceBackEnd, YunetBackEnd

__all__ = ["DETECTORS", "Face", "FaceDetector", "FaceDetectorError", "ScaledDetector", "open_detector"]

Box = tuple[float, float, float, float]  # x0, y0, x1, y1; pixel edges, so a whole picture is (0, 0, width, height)
Picture = np.ndarray  # uint8 H×W×3 BGR, or H×W grey

DETECTORS = ("dlib", "yunet", "retinaface")
DETECTION_WIDTH_PX = 640
LARGEST_UPSCALE = 2.0
SMALLEST_SIDE_PX = 24  # of the picture a back end looks at: no face fits into less


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one picture, in that picture's pixels. It may reach over the picture's edge."""

    box: Box  # canonical crop, see face_crop
    score: float  # in [0, 1] for yunet and retinaface; dlib's is a margin, 0 and up, rarely over 3
    landmarks: np.ndarray | None  # (5, 2) xy: eye, eye, nose, mouth corner, mouth corner; left in the picture comes first
    raw_box: Box  # where the back end saw it at first, in its own convention


class FaceDetector(Protocol):
    """Finds faces in pictures of any size, grey or BGR."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str:
        """Of the weights; results may be remembered under (name, sha256)."""
        ...

    @property
    def sees_colours(self) -> bool:
        """Whether colours tell it anything: else a grey picture is as good."""
        ...

    def smallest_face_px(self, image_width_px: int) -> float:
        """Height, in a picture of that width, of the smallest raw box that can be found."""
        ...

    def detect(self, images: Sequence[Picture]) -> list[list[Face]]:
        """Faces of each picture, best first. Pictures: uint8 H×W×3 BGR or H×W grey."""
        ...

    def count(self, image: Picture) -> int:
        """How many faces detect() would find, where they lie being of no interest: with dlib in half the time."""
        ...

    def find_again(self, image: Picture, raw_boxes: Sequence[np.ndarray]) -> list[Face] | None:
        """Known faces, looked for only where they are expected: raw boxes (4,) in the picture's pixels. Best first.

        None where one of them is not there, or this detector only looks at whole pictures: detect() tells then.
        """
        ...

    def at_width(self, width_px: int) -> "FaceDetector":
        """The same detector, looking at pictures scaled to another width."""
        ...


@dataclass(frozen=True)
class ScaledDetector:
    """A back end that looks at every picture scaled to `width_px`, but never enlarged more than twofold."""

    back_end: BackEnd
    width_px: int = DETECTION_WIDTH_PX

    @property
    def name(self) -> str:
        return self.back_end.name

    @property
    def sha256(self) -> str:
        return self.back_end.sha256

    @property
    def sees_colours(self) -> bool:
        return self.back_end.sees_colours

    def at_width(self, width_px: int) -> "ScaledDetector":
        return ScaledDetector(self.back_end, width_px)

    def smallest_face_px(self, image_width_px: int) -> float:
        return self.back_end.smallest_face_px / min(self.width_px / image_width_px, LARGEST_UPSCALE)

    def detect(self, images: Sequence[Picture]) -> list[list[Face]]:
        pictures = [self._looked_at(image) for image in images]
        large = [i for i, picture in enumerate(pictures) if _is_large(picture)]
        found = dict(zip(large, self.back_end.find([pictures[i] for i in large]), strict=True))
        return [_to_faces(found.get(i, RawFaces.none()), pictures[i], image) for i, image in enumerate(images)]

    def count(self, image: Picture) -> int:
        picture = self._looked_at(image)
        return self.back_end.count(picture) if _is_large(picture) else 0

    def find_again(self, image: Picture, raw_boxes: Sequence[np.ndarray]) -> list[Face] | None:
        picture = self._looked_at(image)
        scale = np.tile((picture.shape[1] / image.shape[1], picture.shape[0] / image.shape[0]), 2)
        found = self.back_end.find_again(picture, [(box * scale).astype(np.float32) for box in raw_boxes])
        return None if found is None else _to_faces(found, picture, image)

    def _looked_at(self, image: Picture) -> Picture:
        _check(image)
        return _scaled(_colour(image) if self.sees_colours else _grey(image), min(self.width_px / image.shape[1], LARGEST_UPSCALE))


def open_detector(name: str, weights: str | Path | None = None, *, width_px: int = DETECTION_WIDTH_PX) -> FaceDetector:
    """A detector by name: `dlib` (needs no file), `yunet` (an .onnx file) or `retinaface` (a .pth file). Raises FaceDetectorError."""
    if name not in DETECTORS:
        raise FaceDetectorError(f"there is no face detector named {name!r}; choose one of {', '.join(DETECTORS)}")
    if name == "dlib":
        return ScaledDetector(DlibBackEnd(), width_px)
    if weights is None:
        raise FaceDetectorError(f"face detector {name!r} needs a weights file; the detector 'dlib' needs none")
    path = Path(weights)
    if not path.is_file():
        raise FaceDetectorError(f"weights of face detector {name!r} not found: {path}")
    return ScaledDetector(YunetBackEnd(path) if name == "yunet" else RetinaFaceBackEnd(path), width_px)


def _is_large(picture: Picture) -> bool:
    return min(picture.shape[:2]) >= SMALLEST_SIDE_PX


def _check(image: Picture) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise ValueError(f"a picture must be uint8 of shape (H, W, 3) or (H, W), not {image.dtype} of shape {image.shape}")


def _grey(image: Picture) -> Picture:
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 and image.shape[2] == 3 else image.reshape(image.shape[:2])


def _colour(image: Picture) -> Picture:
    return image if image.ndim == 3 and image.shape[2] == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


def _scaled(image: Picture, scale: float) -> Picture:
    if scale == 1:
        return image
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _to_faces(raw: RawFaces, picture: Picture, image: Picture) -> list[Face]:
    """Scale back from the picture looked at to the image given, and map to the canonical crop. Best first."""
    back = np.array([image.shape[1] / picture.shape[1], image.shape[0] / picture.shape[0]], np.float32)
    faces = []
    for i in np.argsort(-raw.scores, kind="stable"):
        raw_box, seen_box = (boxes[i] * np.tile(back, 2) for boxes in (raw.boxes, raw.boxes if raw.seen is None else raw.seen))
        landmarks = None if raw.landmarks is None else raw.landmarks[i] * back
        box = face_crop.from_dlib(raw_box) if landmarks is None else face_crop.from_landmarks(landmarks)
        faces.append(Face(_as_box(box), float(raw.scores[i]), landmarks, _as_box(seen_box)))
    return faces


def _as_box(values: np.ndarray) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    return x0, y0, x1, y1
