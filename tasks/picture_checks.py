"""How a patch sits in the picture: its edge, its sharpness, its scale, its unrest, and whether it is still the same person.

No published face descriptor comes with the package. `identity` is a measure of our own: how alike the mean lower faces look, before and after, in
edge directions and colour. It tells a foreign mouth from the own one, not twins apart.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from infra.artifacts import ArtifactStore
from infra.video import FrameReader, upright_bgr
from tasks.face_stills import stills_of
from tasks.types import FaceTrack, Film, LipPatch, PictureChecks
from wav2lip_core.face_crop import mouth_mask, paste_delta, patched, pixel_rect
from wav2lip_core.likeness import lower_looks

NUM_PICTURES = 3  # looked at
READ_FRAMES = 24  # where the film has to be read: within this many frames of the patch, so that little is decoded
NUM_SECTORS = 16
CALM = 0.25  # grey levels added to both sides of the flicker ratio, under which nobody sees unrest
MOST_FACES = 40  # from the patch's middle: a second and a half tells unrest and looks


def check_pictures(store: ArtifactStore, film: Film, track: FaceTrack, patch: LipPatch) -> PictureChecks:
    """All checks but the leak probe, on one patch."""
    arrays = store.load_arrays(patch.patch)
    faces, boxes = arrays["faces"], arrays["boxes"]
    assert track.crops is not None
    first = max(0, (len(faces) - MOST_FACES) // 2)
    some = slice(first, first + MOST_FACES)
    filmed = np.asarray(store.load_array(track.crops)[patch.first_frame - track.first_frame : patch.end_frame - track.first_frame][some])
    pasted = np.stack([patched(crop, face) for crop, face in zip(filmed, faces[some], strict=True)])
    pairs = list(_pictures(store, film, track, patch, faces, boxes))
    return PictureChecks(
        seam_error=float(np.mean([seam_error(before, after) for before, after in pairs])) if pairs else None,
        sharpness_ratio=_ratio([sharpness(after) for _, after in pairs], [sharpness(before) for before, _ in pairs]),
        generated_per_face_pixel=float(faces.shape[2] / np.maximum(boxes[:, 2] - boxes[:, 0], 1).mean()),
        flicker_ratio=flicker_ratio(filmed, pasted) if len(filmed) > 1 else None,
        identity=float(lower_looks(filmed) @ lower_looks(pasted)),
    )


def seam_error(before: np.ndarray, after: np.ndarray) -> float:
    """The step that pasting added along the mask's edge, in grey levels: the face's box before and after, uint8 (h, w, 3) BGR.

    Outside the mask nothing changes, so what a stretch of the edge's inside changes by, detail averaged out, is the step.
    """
    height, width = before.shape[:2]
    mask = mouth_mask(width, height)
    edge = (mask > 0.1) & (mask < 0.6)
    y, x = np.mgrid[0:height, 0:width]
    angle = np.arctan2((y + 0.5) / height - 0.73, (x + 0.5) / width - 0.5)
    sector = np.floor((angle / (2 * np.pi) + 0.5) * NUM_SECTORS).astype(int) % NUM_SECTORS
    change = (after.astype(np.float32) - before).mean(axis=2)
    sums = np.bincount(sector[edge], change[edge], NUM_SECTORS)
    counts = np.bincount(sector[edge], minlength=NUM_SECTORS)
    return float(np.abs(sums[counts > 0] / counts[counts > 0]).mean())


def sharpness(face: np.ndarray) -> float:
    """Strength of the finest detail in the mouth region of a face's box, uint8 (h, w, 3) BGR: root mean square of the Laplacian in grey levels."""
    grey = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY).astype(np.float32)
    inside = mouth_mask(face.shape[1], face.shape[0]) > 0.5
    return float(np.sqrt((cv2.Laplacian(grey, cv2.CV_32F)[inside] ** 2).mean()))


def flicker_ratio(before: np.ndarray, after: np.ndarray) -> float:
    """Change from frame to frame where the patch fades into cheeks and chin, to the original's own: uint8 (n, S, S, 3) each; 1 is alike."""
    mask = mouth_mask(before.shape[2], before.shape[1])
    edge = (mask > 0.02) & (mask < 0.5)

    def unrest(faces: np.ndarray) -> float:
        return float(np.abs(np.diff(faces[:, edge].astype(np.float32).mean(axis=2), axis=0)).mean())

    return (unrest(after) + CALM) / (unrest(before) + CALM)


def _ratio(after: list[float], before: list[float]) -> float | None:
    return float(np.mean(after) / max(np.mean(before), 1e-3)) if before else None


def _pictures(
    store: ArtifactStore, film: Film, track: FaceTrack, patch: LipPatch, faces: np.ndarray, boxes: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The face's box before and after pasting, in the film's own pixels; where the box leaves the picture its border is repeated.

    Of the track's stills those that the patch covers; a patch so short that it covers none is looked at in the film.
    """
    stills = [still for still in stills_of(store, track, film.width, film.height) if patch.first_frame <= still[0] < patch.end_frame]
    if not stills:
        yield from _read_pictures(store, film, patch, faces, boxes)
        return
    for index in sorted(set(np.linspace(0, len(stills) - 1, NUM_PICTURES).round().astype(int).tolist())):
        n, picture, box = stills[index]
        pair = before_and_after(picture, box, faces[n - patch.first_frame])
        if pair is not None:
            yield pair


def _read_pictures(
    store: ArtifactStore, film: Film, patch: LipPatch, faces: np.ndarray, boxes: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    timing = store.load_arrays(film.timing)
    reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
    num_frames = min(len(faces), READ_FRAMES)
    wanted = set(np.linspace(0, num_frames - 1, NUM_PICTURES).round().astype(int).tolist())
    for n, frame in reader.frames(patch.first_frame, patch.first_frame + num_frames):
        i = n - patch.first_frame
        pair = before_and_after(upright_bgr(frame, film.rotation_degrees), boxes[i], faces[i]) if i in wanted else None
        if pair is not None:
            yield pair


def before_and_after(picture: np.ndarray, box: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """What a box shows before and after a face is pasted through it: uint8 (h, w, 3) BGR each; None for a box that lies off the picture."""
    change = paste_delta(picture, box, face)
    if change is None:
        return None
    (left, top, right, bottom), delta = change
    pasted = picture.copy()
    pasted[top:bottom, left:right] = np.clip(np.rint(picture[top:bottom, left:right] + delta), 0, 255)
    x0, y0, x1, y1 = pixel_rect(box)
    rows, columns = np.clip(np.arange(y0, y1), 0, picture.shape[0] - 1), np.clip(np.arange(x0, x1), 0, picture.shape[1] - 1)
    return picture[rows[:, None], columns], pasted[rows[:, None], columns]
