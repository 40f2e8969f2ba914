"""Which face is which, from frame to frame: optical flow carries every face onwards, each look of a detector corrects it."""

from array import array
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from wav2lip_core.face_detector import Face

# Points followed by optical flow, as shares of the canonical box: forehead to nose, which move with the head and not with speech.
_POINTS = np.stack(np.meshgrid(np.linspace(0.22, 0.78, 7), np.linspace(0.2, 0.58, 5)), axis=-1).reshape(-1, 2).astype(np.float32)
_FEWEST_POINTS = 8
_LARGEST_ERROR_PX = 1.0  # there and back again
_FLOW_MARGIN_PX = 64  # around the points: as far as the flow looks, whose coarsest window is 15 px of a picture an eighth as large
_LEAST_PART_PX = 16
_LARGEST_STEP = 0.5  # of a face's height, from one frame to the next
_RESTLESS = 0.25  # of a face's height since the last look
_CALM = 0.1
_KNOWN_AFTER = 3  # sightings
_LARGEST_JUMP = 0.6  # of a face's height, between where a face is expected and where it is found
_LARGEST_GROWTH = 1.6
_SAME_FACE_IOU = 0.4
_COAST_AS_LAST = 10  # frames
_NOT_A_MATCH = 1e6


@dataclass
class Trail:
    """One face through the frames: where a detector saw it, and how the picture under it moved from frame to frame."""

    first_frame: int
    sightings: list[tuple[int, Face]]  # (frame, face)
    steps: array = field(default_factory=lambda: array("f"))  # dx, dy per frame after first_frame; nan where the flow was lost
    centre: np.ndarray = field(default_factory=lambda: np.zeros(2, np.float32))  # expected now
    moved: float = 0.0  # px since the last look
    is_lost: bool = False  # the flow was, since the last look
    is_covered: bool = False  # by another face, since last seen

    @property
    def last_seen(self) -> int:
        return self.sightings[-1][0]

    @property
    def size(self) -> np.ndarray:
        """Width and height when last seen."""
        x0, y0, x1, y1 = self.sightings[-1][1].box
        return np.array([x1 - x0, y1 - y0], np.float32)

    @property
    def box(self) -> np.ndarray:
        """Where the face is expected now: XYXY."""
        return np.concatenate([self.centre - self.size / 2, self.centre + self.size / 2])

    @property
    def raw_box(self) -> np.ndarray:
        """The detector's own box when last seen, carried on to where the face is expected now: float32 (4,)."""
        face = self.sightings[-1][1]
        return np.array(face.raw_box, np.float32) + np.tile(self.centre - _centre(face), 2)

    def coast(self) -> None:
        """Behind another face the flow follows that one: forget what it said since the last sighting, and go on as before it."""
        known = self.last_seen - self.first_frame
        for i in range(2 * known, len(self.steps)):
            self.steps[i] = np.nan
        before = self.flow()[max(0, known - _COAST_AS_LAST) : known]
        velocity = np.nan_to_num(before).mean(axis=0) if len(before) else np.zeros(2)
        self.centre = (_centre(self.sightings[-1][1]) + velocity * (len(self.steps) // 2 - known)).astype(np.float32)

    def flow(self) -> np.ndarray:
        """float32 (frames after the first, 2) steps; nan where lost."""
        return np.array(self.steps, np.float32).reshape(-1, 2)


class FaceTracker:
    """Feed it every frame in order: `follow`, and where a detector looked, `see`. All in pixels of the pictures followed."""

    def __init__(self) -> None:
        self.ended: list[Trail] = []
        self.alive: list[Trail] = []
        self.looks: list[int] = []  # frames a detector looked at
        self._previous: np.ndarray | None = None

    def follow(self, grey: np.ndarray) -> None:
        """Carry every face on to the next frame: uint8 (H, W), the same size each time."""
        if self._previous is not None and self.alive:
            starts = np.stack([trail.box[:2] + _POINTS * trail.size for trail in self.alive])
            for trail, step in zip(self.alive, _median_steps(self._previous, grey, starts), strict=True):
                lost = bool(np.isnan(step).any()) or float(np.abs(step).max()) > _LARGEST_STEP * float(trail.size[1])
                trail.steps.extend([np.nan, np.nan] if lost else step.tolist())
                trail.is_lost |= lost
                if trail.is_covered:
                    trail.coast()
                elif not lost:
                    trail.centre = trail.centre + step
                    trail.moved += float(np.hypot(*step))
        self._previous = grey

    def is_restless(self) -> bool:
        """Whether a face has moved far, or the flow lost one, since the last look: then a detector should look again."""
        return any(trail.is_lost or trail.moved > _RESTLESS * trail.size[1] for trail in self.alive)

    def is_calm(self) -> bool:
        """Whether the last look saw every face, each of them well known, and none has moved to speak of since."""
        known = all(len(trail.sightings) >= _KNOWN_AFTER for trail in self.alive)
        return known and self.sees_all() and all(trail.moved < _CALM * trail.size[1] for trail in self.alive)

    def sees_all(self) -> bool:
        """Whether the last look saw every face and the flow has lost none since."""
        return all(trail.last_seen == self.looks[-1] and not trail.is_lost for trail in self.alive)

    def expected(self) -> list[np.ndarray]:
        """Where a detector should find each face now: its raw box when last seen, carried on."""
        return [trail.raw_box for trail in self.alive]

    def see(self, frame: int, faces: list[Face]) -> None:
        """What a detector found in the frame followed last: each face goes to the trail that expects it, or begins one."""
        self.looks.append(frame)
        pairs = _assign(self.alive, faces)
        for i, j in pairs:
            self.alive[i].sightings.append((frame, faces[j]))
            self.alive[i].centre = _centre(faces[j])
        for trail in self.alive:
            trail.moved, trail.is_lost = 0.0, False
            is_hidden = trail.last_seen < frame
            trail.is_covered = is_hidden and (trail.is_covered or any(_is_near(trail, other) for other in self.alive if other.last_seen == frame))
            if trail.is_covered:
                trail.coast()
        taken = {j for _, j in pairs}
        for j, face in enumerate(faces):
            if j not in taken and all(iou(np.array(face.box), trail.box) < _SAME_FACE_IOU for trail in self.alive):
                self.alive.append(Trail(frame, [(frame, face)], centre=_centre(face)))

    def end_unseen_since(self, frame: int) -> None:
        """Give up the faces last seen before `frame`."""
        self.ended += [trail for trail in self.alive if trail.last_seen < frame]
        self.alive = [trail for trail in self.alive if trail.last_seen >= frame]

    def trails(self) -> list[Trail]:
        """All faces so far, by first frame and then from left to right."""
        return sorted(self.ended + self.alive, key=lambda trail: (trail.first_frame, trail.sightings[0][1].box[0]))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two XYXY boxes."""
    overlap = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(overlap / max(1e-9, np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - overlap))


def _centre(face: Face) -> np.ndarray:
    x0, y0, x1, y1 = face.box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2], np.float32)


def _is_near(trail: Trail, other: Trail) -> bool:
    return float(np.hypot(*(trail.centre - other.centre))) < 0.8 * float(other.size[1])


def _assign(trails: list[Trail], faces: list[Face]) -> list[tuple[int, int]]:
    """Pairs (trail, face) of least total cost: distance in face heights, and how little the boxes overlap."""
    if not trails or not faces:
        return []
    cost = np.full((len(trails), len(faces)), _NOT_A_MATCH)
    for i, trail in enumerate(trails):
        for j, face in enumerate(faces):
            height = face.box[3] - face.box[1]
            distance = float(np.hypot(*(_centre(face) - trail.centre))) / max(height, float(trail.size[1]))
            growth = max(height / trail.size[1], trail.size[1] / height)
            if distance < _LARGEST_JUMP and growth < _LARGEST_GROWTH:
                cost[i, j] = distance + 1 - iou(np.array(face.box), trail.box)
    rows, columns = linear_sum_assignment(cost)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if cost[i, j] < _NOT_A_MATCH]


def _median_steps(before: np.ndarray, now: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """How far each group of points (groups, points, 2) moved, as the median over those found there and back; nan where too few are.

    Only the part of the picture around them is looked at.
    """
    height, width = now.shape
    left, top = np.maximum(0, starts.min(axis=(0, 1)) - _FLOW_MARGIN_PX).astype(int)
    right, bottom = np.minimum((width, height), starts.max(axis=(0, 1)) + _FLOW_MARGIN_PX + 1).astype(int)
    if min(right - left, bottom - top) < _LEAST_PART_PX:
        return np.full((len(starts), 2), np.nan, np.float32)  # the faces have left the picture
    before, now = before[top:bottom, left:right], now[top:bottom, left:right]
    starts = starts - np.array([left, top], np.float32)
    flat = starts.reshape(-1, 1, 2).astype(np.float32)
    options = {"winSize": (15, 15), "maxLevel": 3}
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, now, flat, flat.copy(), **options)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(now, before, there, flat.copy(), **options)
    error = np.abs(back - flat).max(axis=(1, 2))
    height, width = now.shape
    inside = ((there >= 0) & (there < (width, height))).all(axis=(1, 2))
    good = (found[:, 0] > 0) & (found_back[:, 0] > 0) & (error < _LARGEST_ERROR_PX) & inside
    moves = np.where(good[:, None], (there - flat)[:, 0], np.nan).reshape(starts.shape)
    steps = np.full((len(starts), 2), np.nan, np.float32)
    for i, move in enumerate(moves):
        kept = move[~np.isnan(move[:, 0])]
        if len(kept) >= _FEWEST_POINTS:
            steps[i] = np.median(kept, axis=0)
    return steps
