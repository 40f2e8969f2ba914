"""Where the faces of a shot are, frame by frame: a detector looks as often as motion asks, and only where something may have changed; in between, and
into the next look, optical flow leads."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import av
import cv2
import numpy as np

from infra.grey import upright_grey
from infra.video import upright_bgr
from tasks.track_crops import Frames
from tasks.types import Shot
from wav2lip_core.face_detector import DETECTION_WIDTH_PX, Face, FaceDetector
from wav2lip_core.face_path import FacePath, smooth_path
from wav2lip_core.face_tracker import FaceTracker, Trail

LOOK_EVERY_S = 0.2
CALM_LOOK_EVERY_S = 0.6  # where no face moves and nothing changes
CALM_CHANGE = 20.0  # grey levels of the thumbnail's pixel that changed most: somebody new changes a dozen of them by more
FIRST_LOOKS = 3  # a shot's, before it may be calm
FIRST_SEARCHES = 2  # of them, at the whole picture
SEARCH_EVERY_S = 2.0  # between looks at the whole picture, however little changes beside the faces known
SHORTEST_LOOK_GAP_S = 0.08  # however restless the picture is
RESTLESS_CHANGE = 12.0  # mean grey levels of a thumbnail since the last look, above which a detector looks again
CLOSE_WIDTH_PX = 2 * DETECTION_WIDTH_PX
CLOSE_LOOK_EVERY = 10  # looks between two close ones, which tell whether there are faces too small to be seen otherwise
LONGEST_GAP_S = 2.0  # a face unseen for longer has left; if it comes back it is somebody new
THUMBNAIL = (32, 18)  # width, height

SEEN_SHARE = 0.2  # of a shot's looks, below which a face must have been seen often and well to count
FEW_LOOKS = 5
SURE_SCORES = {"dlib": 0.5, "yunet": 0.8, "retinaface": 0.95}

SMALLEST_FACE_PX = 48  # of the canonical box's height


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


def face_paths(reader: Frames, film: Shape, shot: Shot, times_s: np.ndarray, detector: FaceDetector) -> list[FacePath]:
    """The smooth path of every person, from left to right at first sight. Starts again, closer, when faces turn out to be too small.

    times_s: float64 (n,) of each frame of the shot, from its first.
    """
    size, close_size = (_square_size(film, min(film.width, width)) for width in (DETECTION_WIDTH_PX, CLOSE_WIDTH_PX))
    sees_all = close_size == size or detector.smallest_face_px(film.width) <= SMALLEST_FACE_PX
    close = None if sees_all else _View(detector.at_width(close_size[0]), film.rotation_degrees, close_size)
    tracker = _followed(reader, shot, times_s, _View(detector, film.rotation_degrees, size), close)
    if tracker is None:
        assert close is not None
        size, tracker = close_size, _followed(reader, shot, times_s, close, None)
        assert tracker is not None
    scale = film.width / size[0], film.height / size[1]
    paths = [smooth_path(trail, tracker.looks, times_s, scale) for trail in _people(tracker, SURE_SCORES[detector.name])]
    return sorted(paths, key=lambda path: (path.boxes[0, 0] + path.boxes[0, 2], path.first_frame))


def _square_size(film: Shape, width: int) -> tuple[int, int]:
    """Width and height of the upright picture with square pixels: a detector does not know squeezed faces."""
    squeeze = float(film.sample_aspect_ratio if film.rotation_degrees % 180 == 0 else 1 / film.sample_aspect_ratio)
    return width, max(1, round(film.height * width / (film.width * min(max(squeeze, 0.25), 4.0))))


@dataclass(frozen=True)
class _View:
    """How a detector sees frames: upright and of this size (width, height)."""

    detector: FaceDetector
    rotation_degrees: int
    size: tuple[int, int]

    def grey(self, frame: av.VideoFrame) -> np.ndarray:
        return upright_grey(frame, self.rotation_degrees, self.size)

    def looked_at(self, frame: av.VideoFrame) -> np.ndarray:
        """What the detector wants to see: colours only where it knows what to do with them."""
        if not self.detector.sees_colours:
            return self.grey(frame)
        picture = upright_bgr(frame, self.rotation_degrees, self.size[0])
        return picture if picture.shape[0] == self.size[1] else cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)


def _followed(reader: Frames, shot: Shot, times_s: np.ndarray, view: _View, close: _View | None) -> FaceTracker | None:
    """Every face followed through the shot, in pictures of this view and with frames counted from the shot's first; None if faces are missed, as a
    close look tells."""
    looks = _Looks(view, close, half_frame_s=float(np.median(np.diff(times_s))) / 2 if len(times_s) > 1 else 0.0)
    for n, frame in reader.frames(shot.first_frame, shot.end_frame):
        i = n - shot.first_frame
        is_last = i == len(times_s) - 1
        looks.follow(frame, times_s[i])
        if not is_last and not looks.is_due():
            continue
        faces = looks.look(frame, is_last)
        if faces is None:
            return None
        looks.tracker.see(i, faces)
        looks.tracker.end_unseen_since(int(np.searchsorted(times_s, times_s[i] - LONGEST_GAP_S)))
    return looks.tracker


@dataclass
class _Seen:
    """When one kind of look was last taken, and of what: a thumbnail, float32."""

    time_s: float = -np.inf
    thumbnail: np.ndarray = field(default_factory=lambda: np.full(THUMBNAIL[::-1], -np.inf, np.float32))


class _Looks:
    """Follows the faces of a shot, and says when and where a detector should look again. Times: seconds from the shot's first frame."""

    def __init__(self, view: _View, close: _View | None, half_frame_s: float) -> None:
        self.tracker = FaceTracker()
        self._view, self._close, self._half_frame_s = view, close, half_frame_s
        self._now = self._look = self._search = self._close_look = _Seen()

    def follow(self, frame: av.VideoFrame, time_s: float) -> None:
        self._grey = self._view.grey(frame)
        self._now = _Seen(time_s, cv2.resize(self._grey, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32))
        self.tracker.follow(self._grey)

    def is_due(self) -> bool:
        waited_s = self._now.time_s - self._look.time_s + self._half_frame_s
        change = np.abs(self._now.thumbnail - self._look.thumbnail)
        if waited_s < LOOK_EVERY_S:
            return waited_s >= SHORTEST_LOOK_GAP_S and (self.tracker.is_restless() or float(change.mean()) > RESTLESS_CHANGE)
        is_calm = len(self.tracker.looks) >= FIRST_LOOKS and self.tracker.is_calm() and float(change.max()) < CALM_CHANGE
        return waited_s >= CALM_LOOK_EVERY_S or not is_calm

    def look(self, frame: av.VideoFrame, is_last: bool) -> list[Face] | None:
        """The faces of this frame; None where a close look sees more of them."""
        picture = self._view.looked_at(frame) if self._view.detector.sees_colours else self._grey
        self._look, num_looks = self._now, len(self.tracker.looks)
        is_close = (num_looks % CLOSE_LOOK_EVERY == 0 or is_last) and self._close is not None and self._is_new_beside_faces(self._close_look)
        faces = None
        if num_looks >= FIRST_SEARCHES and self._now.time_s - self._search.time_s < SEARCH_EVERY_S and not self._is_new_beside_faces(self._search):
            faces = self._view.detector.find_again(picture, self.tracker.expected())
        if faces is None:
            faces, self._search = self._view.detector.detect([picture])[0], self._now
        if is_close and self._close is not None:
            self._close_look = self._now
            if self._close.detector.count(self._close.looked_at(frame)) > len(faces):
                return None
        return faces

    def _is_new_beside_faces(self, before: _Seen) -> bool:
        """Whether anything but the faces that are followed has changed since then; also where one of them was lost."""
        if not self.tracker.sees_all():
            return True
        change = np.abs(self._now.thumbnail - before.thumbnail)
        across, down = (small / large for small, large in zip(THUMBNAIL, self._view.size, strict=True))
        for trail in self.tracker.alive:
            x0, y0, x1, y1 = (trail.box * (across, down, across, down)).astype(int)
            change[max(0, y0) : max(0, y1 + 1), max(0, x0) : max(0, x1 + 1)] = 0
        return not float(change.max()) < CALM_CHANGE


def _people(tracker: FaceTracker, sure_score: float) -> list[Trail]:
    """The trails that are faces indeed: seen in a fair share of the shot's looks, or often and well."""

    def is_real(trail: Trail) -> bool:
        num_seen, num_looks = len(trail.sightings), len(tracker.looks)
        if num_looks < FEW_LOOKS or num_seen >= SEEN_SHARE * num_looks:
            return True
        return num_seen >= FEW_LOOKS and float(np.mean([face.score for _, face in trail.sightings])) >= sure_score

    return [trail for trail in tracker.trails() if is_real(trail)]
