"""One crop convention for every network and detector, and both ways through it: film -> 96x96 face, generated face -> film.

The canonical box is tied to two points that every detector can give: the middle of the eyes and the middle of the mouth. With
`em` the vertical distance between them, the box is 2.9 em high and 2.2 em wide, centred on them sideways, with the eyes on row
0.37 and the mouth on row 0.715 of its height. That is where a RetinaFace or S3FD box with the customary 10 px below the chin
puts them, so published weights see what they were trained on. Boxes are XYXY float pixels of the upright film.
"""

from functools import lru_cache

import cv2
import numpy as np

from wav2lip_core.workspace import Workspace

HEIGHT_IN_EM = 2.9
WIDTH_IN_EM = 2.2
EYE_ROW = 0.37
MIDDLE_ROW = EYE_ROW + 0.5 / HEIGHT_IN_EM  # half-way between eyes and mouth

# dlib's box against the landmarks of 68 frames of twelve people: its side is 2.163 em, the half-way point lies at (0.502, 0.4965) of it.
DLIB_SIDE_IN_EM = 2.163
DLIB_CENTRE = (0.502, 0.4965)

# The mouth region that may change, in canonical coordinates: a rounded box from under the nose's bridge to the chin.
MASK_CENTRE = (0.5, 0.73)
MASK_HALF_SIZE = (0.40, 0.25)
MASK_FEATHER = 0.35  # share of the half size over which the mask falls to 0
DETAIL_TOLERANCE = 10.0  # grey levels of change above which the film's own fine detail gives way

_workspace = Workspace()


def _box_around(middle_x: float, middle_y: float, em: float) -> np.ndarray:
    width, height = WIDTH_IN_EM * em, HEIGHT_IN_EM * em
    x0, y0 = middle_x - width / 2, middle_y - MIDDLE_ROW * height
    return np.array([x0, y0, x0 + width, y0 + height], np.float32)


def from_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Canonical box (4,) from landmarks (5, 2): right eye, left eye, nose, right and left mouth corner (any left/right order)."""
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:5].mean(axis=0)
    middle = (eyes + mouth) / 2
    return _box_around(float(middle[0]), float(middle[1]), float(np.linalg.norm(mouth - eyes)))


def from_dlib(raw_box: np.ndarray) -> np.ndarray:
    """Canonical box (4,) from dlib's frontal-face box, XYXY with exclusive right and bottom."""
    x0, y0, x1, y1 = (float(v) for v in raw_box)
    side = (x1 - x0 + y1 - y0) / 2
    return _box_around(x0 + DLIB_CENTRE[0] * side, y0 + DLIB_CENTRE[1] * side, side / DLIB_SIDE_IN_EM)


def pixel_rect(box: np.ndarray) -> tuple[int, int, int, int]:
    """The whole pixels (x0, y0, x1, y1) that stand for a box; at least 2x2, may reach out of the frame."""
    x0, y0 = round(float(box[0])), round(float(box[1]))
    return x0, y0, max(x0 + 2, round(float(box[2]))), max(y0 + 2, round(float(box[3])))


def _cut(image: np.ndarray, rect: tuple[int, int, int, int]) -> np.ndarray:
    """The rect's pixels; where it leaves the image the border is repeated."""
    x0, y0, x1, y1 = rect
    height, width = image.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return image[y0:y1, x0:x1]
    rows = np.clip(np.arange(y0, y1), 0, height - 1)
    columns = np.clip(np.arange(x0, x1), 0, width - 1)
    return image[rows[:, None], columns[None, :]]


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    shrinks = width < image.shape[1] or height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def crop(image_bgr: np.ndarray, box: np.ndarray, size: int = 96) -> np.ndarray:
    """Canonical face crop: uint8 (size, size, 3) BGR from an upright uint8 (H, W, 3) BGR image."""
    return _resize(_cut(image_bgr, pixel_rect(box)), size, size)


@lru_cache(maxsize=64)
def mouth_mask(width: int, height: int) -> np.ndarray:
    """Feathered mouth region of a canonical box: float32 (height, width) in [0, 1], exactly 0 outside."""
    mask = _mask_at(_from_middle(width, 0), _from_middle(height, 1))
    mask.setflags(write=False)
    return mask


def _from_middle(length: int, axis: int) -> np.ndarray:
    """How far each column (axis 0) or row (1) of a box lies from the mouth's middle: float32 (length,), 1 at the mouth's edge."""
    places = np.arange(length, dtype=np.float32)
    return np.abs((places + 0.5) / length - MASK_CENTRE[axis]) / MASK_HALF_SIZE[axis]


def _mask_at(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    inside = np.clip((1 - (across**3 + down[:, None] ** 3) ** (1 / 3)) / MASK_FEATHER, 0, 1)
    return inside * inside * (3 - 2 * inside)


@lru_cache(maxsize=16)
def mouth(width: int, height: int) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """The rows and columns (top, bottom, left, right) in which a box's mouth mask is not 0, none for the smallest boxes; and the mask there:
    float32 (bottom - top, right - left)."""
    across, down = _from_middle(width, 0), _from_middle(height, 1)
    rows, columns = np.flatnonzero(_mask_at(across.min(keepdims=True), down)), np.flatnonzero(_mask_at(across, down.min(keepdims=True)))
    if not len(rows) or not len(columns):
        return (0, 0, 0, 0), np.zeros((0, 0), np.float32)
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return (top, bottom, left, right), _mask_at(across[left:right], down[top:bottom])


def match_colour(difference: np.ndarray) -> np.ndarray:
    """Take out of `difference` (rows, S, channels) what it shows along the seam: a plane per channel, fitted where the mask fades.

    Rows above the mouth may be left out of `difference`: it holds the last ones of S.
    """
    rows, size, channels = difference.shape
    design, weight, normal = _seam_planes(size)
    design, weight = design[-rows * size :], weight[-rows * size :]
    plane = np.linalg.solve(normal, design.T @ (weight * difference.reshape(-1, channels)))
    return difference - (design @ plane).reshape(difference.shape)


@lru_cache(maxsize=8)
def _seam_planes(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For a fit along the seam: planes (S * S, 3), the pixels' weights (S * S, 1) by how much the mask fades, and the normal equations (3, 3)."""
    mask = mouth_mask(size, size)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    design = np.stack([np.ones_like(x), x / size - 0.5, y / size - 0.5], axis=-1).reshape(-1, 3)
    weight = (mask * (1 - mask)).reshape(-1, 1)
    return design, weight, design.T @ (weight * design) + 1e-3 * np.eye(3, dtype=np.float32)


def paste_delta(image_bgr: np.ndarray, box: np.ndarray, face: np.ndarray) -> tuple[tuple[int, int, int, int], np.ndarray] | None:
    """What to add to the film so that its mouth becomes the generated one.

    image_bgr: upright uint8 (H, W, 3); box: canonical (4,); face: generated uint8 (S, S, 3) BGR for that box.
    Returns the rect (x0, y0, x1, y1) of the mouth inside the image and a float32 (h, w, 3) BGR delta in grey levels, exactly 0 outside the
    mouth mask; None when no mouth lies on the picture. The change is taken at the network's own resolution and the film's finer
    detail is kept wherever the picture hardly changes, so skin stays as sharp as it was.
    """
    x0, y0, x1, y1 = pixel_rect(box)
    width, height, size = x1 - x0, y1 - y0, face.shape[0]
    (top, bottom, left, right), mask = mouth(width, height)
    inside = (max(x0 + left, 0), max(y0 + top, 0), min(x0 + right, image_bgr.shape[1]), min(y0 + bottom, image_bgr.shape[0]))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None
    window = slice(inside[1] - y0, inside[3] - y0), slice(inside[0] - x0, inside[2] - x0)
    small = crop(image_bgr, box, size).astype(np.float32)
    change = _enlarged("change", match_colour(face.astype(np.float32) - small), width, height)
    delta = _given_way(image_bgr[inside[1] : inside[3], inside[0] : inside[2]], small, change, window)
    np.subtract(change[window], delta, out=delta)
    share = mask[window[0].start - top : window[0].stop - top, window[1].start - left : window[1].stop - left]
    delta *= _in_each_channel("shares", share)
    return inside, delta


def _given_way(original: np.ndarray, small: np.ndarray, change: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """The film's fine detail in the mouth, where the change is too large to keep it: a new float32 (h, w, 3).

    original: the film there; small: the face's box at the network's size; change: at the box's own size, of which `window` is a part.
    """
    height, width = change.shape[:2]
    amount = _blurred_in(window, change, max(1.0, width / small.shape[0]))
    share = 1 - np.exp(-((amount / DETAIL_TOLERANCE) ** 2))
    detail = np.subtract(original, _enlarged("small", small, width, height)[window])
    detail *= _in_each_channel("shares", share)
    return detail


def _in_each_channel(name: str, share: np.ndarray) -> np.ndarray:
    return cv2.merge([share, share, share], dst=_workspace.take(name, *share.shape, 3))


def _enlarged(name: str, picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(picture, (width, height), dst=_workspace.take(name, height, width, 3), interpolation=cv2.INTER_CUBIC)


def _blurred_in(window: tuple[slice, slice], change: np.ndarray, sigma: float) -> np.ndarray:
    """The part `window` of the blurred largest size among the channels of `change` (h, w, 3); no more is looked at than reaches into it."""
    reach = round(4 * sigma) + 2  # half of OpenCV's kernel for floating point
    starts = [max(0, part.start - reach) for part in window]
    wide = change[starts[0] : window[0].stop + reach, starts[1] : window[1].stop + reach]
    sizes = np.abs(wide, out=_workspace.take("sizes", *wide.shape))
    planes = cv2.split(sizes, list(_workspace.take("planes", 3, *wide.shape[:2])))
    largest = np.maximum(np.maximum(planes[0], planes[1], out=planes[0]), planes[2], out=planes[0])
    rows, columns = (slice(part.start - start, part.stop - start) for part, start in zip(window, starts, strict=True))
    return cv2.GaussianBlur(largest, (0, 0), sigma, dst=_workspace.take("blurred", *wide.shape[:2]))[rows, columns]


def patched(small: np.ndarray, face: np.ndarray) -> np.ndarray:
    """What `crop` would see after `face` was pasted, without the film at hand: two uint8 (S, S, 3) -> uint8 (S, S, 3)."""
    size = small.shape[0]
    pasted = paste_delta(small, np.array([0, 0, size, size], np.float32), face)
    assert pasted is not None
    (x0, y0, x1, y1), delta = pasted
    shown = small.copy()
    shown[y0:y1, x0:x1] = np.clip(np.round(small[y0:y1, x0:x1] + delta), 0, 255)
    return shown
