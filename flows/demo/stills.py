"""The demo film's stills, all shipped inside scikit-image's wheel and free to use, and the camera that moves over them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from flows.demo.script import View
from infra.errors import InputError
from wav2lip_core.face_crop import crop, paste_delta
from wav2lip_core.face_detector import FaceDetector

# Still -> file in skimage/data. Astronaut: NASA, public domain. Coffee: Rachel Michetti, CC0. Rocket: SpaceX, public domain.
STILLS = {"captain": "astronaut.png", "colleague": "astronaut.png", "coffee": "coffee.png", "rocket": "rocket.jpg"}
ENLARGED = 4  # stills are small: enlarged once, so that the camera always looks at finer pixels than the film's
SHOULDER_ROW = 190  # of the portrait: above it hair and face, below it the suit
FACE_CENTRE, FACE_HALF_SIZE = (289, 135), (45, 62)  # x, y of the mirrored portrait
HAIR_DARKER = 0.6  # share of the light taken away


@dataclass(frozen=True, eq=False)
class Still:
    """A still, enlarged, and where its face is (canonical box in enlarged pixels), if it has one."""

    picture: np.ndarray  # uint8 (H, W, 3) BGR
    box: np.ndarray | None = None

    def face(self, size: int) -> np.ndarray:
        """The canonical crop of its face, uint8 (size, size, 3) BGR."""
        assert self.box is not None
        return crop(self.picture, self.box, size)

    def speaking(self, face: np.ndarray) -> np.ndarray:
        """The still with a generated face, uint8 (S, S, 3) BGR, in place of its own mouth."""
        assert self.box is not None
        pasted = paste_delta(self.picture, self.box, face)
        assert pasted is not None, "the face of a still lies inside it"
        (x0, y0, x1, y1), delta = pasted
        picture = self.picture.copy()
        picture[y0:y1, x0:x1] = np.rint(picture[y0:y1, x0:x1] + delta).clip(0, 255).astype(np.uint8)
        return picture


def load_still(name: str, folder: Path) -> Still:
    """A still without looking for its face. `folder`: skimage's data folder. Raises InputError when the file is not there."""
    picture = cv2.imread(str(folder / STILLS[name]), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"The still {STILLS[name]} is not in {folder}. Install the demo extra: pip install 'dubflow[demo]'.")
    if name == "colleague":
        picture = _another_person(picture)
    height, width = picture.shape[:2]
    return Still(cv2.resize(picture, (width * ENLARGED, height * ENLARGED), interpolation=cv2.INTER_CUBIC))


def load_portrait(name: str, folder: Path, detector: FaceDetector) -> Still:
    """A still with its one face. Raises InputError when the file is not there."""
    picture = load_still(name, folder).picture
    faces = detector.detect([picture])[0]
    assert len(faces) == 1, f"{name} has one face, {len(faces)} were found"
    return Still(picture, np.array(faces[0].box, np.float32))


def _another_person(picture: np.ndarray) -> np.ndarray:
    """Mirrored, with dark hair, in a blue suit. OpenCV's hues go from 0 to 179; skin lies between the suit's orange and the hair's yellow."""
    mirrored = cv2.flip(picture, 1)
    hue, saturation, value = cv2.split(cv2.cvtColor(mirrored, cv2.COLOR_BGR2HSV))
    row = np.arange(len(picture))[:, None]
    is_suit = _soft((hue >= 3) & (hue <= 14) & (saturation > 150) & (row > SHOULDER_ROW))
    is_face = cv2.ellipse(np.zeros_like(hue), FACE_CENTRE, FACE_HALF_SIZE, 0, 0, 360, 1, cv2.FILLED) > 0
    is_hair = _soft((hue >= 8) & (hue <= 32) & (saturation > 60) & (row < SHOULDER_ROW) & ~is_face)
    blue = cv2.cvtColor(cv2.merge([(hue + 100) % 180, saturation, value]), cv2.COLOR_HSV2BGR)
    dressed = mirrored * (1 - is_suit) + blue * is_suit
    return np.rint(dressed * (1 - HAIR_DARKER * is_hair)).astype(np.uint8)


def _soft(mask: np.ndarray) -> np.ndarray:
    """float32 (H, W, 1) in [0, 1] from a mask of pixels, without specks and with soft edges."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return cv2.GaussianBlur(cv2.medianBlur(opened, 5).astype(np.float32), (0, 0), 1.5)[..., None]


def look(picture: np.ndarray, start: View, end: View, progress: float, width: int, height: int) -> np.ndarray:
    """What the camera sees: uint8 (height, width, 3) BGR of an enlarged still. progress: 0 at `start` to 1 at `end`, eased in and out."""
    share = progress * progress * (3 - 2 * progress)
    x, y, view_width = (ENLARGED * (a + (b - a) * share) for a, b in ((start.x, end.x), (start.y, end.y), (start.width, end.width)))
    scale = width / view_width
    to_film = np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]])
    return cv2.warpAffine(picture, to_film, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
