"""The three ways to find faces, at the size a picture has: dlib (inside its package), YuNet (OpenCV) and our RetinaFace (a file each)."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import dlib
import numpy as np
import torch
from torch import Tensor

from wav2lip_core.anchors import anchors, decode_boxes, decode_landmarks, nms
from wav2lip_core.checkpoint import CheckpointError, sha256_of
from wav2lip_core.retinaface import load_retinaface, prepare

Picture = np.ndarray  # uint8 H×W×3 BGR, or H×W grey where a back end sees no colours


# dlib, where it looks at a known face again:
_LEAST_SCORE = -0.5  # that an answer needs
_FARTHEST = 0.2  # of the size of the box it is expected in, and
_LARGEST_GROWTH = 1.4  # of that size: beyond either the face is better seen anew


class FaceDetectorError(ValueError):
    """The detector asked for cannot be opened: unknown name, or a file that is missing or no such model."""


@dataclass(frozen=True, eq=False)
class RawFaces:
    """What a back end found in one picture, in that picture's pixels: boxes (n, 4), scores (n,), landmarks (n, 5, 2) or None."""

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray | None
    seen: np.ndarray | None = None  # (n, 4) where each was seen at first: find_again, given that, sees it in the same way; None: that is the box

    @classmethod
    def none(cls) -> "RawFaces":
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), None)


class BackEnd(Protocol):
    """Finds faces in pictures at the size they have."""

    name: str
    sha256: str
    smallest_face_px: int  # height of the smallest raw box it can find
    sees_colours: bool = True  # else its pictures are grey

    def find(self, pictures: Sequence[Picture]) -> list[RawFaces]: ...

    def count(self, picture: Picture) -> int:
        """How many faces find() would find."""
        return len(self.find([picture])[0].boxes)

    def find_again(self, picture: Picture, boxes: Sequence[np.ndarray]) -> RawFaces | None:
        """Faces that are expected in these boxes (4,), in their order; None where one is not there, or whole pictures are all that it can look at."""
        return None


class DlibBackEnd(BackEnd):
    """dlib's frontal face detector (HOG and SVM, inside the package). Finds faces from 80 px height, upright and frontal.

    Its boxes lie on a coarse grid (sizes in steps of 1.2), so each face is looked at again at sizes and places
    between the grid's, and the answers are averaged: the box's centre is three times as steady then.
    """

    name = "dlib"
    smallest_face_px = 80
    sees_colours = False
    _NUM_LOOKS = 5
    _LOOK_FACE_PX = 100  # dlib's template is 80 px, so a face at this size is well inside its range
    _LOOK_SIDE = 1.7  # of the box's
    _PYRAMID_STEP = 1.2
    _CELL_PX = 8

    def __init__(self, threshold: float = 0.2) -> None:
        self._threshold = threshold
        self._make = dlib.get_frontal_face_detector  # pyright: ignore[reportAttributeAccessIssue] - a C extension without stubs
        self._of_thread = threading.local()  # dlib's detector keeps state while it runs
        self.sha256 = hashlib.sha256(f"dlib {dlib.__version__} frontal face detector, threshold {threshold}".encode()).hexdigest()

    def __reduce__(self) -> tuple[type["DlibBackEnd"], tuple[float]]:
        return DlibBackEnd, (self._threshold,)

    def find(self, pictures: Sequence[Picture]) -> list[RawFaces]:
        return [self._find_in(picture) for picture in pictures]

    def count(self, picture: Picture) -> int:
        return len(self._run(picture, self._threshold)[0])  # where they are exactly is not asked

    def find_again(self, picture: Picture, boxes: Sequence[np.ndarray]) -> RawFaces | None:
        if not len(boxes):
            return RawFaces.none()
        faces = self._refined(picture, np.stack(boxes))
        if (faces.scores < self._threshold).any() or _have_moved(faces) or _are_one(faces.boxes):
            return None
        return faces

    def _find_in(self, grey: np.ndarray) -> RawFaces:
        boxes, scores = self._run(grey, self._threshold)
        return replace(self._refined(grey, boxes), scores=scores)

    def _run(self, grey: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        if not hasattr(self._of_thread, "detector"):
            self._of_thread.detector = self._make()
        found, scores, _ = self._of_thread.detector.run(np.ascontiguousarray(grey), 0, threshold)
        boxes = [(r.left(), r.top(), r.right() + 1, r.bottom() + 1) for r in found]
        return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)

    def _refined(self, grey: np.ndarray, boxes: np.ndarray) -> RawFaces:
        """The faces in these boxes (n, 4), more exactly; the score of one that is not there is the least."""
        if not len(boxes):
            return RawFaces.none()
        answers = [self._answers(grey, box) for box in boxes]
        refined = [
            np.average([box, *found], axis=0, weights=[0.01, *(scores - _LEAST_SCORE)])  # the surer an answer is, the more it counts
            for box, (found, scores) in zip(boxes, answers, strict=True)
        ]
        scores = [scores.mean() if len(scores) else _LEAST_SCORE for _, scores in answers]
        return RawFaces(np.array(refined, np.float32), np.array(scores, np.float32), None, boxes.astype(np.float32))

    def _answers(self, grey: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is found around a box, at sizes and places between the grid's: boxes float32 (n, 4), scores (n,), at most a few for each look."""
        size = float(box[2] - box[0])
        centre = (box[:2] + box[2:]) / 2
        found, all_scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        for k in range(self._NUM_LOOKS):
            scale = self._LOOK_FACE_PX / size * self._PYRAMID_STEP ** ((k + 0.5) / self._NUM_LOOKS - 0.5)
            shift = (np.array([k * 0.618 % 1, k * 0.414 % 1]) - 0.5) * self._CELL_PX / scale  # spreads over one cell
            side = round(self._LOOK_SIDE * size)
            x0, y0 = (int(v) for v in np.round(centre + shift - side / 2))
            num_px = max(1, round(side * scale))
            look = cv2.resize(_cut_replicated(grey, x0, y0, side), (num_px, num_px), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            boxes, scores = self._run(look, _LEAST_SCORE)
            boxes = boxes * np.float32(side / num_px) + np.array([x0, y0, x0, y0], np.float32)
            is_near = np.abs(_centres(boxes) - centre).max(axis=1, initial=0) < 0.3 * size
            found.append(boxes[is_near])
            all_scores.append(scores[is_near])
        return np.concatenate(found), np.concatenate(all_scores)


def _have_moved(faces: RawFaces) -> bool:
    """Whether a face has left the box that it was looked for in, or no longer has its size."""
    assert faces.seen is not None
    size, seen_size = (boxes[:, 2] - boxes[:, 0] for boxes in (faces.boxes, faces.seen))
    moved = np.abs(_centres(faces.boxes) - _centres(faces.seen)).max(axis=1, initial=0)
    return bool((moved > _FARTHEST * seen_size).any() or (np.maximum(size / seen_size, seen_size / size) > _LARGEST_GROWTH).any())


def _are_one(boxes: np.ndarray) -> bool:
    """Whether two of the boxes (n, 4) have come to lie on the same face."""
    apart = np.abs(_centres(boxes)[:, None] - _centres(boxes)[None]).max(axis=2) + np.diag(np.full(len(boxes), np.inf))
    return bool((apart < 0.3 * (boxes[:, 2] - boxes[:, 0])).any())


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _cut_replicated(grey: np.ndarray, x0: int, y0: int, side: int) -> np.ndarray:
    """A square of the picture; what lies outside repeats the picture's edge."""
    height, width = grey.shape
    if x0 >= 0 and y0 >= 0 and x0 + side <= width and y0 + side <= height:
        return grey[y0 : y0 + side, x0 : x0 + side]
    rows = np.clip(np.arange(y0, y0 + side), 0, height - 1)
    columns = np.clip(np.arange(x0, x0 + side), 0, width - 1)
    return grey[np.ix_(rows, columns)]


class YunetBackEnd(BackEnd):
    """YuNet through OpenCV. Gives landmarks; finds faces from about 10 px, also turned."""

    name = "yunet"
    smallest_face_px = 12
    _NMS_IOU = 0.3
    _MOST_CANDIDATES = 5000

    def __init__(self, path: Path, threshold: float = 0.7) -> None:
        self._path = path
        self._threshold = threshold
        self._of_thread = threading.local()  # the OpenCV object keeps the input size
        self.sha256 = sha256_of(path)
        self._detector()  # a wrong file is refused at once

    def __reduce__(self) -> tuple[type["YunetBackEnd"], tuple[Path, float]]:
        return YunetBackEnd, (self._path, self._threshold)

    def find(self, pictures: Sequence[Picture]) -> list[RawFaces]:
        return [self._find_in(picture) for picture in pictures]

    def _find_in(self, picture: Picture) -> RawFaces:
        detector = self._detector()
        detector.setInputSize((picture.shape[1], picture.shape[0]))
        _, rows = detector.detect(np.ascontiguousarray(picture))
        if rows is None:
            return RawFaces.none()
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return RawFaces(boxes.astype(np.float32), rows[:, 14].astype(np.float32), rows[:, 4:14].reshape(-1, 5, 2).astype(np.float32))

    def _detector(self) -> cv2.FaceDetectorYN:
        if not hasattr(self._of_thread, "detector"):
            level = cv2.utils.logging.getLogLevel()
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of a device nobody asked for
            try:
                size = (64, 64)  # set anew for each picture
                made = cv2.FaceDetectorYN.create(str(self._path), "", size, self._threshold, self._NMS_IOU, self._MOST_CANDIDATES)
                made.detect(np.zeros((*size, 3), np.uint8))  # another network's file fails here, not in the middle of a film
            except cv2.error as error:
                raise FaceDetectorError(f"{self._path} is not a YuNet model that OpenCV can read: {error}") from error
            finally:
                cv2.utils.logging.setLogLevel(level)
            self._of_thread.detector = made
        return self._of_thread.detector


class RetinaFaceBackEnd(BackEnd):
    """A RetinaFace network as a detector's back end; pictures of one size go through it together."""

    name = "retinaface"
    smallest_face_px = 12
    _MOST_AT_ONCE = 8
    _MOST_CANDIDATES = 2000
    _NMS_IOU = 0.4

    def __init__(self, path: Path, threshold: float = 0.9) -> None:
        try:
            network = load_retinaface(path)
        except CheckpointError as error:
            raise FaceDetectorError(str(error)) from error
        self.sha256 = sha256_of(path)
        self._threshold = threshold
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network.requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - as pictures lie
        self._network = network.to(self._device)

    def find(self, pictures: Sequence[np.ndarray]) -> list[RawFaces]:
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, picture in enumerate(pictures):
            by_shape.setdefault(picture.shape, []).append(i)
        found: dict[int, RawFaces] = {}
        for indices in by_shape.values():
            for start in range(0, len(indices), self._MOST_AT_ONCE):
                batch = indices[start : start + self._MOST_AT_ONCE]
                found.update(zip(batch, self._find_in_batch(np.stack([pictures[i] for i in batch])), strict=True))
        return [found[i] for i in range(len(pictures))]

    @torch.inference_mode()
    def _find_in_batch(self, pictures: np.ndarray) -> list[RawFaces]:
        offsets, logits, landmark_offsets = self._network(prepare(pictures, self._network.variant.input_range).to(self._device))
        priors = anchors(*pictures.shape[1:3], self._network.variant.anchor_sides_px).to(self._device)
        scores = logits.softmax(dim=-1)[..., 1]
        return [self._faces(*one, priors) for one in zip(offsets, scores, landmark_offsets, strict=True)]

    def _faces(self, offsets: Tensor, scores: Tensor, landmark_offsets: Tensor, priors: Tensor) -> RawFaces:
        good = torch.nonzero(scores > self._threshold).flatten()
        good = good[torch.topk(scores[good], min(len(good), self._MOST_CANDIDATES)).indices]
        boxes = decode_boxes(offsets[good], priors[good])
        kept = nms(boxes, scores[good], self._NMS_IOU)
        landmarks = decode_landmarks(landmark_offsets[good][kept], priors[good][kept])
        return RawFaces(boxes[kept].cpu().numpy(), scores[good][kept].cpu().numpy(), landmarks.cpu().numpy())
