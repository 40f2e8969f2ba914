"""Looks at a part of a picture only: what is cut from it costs no more than its own pixels."""

import threading

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from infra.planes import samples_of, subsampling
from infra.video import color_matrix, upright_bgr

MARGIN = 16  # px around what is asked for: more than the chroma filters reach
STEP = 16  # px that a part is widened to: whole chroma samples, at the same place in the filters' pattern
LARGEST_SHARE = 0.6  # of the picture; above it the whole is as cheap

_reformatters = threading.local()
Rect = tuple[int, int, int, int]  # x0, y0, x1, y1; right and bottom exclusive


def upright_region(frame: VideoFrame, rotation_degrees: int, rect: Rect) -> tuple[np.ndarray, int, int]:
    """(picture, left, top): uint8 (h, w, 3) BGR with at least what of rect lies in the upright picture, and where it lies there.

    Bit for bit what upright_bgr shows in that place; where that would not be certain, or no cheaper, the whole picture is given.
    """
    x0, y0 = (max(0, (edge - MARGIN) // STEP * STEP) for edge in rect[:2])
    x1, y1 = (min(size, -(-(edge + MARGIN) // STEP) * STEP) for edge, size in zip(rect[2:], (frame.width, frame.height), strict=True))
    is_small = x0 < x1 and y0 < y1 and (x1 - x0) * (y1 - y0) < LARGEST_SHARE * frame.width * frame.height
    if rotation_degrees or not is_small or not _has_even_planes(frame):
        return upright_bgr(frame, rotation_degrees), 0, 0
    part = _part_like(frame, x1 - x0, y1 - y0)
    for index, (whole, target) in enumerate(zip(samples_of(frame), samples_of(part), strict=True)):
        rows, columns = subsampling(frame.format, index)
        top, left = y0 // rows, x0 // columns
        target[:] = whole[top : top + target.shape[0], left : left + target.shape[1]]
    return upright_bgr(part, 0), x0, y0


def _has_even_planes(frame: VideoFrame) -> bool:
    """Planar YUV whose chroma samples cover whole blocks: any part at a STEP then goes through the same filters as in the whole."""
    name = frame.format.name
    if not name.startswith("yuv") or name.startswith("yuva") or len(frame.planes) != 3 or name.endswith("be"):
        return False
    rows, columns = subsampling(frame.format, 1)
    return frame.height % rows == 0 and frame.width % columns == 0


def _part_like(frame: VideoFrame, width: int, height: int) -> VideoFrame:
    """A new frame of this size with all that the frame says of its samples: matrix, range, where chroma lies. Its samples mean nothing yet."""
    if not hasattr(_reformatters, "own"):
        _reformatters.own = VideoReformatter()
    part = _reformatters.own.reformat(frame, width=width, height=height, interpolation=int(Interpolation.POINT), threads=1)
    part.colorspace = color_matrix(frame)  # of a film that does not say, the matrix goes by its size
    return part
