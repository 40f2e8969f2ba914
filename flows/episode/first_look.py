"""The first look at a film: while it is decoded to be inspected, its cuts are found, and the faces of each shot as soon as its end is known.

What is found goes into the store under the names of the steps that look for cuts and faces. They are asked for what is missing (a shot too long to
be held in memory, a cut that was told apart late), and for all of a film that was seen before.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from infra.artifacts import ArtifactStore
from infra.file_state import unchanged
from infra.held_frames import HeldFrames, num_bytes_of
from infra.process_memory import give_back_freed_memory
from infra.scan import PictureShape
from infra.store_lock import in_turn
from tasks.inspect_film import inspect_film
from tasks.split_shots import SETTLE_EVERY, SETTLES_AFTER, CutFinder, cut_picture, keep_shots
from tasks.track_faces import follow_faces, keep_faces, open_once, stored_faces
from tasks.types import Film, Shot, ShotFaces
from wav2lip_core.face_detector import FaceDetector

HELD_BYTES = 384 << 20  # decoded frames in memory: those of the shot that is being read, and of those whose faces are being found
SHOTS_AHEAD = 1  # that wait for a thread; more would not be found sooner, only held longer
FEWEST_HELD = SETTLES_AFTER + 2 * SETTLE_EVERY  # they may belong to a shot whose beginning is not known yet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirstSight:
    """A film, and what was found in it while it was inspected. faces: by shot index; none where no frame was decoded."""

    film: Film
    faces: dict[int, ShotFaces] = field(default_factory=dict)


def look_at_film(
    store: ArtifactStore,
    path: str | Path,
    detector_name: str,
    detector_weights: str | Path | None,
    num_threads: int,
    meanwhile: Callable[[], object] | None = None,
) -> FirstSight:
    """The film as inspect_film gives it; where its frames have to be decoded for that, its cuts and faces are stored, too.

    meanwhile: called once while frames are decoded, in a thread that would wait for the first shot's end: what it raises is nobody's business.
    Episodes that share a film look at it one after another, so that the second finds all that the first has seen.
    """
    detector = open_once(detector_name, detector_weights)
    with in_turn(store.root, str(path)), FirstLook(store, detector, num_threads, meanwhile=meanwhile) as look:
        film = inspect_film(store, path, look)
        sight = FirstSight(film, look.keep(film))
    give_back_freed_memory()  # that of the frames held: what comes next would lie beside it, not in it
    return sight


class FirstLook:
    """Sees a film's frames in order. Memory: HELD_BYTES of frames, a few numbers for each."""

    def __init__(
        self,
        store: ArtifactStore,
        detector: FaceDetector,
        num_threads: int,
        held_bytes: int = HELD_BYTES,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        self._store, self._detector, self._held_limit, self._meanwhile = store, detector, held_bytes, meanwhile
        self._pool, self._most_under_way = ThreadPoolExecutor(num_threads, thread_name_prefix="first-look"), num_threads + SHOTS_AHEAD
        self._identity: tuple[str, str, str] | None = None  # path, digest, state
        self._shape: PictureShape | None = None

    def __enter__(self) -> "FirstLook":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def identify(self, path: str, sha256: str, state: str) -> None:
        self._identity = path, sha256, state

    def begin(self, shape: PictureShape) -> None:
        if self._shape is not None:
            wait(self._under_way)
        elif self._meanwhile is not None:
            self._pool.submit(self._meanwhile)
        self._shape, self._finder = shape, CutFinder()
        self._frames: deque[VideoFrame] = deque()  # the last of those seen, not yet handed over
        self._pts: deque[int] = deque()  # of the frames from the beginning of the present shot
        self._num_seen = self._shot_begins = self._num_shots = self._num_held_bytes = 0
        self._under_way: dict[Future[ShotFaces], tuple[Shot, int]] = {}
        self._found: dict[tuple[int, int], ShotFaces] = {}
        self._kept: dict[Shot, ShotFaces] = {}

    def see(self, frame: VideoFrame) -> None:
        assert self._shape is not None
        self._finder.add(cut_picture(frame, self._shape.width, self._shape.rotation_degrees))
        self._frames.append(frame)
        self._pts.append(frame.pts or 0)
        self._num_seen += 1
        self._num_held_bytes += num_bytes_of(frame)
        for cut in self._finder.settled():
            self._hand_over(cut)
        self._collect()
        self._make_room()

    def keep(self, film: Film) -> dict[int, ShotFaces]:
        """Store what was seen of this film, and give the faces by shot index; nothing where its frames were not decoded."""
        if self._shape is None or self._num_seen != film.num_frames:
            return {}
        cuts = self._finder.finish()
        for end in [*(cut for cut in cuts if cut > self._shot_begins), film.num_frames]:
            self._hand_over(end)
        wait(self._under_way)
        self._collect()
        with unchanged(film.path, film.sha256, film.state):
            shots = keep_shots(self._store, film, lambda: cuts)
            for shot in shots:
                faces = self._found.get((shot.first_frame, shot.end_frame))
                if faces is not None and shot not in self._kept:
                    self._keep_faces(film.sha256, shot, _as_of(shot, faces))
        seen = {shot.index: self._kept[shot] for shot in shots if shot in self._kept}
        logger.info("the first look found the faces of %d of %d shots", len(seen), len(shots))
        return seen

    def _keep_faces(self, sha256: str, shot: Shot, faces: ShotFaces) -> None:
        self._kept[shot] = keep_faces(self._store, sha256, shot, self._detector, lambda: faces)

    def _hand_over(self, end: int) -> None:
        """The present shot ends here: its faces can be found, if its frames are all there."""
        first, first_held = self._shot_begins, self._num_seen - len(self._frames)
        frames = [self._frames.popleft() for _ in range(first_held, end)]
        pts = np.array([self._pts.popleft() for _ in range(first, end)], np.int64)
        shot = Shot(index=self._num_shots, first_frame=first, end_frame=end)
        self._shot_begins, self._num_shots = end, self._num_shots + 1
        num_bytes = sum(num_bytes_of(frame) for frame in frames)
        if first_held > first:
            self._num_held_bytes -= num_bytes
            return
        self._under_way[self._pool.submit(self._faces_of, shot, frames, pts)] = shot, num_bytes

    def _faces_of(self, shot: Shot, frames: Sequence[VideoFrame], pts: np.ndarray) -> ShotFaces:
        assert self._shape is not None
        known = None if self._identity is None else stored_faces(self._store, self._identity[1], shot, self._detector)
        times_s = (pts - pts[0]) * float(self._shape.time_base)
        held = HeldFrames(shot.first_frame, frames)
        return known or follow_faces(self._store, self._shape, shot, times_s, held, self._detector)

    def _collect(self) -> None:
        """Take what has been found; of a film whose digest is known it is stored at once, so that a killed run has not looked in vain."""
        for future in [future for future in self._under_way if future.done()]:
            shot, num_bytes = self._under_way.pop(future)
            self._num_held_bytes -= num_bytes
            error = future.exception()
            if error is not None:
                logger.warning("the faces of frames %d to %d are looked for again later: %s", shot.first_frame, shot.end_frame, error)
                continue
            faces = self._found[shot.first_frame, shot.end_frame] = future.result()
            if self._identity is not None:
                path, sha256, state = self._identity
                with unchanged(path, sha256, state):
                    self._keep_faces(sha256, shot, faces)

    def _make_room(self) -> None:
        """Keep to the limits: first wait for shots under way, then give up the present one, which is longer than memory has room for."""
        while len(self._under_way) > self._most_under_way:
            wait(self._under_way, return_when=FIRST_COMPLETED)
            self._collect()
        while self._num_held_bytes > self._held_limit:
            if self._under_way:
                wait(self._under_way, return_when=FIRST_COMPLETED)
                self._collect()
            elif len(self._frames) > FEWEST_HELD:
                self._num_held_bytes -= num_bytes_of(self._frames.popleft())
            else:
                return


def _as_of(shot: Shot, faces: ShotFaces) -> ShotFaces:
    """The same faces under the shot's final number."""
    tracks = tuple(track.model_copy(update={"shot_index": shot.index}) for track in faces.tracks)
    return faces.model_copy(update={"shot_index": shot.index, "tracks": tracks})
