"""Which face the generator edits: one with its lips at rest, from elsewhere in the shot, moved to where each frame's head is.

In the published inference a frame is its own reference, so the very mouth that is to be replaced is handed back and shines through. A closed
mouth from near by gives the same skin, teeth and light, and says nothing of what was being spoken.
"""

import itertools

import cv2
import numpy as np

from wav2lip_core.mel import NUM_BANDS, SILENCE, WINDOW_COLUMNS
from wav2lip_core.sync_embedder import embed_faces, embed_mel
from wav2lip_core.sync_expert import NUM_FRAMES, SyncExpert

NUM_CANDIDATES = 6  # resting faces looked at for each stretch
MIN_APART = 5  # frames between candidates
LIKENESS_PER_LEVEL = 0.01  # of rest that one grey level of difference in pose or light costs
CALM_FRAMES = 2  # standard deviation of the smoothing of head motion
CROSSFADE = 6  # frames over which one reference gives way to the next
# Where the head's own motion is read: eyes, brows and nose, in shares of the crop; nothing below the upper lip.
_ROWS, _COLUMNS, _NUM_ROWS, _NUM_COLUMNS = (0.12, 0.60), (0.17, 0.83), 8, 11
_MIN_INLIERS = 12
_TURN_TRUST = 0.5  # of the measured turn and zoom: at this size they are noisier than the shift


def rest_scores(expert: SyncExpert, faces: np.ndarray) -> np.ndarray:
    """How much each mouth looks like silence: float32 (n,) cosine in [0, 1] from uint8 (n, S, S, 3) consecutive faces at 25 fps.

    The score of the five-frame window around a frame; the ends repeat. Fewer than five frames: all 0.
    """
    if len(faces) < NUM_FRAMES:
        return np.zeros(len(faces), np.float32)
    return rest_of_lips(expert, embed_faces(expert, faces))


def rest_of_lips(expert: SyncExpert, lips: np.ndarray) -> np.ndarray:
    """The same from the expert's embeddings of the windows, float32 (n - 4, D)."""
    silence = embed_mel(expert, np.full((1, NUM_BANDS, WINDOW_COLUMNS), SILENCE, np.float32))[0]
    before = NUM_FRAMES // 2
    return np.pad(lips @ silence, (before, NUM_FRAMES - 1 - before), mode="edge").astype(np.float32)


def _grey(face: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)


def _points(size: int) -> np.ndarray:
    rows = np.linspace(_ROWS[0], _ROWS[1], _NUM_ROWS) * size
    columns = np.linspace(_COLUMNS[0], _COLUMNS[1], _NUM_COLUMNS) * size
    return np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 1, 2).astype(np.float32)


def motion(face: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Where in `reference` the head's pixels of `face` lie: float32 (2, 3), a shift and, damped, a turn and a zoom. uint8 (S, S, 3) each."""
    size = face.shape[0]
    points = _points(size)
    found, ok, _ = cv2.calcOpticalFlowPyrLK(_grey(face), _grey(reference), points, None, winSize=(15, 15), maxLevel=2)  # type: ignore[call-overload]
    ok = ok[:, 0] == 1
    whole = None
    if ok.sum() >= _MIN_INLIERS:
        whole, inliers = cv2.estimateAffinePartial2D(points[ok], found[ok], method=cv2.RANSAC, ransacReprojThreshold=size / 96)
        if whole is None or inliers.sum() < _MIN_INLIERS:
            whole = None
    if whole is None:
        return np.eye(2, 3, dtype=np.float32)
    middle = np.array([0.5, 0.45]) * size
    shift = whole[:, :2] @ middle + whole[:, 2] - middle
    turn = np.eye(2) + _TURN_TRUST * (whole[:, :2] - np.eye(2))
    return np.concatenate([turn, (middle + shift - turn @ middle)[:, None]], axis=1).astype(np.float32)


def moved(reference: np.ndarray, face: np.ndarray) -> np.ndarray:
    """`reference` with its head where that of `face` is: uint8 (S, S, 3)."""
    return carried(reference, motion(face, reference))


def carried(picture: np.ndarray, by: np.ndarray) -> np.ndarray:
    """`picture` (S, S, 3) as seen where `by`, a `motion`, looks it up."""
    size = picture.shape[0]
    return cv2.warpAffine(picture, by, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)


def motions(faces: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`motion` of consecutive faces (n, S, S, 3), calmed over some frames, so that a moved reference does not tremble: float32 (n, 2, 3)."""
    measured = np.stack([motion(face, reference) for face in faces])
    kernel = np.exp(-0.5 * (np.arange(-3 * CALM_FRAMES, 3 * CALM_FRAMES + 1) / CALM_FRAMES) ** 2)
    weight = np.convolve(np.ones(len(faces)), kernel, mode="full")[3 * CALM_FRAMES : 3 * CALM_FRAMES + len(faces)]
    flat = measured.reshape(len(faces), 6)
    calm = np.stack([np.convolve(column, kernel, mode="full")[3 * CALM_FRAMES : 3 * CALM_FRAMES + len(faces)] / weight for column in flat.T], axis=1)
    return calm.reshape(-1, 2, 3).astype(np.float32)


def held_still(pictures: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Pictures (n, S, S, 3) uint8 carried to the pose of their middle one, as the heads of `heads` (n, S, S, 3) move: the rest moves by itself."""
    ways = motions(heads, heads[len(heads) // 2])
    return np.stack([carried(picture, cv2.invertAffineTransform(way)) for picture, way in zip(pictures, ways, strict=True)])


def unlikeness(face: np.ndarray, reference: np.ndarray) -> float:
    """Mean difference above the mouth, in grey levels."""
    size = face.shape[0]
    rows, columns = (slice(round(a * size), round(b * size)) for a, b in (_ROWS, _COLUMNS))
    return float(np.abs(face[rows, columns].astype(np.float32) - reference[rows, columns]).mean())


def candidates(rest: np.ndarray, first: int, end: int) -> list[int]:
    """The frames of [first, end) most at rest, not next to each other, best first."""
    chosen: list[int] = []
    for index in first + np.argsort(-rest[first:end], kind="stable"):
        if all(abs(int(index) - other) >= MIN_APART for other in chosen):
            chosen.append(int(index))
            if len(chosen) == NUM_CANDIDATES:
                break
    return chosen


def best_reference(faces: np.ndarray, rest: np.ndarray, frame: int, reach: int) -> int:
    """The frame within `reach` of `frame` that is at rest and looks most like it above the mouth."""
    options = candidates(rest, max(0, frame - reach), min(len(faces), frame + reach + 1))
    worth = [rest[i] - LIKENESS_PER_LEVEL * unlikeness(faces[frame], moved(faces[i], faces[frame])) for i in options]
    return options[int(np.argmax(worth))]


def references_for(faces: np.ndarray, rest: np.ndarray, stretch: int = 50, reach: int = 150, out: np.ndarray | None = None) -> np.ndarray:
    """A resting face for every frame, moved to its head: uint8 (n, S, S, 3) from uint8 (n, S, S, 3) and `rest_scores` (n,).

    One reference serves a stretch of frames, chosen within `reach` frames of its middle, and fades into the next one's. Written into `out`
    where given, stretch by stretch: faces and out may be files mapped into memory.
    """
    num_frames = len(faces)
    num_stretches = max(1, round(num_frames / stretch))
    edges = np.linspace(0, num_frames, num_stretches + 1).round().astype(int)
    picks = [best_reference(faces, rest, (a + b) // 2, reach) for a, b in itertools.pairwise(edges)]
    out = np.empty(faces.shape, np.uint8) if out is None else out
    half = CROSSFADE // 2
    for k, (first, end) in enumerate(itertools.pairwise(edges)):
        before, after = (half if k else 0), (half if k + 1 < num_stretches else 0)
        ways = motions(faces[first - before : end + after], faces[picks[k]])
        for i, way in zip(range(first - before, end + after), ways, strict=True):
            own = carried(faces[picks[k]], way)
            share = (i - first + half + 0.5) / CROSSFADE if k and i < first + half else 1.0
            out[i] = own if share == 1 or picks[k] == picks[k - 1] else cv2.addWeighted(own, share, out[i], 1 - share, 0)
    return out
