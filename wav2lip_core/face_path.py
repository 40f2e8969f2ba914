"""From scattered sightings of a face to one smooth box per frame."""

from dataclasses import dataclass

import numpy as np

from wav2lip_core.face_tracker import Trail

FLOW_WINDOWS_S = (0.3, 0.04)  # standard deviations: of the flow's drift against the sightings, then of the centre, which flow keeps steady
SIGHTING_WINDOWS_S = (0.08, 0.08)  # the same where the flow is often lost: about 0.3 s from end to end
SIZE_WINDOW_S = 0.4  # slower than syllables: an opening mouth must not make the box breathe
LOST_FLOW_SHARE = 0.2  # with more of it than this the sightings alone lead
BORDER_LOOKS = 2  # a face seen this few looks from the shot's border reaches the border


@dataclass(frozen=True, eq=False)
class FacePath:
    """One face, frame by frame, from `first_frame` on."""

    first_frame: int
    boxes: np.ndarray  # float32 (n, 4) canonical XYXY
    confidence: np.ndarray  # float32 (n,) the detector's score, interpolated
    detected: np.ndarray  # bool (n,): seen at this frame, or at both looks around it; False in bridged gaps and at stretched borders
    landmarks: np.ndarray | None  # float32 (n, 5, 2)

    @property
    def end_frame(self) -> int:
        return self.first_frame + len(self.boxes)


def smooth_path(trail: Trail, looks: list[int], times_s: np.ndarray, scale: tuple[float, float]) -> FacePath:
    """One box per frame for a trail followed through a shot. No frame outside the shot has any part in it.

    looks: frames that a detector looked at, ascending; times_s: float64 time of each frame of the shot, whose first frame is 0 here;
    scale: film pixels per pixel of the pictures followed, across and down.
    """
    seen = np.array([frame for frame, _ in trail.sightings])
    first, end = _reach(seen, np.array(looks), len(times_s))
    frames, times = np.arange(first, end), times_s[first:end]
    boxes = np.array([face.box for _, face in trail.sightings], np.float64)
    centres, log_sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, np.log(boxes[:, 2:] - boxes[:, :2])
    flowed, lost_share = _flowed_centres(trail, first, end)
    drift = _interpolated(frames, seen, centres - flowed[seen - first])
    drift_window_s, window_s = FLOW_WINDOWS_S if lost_share <= LOST_FLOW_SHARE else SIGHTING_WINDOWS_S
    centre = smoothed(flowed + smoothed(drift, times, drift_window_s), times, window_s)
    half = np.exp(smoothed(_interpolated(frames, seen, log_sizes), times, SIZE_WINDOW_S)) / 2
    path = np.concatenate([centre - half, centre + half], axis=1) * np.tile(scale, 2)
    scores = np.array([face.score for _, face in trail.sightings])
    return FacePath(
        first,
        path.astype(np.float32),
        np.interp(frames, seen, scores).astype(np.float32),
        _between_sightings(frames, seen, np.array(looks)),
        _landmarks(trail, frames, seen, boxes, path),
    )


def smoothed(values: np.ndarray, times_s: np.ndarray, window_s: float) -> np.ndarray:
    """Values (n, d) at ascending times (n,), smoothed by a straight line fitted around each time under a Gaussian window.

    Unlike a mean, the line neither lags behind steady motion nor flattens it at the ends.
    """
    n = len(values)
    spacing = float(np.median(np.diff(times_s))) if n > 1 else window_s
    sums = np.zeros((5, n, values.shape[1]))  # of w, w t, w t t, w v, w t v
    for k in range(-min(n - 1, int(3 * window_s / spacing)), min(n - 1, int(3 * window_s / spacing)) + 1):
        here, there = slice(max(0, -k), n - max(0, k)), slice(max(0, k), n - max(0, -k))
        t = (times_s[there] - times_s[here])[:, None] / window_s
        w = np.exp(-0.5 * t * t)
        v = values[there]
        for total, term in zip(sums, (w, w * t, w * t * t, w * v, w * t * v), strict=True):
            total[here] += term
    s0, s1, s2, v0, v1 = sums
    spread = s0 * s2 - s1 * s1
    alone = spread <= 1e-9 * s0 * s0
    return np.where(alone, v0 / s0, (s2 * v0 - s1 * v1) / np.where(alone, 1, spread))


def _reach(seen: np.ndarray, looks: np.ndarray, num_frames: int) -> tuple[int, int]:
    """First and end frame of a face: where it was seen, and on to the shot's border where it was seen next to it."""
    num_before, num_after = int((looks < seen[0]).sum()), int((looks > seen[-1]).sum())
    first = 0 if num_before <= BORDER_LOOKS and len(seen) > num_before else int(seen[0])
    end = num_frames if num_after <= BORDER_LOOKS and len(seen) > num_after else int(seen[-1]) + 1
    return first, end


def _flowed_centres(trail: Trail, first: int, end: int) -> tuple[np.ndarray, float]:
    """Where flow alone carries the first sighting, for frames first..end-1, and the share of frames where it was lost."""
    steps = trail.flow()[: max(0, end - trail.first_frame - 1)].astype(np.float64)
    lost = np.isnan(steps[:, 0])
    x0, y0, x1, y1 = trail.sightings[0][1].box
    walked = np.concatenate([[[0.0, 0.0]], np.cumsum(np.nan_to_num(steps), axis=0)])
    walked = np.concatenate([np.zeros((trail.first_frame - first, 2)), walked])
    still = np.repeat(walked[-1:], max(0, end - first - len(walked)), axis=0)
    begins_at = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    return np.concatenate([walked, still]) + begins_at, float(lost.mean()) if len(lost) else 0.0


def _interpolated(frames: np.ndarray, seen: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(frames, seen, column) for column in values.T], axis=1)


def _between_sightings(frames: np.ndarray, seen: np.ndarray, looks: np.ndarray) -> np.ndarray:
    was_seen = np.isin(looks, seen)
    before = np.clip(np.searchsorted(looks, frames, side="right") - 1, 0, len(looks) - 1)
    after = np.clip(np.searchsorted(looks, frames, side="left"), 0, len(looks) - 1)
    return was_seen[before] & was_seen[after]


def _landmarks(trail: Trail, frames: np.ndarray, seen: np.ndarray, boxes: np.ndarray, path: np.ndarray) -> np.ndarray | None:
    """Landmarks keep their place within the box while it moves."""
    points = [face.landmarks for _, face in trail.sightings]
    known = [p for p in points if p is not None]
    if len(known) < len(points):
        return None
    inside = (np.array(known, np.float64) - boxes[:, None, :2]) / (boxes[:, None, 2:] - boxes[:, None, :2])
    inside = _interpolated(frames, seen, inside.reshape(len(seen), 10)).reshape(-1, 5, 2)
    return (path[:, None, :2] + inside * (path[:, None, 2:] - path[:, None, :2])).astype(np.float32)
