"""A film's picture in grey, small: what is followed from frame to frame needs no colours."""

import cv2
import numpy as np
from av.video.frame import VideoFrame

from infra.planes import colours_of, has_planes, samples_of
from infra.video import upright_bgr


def upright_grey(frame: VideoFrame, rotation_degrees: int, size: tuple[int, int]) -> np.ndarray:
    """The picture as a viewer sees it, in grey and scaled to size (width, height): uint8 (height, width), black 0 and white 255.

    Of a film with a plane of luma it is that plane, so it weighs colours as the film's own matrix does. Meant for pictures made smaller.
    """
    if not has_planes(frame) or frame.format.name.startswith("gbr"):
        picture = cv2.cvtColor(upright_bgr(frame, rotation_degrees, size[0]), cv2.COLOR_BGR2GRAY)
        return picture if picture.shape == size[::-1] else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    quarter_turns = rotation_degrees // 90 % 4
    luma = cv2.resize(samples_of(frame)[0], size[::-1] if quarter_turns % 2 else size, interpolation=cv2.INTER_AREA)
    matrix, offset, _ = colours_of(frame)
    levels_per_grey = float(matrix[0].sum())
    grey = cv2.convertScaleAbs(cv2.subtract(luma, np.full(1, offset[0])), alpha=1 / levels_per_grey)  # both stop at black and white
    return np.ascontiguousarray(np.rot90(grey, -quarter_turns))
