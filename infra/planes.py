"""Changes a picture in its own pixel format and bit depth: samples that need not change stay what they were, to the bit."""

from functools import cache
from typing import NamedTuple

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation

from infra.errors import InputError
from infra.video import color_matrix

JPEG_RANGE = 2  # FFmpeg's AVColorRange: samples use their whole range

# (Kr, Kb) by FFmpeg's AVColorSpace number: ITU-T H.273, table 4.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470 B/G
    6: (0.299, 0.114),  # BT.601
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
}

# Layouts that hold the same samples as a planar one, in another order; going over loses nothing.
_PLANAR = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "nv42": "yuv444p",
    "nv20le": "yuv422p10le",
    "p010le": "yuv420p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
    "p210le": "yuv422p10le",
    "p212le": "yuv422p12le",
    "p216le": "yuv422p16le",
    "p410le": "yuv444p10le",
    "p412le": "yuv444p12le",
    "p416le": "yuv444p16le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "yvyu422": "yuv422p",
    "y210le": "yuv422p10le",
    "y212le": "yuv422p12le",
    "uyyvyy411": "yuv411p",
    "ayuv": "yuva444p",
    "vuya": "yuva444p",
    "vuyx": "yuv444p",
    "rgb24": "gbrp",
    "bgr24": "gbrp",
    "rgb0": "gbrp",
    "bgr0": "gbrp",
    "0rgb": "gbrp",
    "0bgr": "gbrp",
    "rgba": "gbrap",
    "bgra": "gbrap",
    "argb": "gbrap",
    "abgr": "gbrap",
    "x2rgb10le": "gbrp10le",
    "x2bgr10le": "gbrp10le",
    "rgb48le": "gbrp16le",
    "bgr48le": "gbrp16le",
    "rgba64le": "gbrap16le",
    "bgra64le": "gbrap16le",
}


@cache
def planar_format(pixel_format: str) -> str:
    """FFmpeg's name of the planar, little-endian pixel format that holds the same samples; full-range `yuvj...` names become `yuv...`.

    Raises InputError for formats whose samples cannot be added to (palettes, Bayer patterns, bit masks, floating point, fewer than 8 bits).
    """
    name = pixel_format.replace("yuvj", "yuv")
    if name.endswith("be"):
        name = name[:-2] + "le"
    name = {"gray8": "gray", "gray8a": "ya8"}.get(_PLANAR.get(name, name), _PLANAR.get(name, name))
    layout = VideoFormat(name)
    whole = not (layout.has_palette or layout.is_bayer or layout.is_bit_stream or layout.is_big_endian)
    planes = [component.plane for component in layout.components]
    deep = all(8 <= component.bits <= 16 for component in layout.components)
    if not whole or not deep or len(set(planes)) != len(planes) or "f16" in name or "f32" in name or name.startswith("xyz"):
        raise InputError(
            f"The film's pixel format {pixel_format} cannot be worked on. Convert the film first, for example to yuv420p or yuv422p10le: "
            "ffmpeg -i FILM -pix_fmt yuv422p10le -c:v ffv1 -c:a copy FILM.mkv"
        )
    return name


def to_format(frame: VideoFrame, pixel_format: str) -> VideoFrame:
    """The same samples in another layout of the same depth and subsampling (nv12 to yuv420p, gbrp to bgr0, ...); the frame itself if that is its own.

    Time, colour tags, field order and side data stay.
    """
    if frame.format.name == pixel_format:
        return frame
    full = ColorRange.JPEG if _is_full_range(frame) else None
    other = frame.reformat(format=pixel_format, interpolation=Interpolation.POINT, src_color_range=full, dst_color_range=full, threads=1)
    other.colorspace, other.color_range = frame.colorspace, frame.color_range or (JPEG_RANGE if frame.format.name.startswith("yuvj") else 0)
    return other


def to_full_chroma(frame: VideoFrame, pixel_format: str) -> VideoFrame:
    """A planar YUV frame with as many chroma samples as luma samples (`pixel_format`: the 4:4:4 twin of its own).

    No sample is computed: each chroma sample is repeated over the luma samples it covers. Time, colour tags, field order and side data stay.
    """
    wide = frame.reformat(format=pixel_format, interpolation=Interpolation.POINT, threads=1)  # for its attributes; the samples follow
    wide.colorspace, wide.color_range = frame.colorspace, frame.color_range
    for index, target in enumerate(samples_of(wide)):
        source = samples_of(frame)[index]
        rows, columns = subsampling(frame.format, index)
        target[:] = source.repeat(rows, axis=0)[: target.shape[0]].repeat(columns, axis=1)[:, : target.shape[1]]
    return wide


class UprightPlane(NamedTuple):
    """One plane of a picture as a viewer sees it turned: sample (i, j) covers picture rows [i * rows - above, (i + 1) * rows - above), and columns
    likewise. samples: a writable view, uint8 or uint16, until the frame is let go."""

    samples: np.ndarray
    rows: int
    columns: int
    above: int
    left: int


def upright_planes(frame: VideoFrame, rotation_degrees: int) -> list[UprightPlane]:
    """The planes of luma and chroma, or of colours, without alpha, of a frame in addable() layout."""
    turns = rotation_degrees // 90 % 4
    views = []
    for index, samples in enumerate(samples_of(frame)[: 3 if len(frame.planes) >= 3 else 1]):
        rows, columns = subsampling(frame.format, index)
        beyond = samples.shape[0] * rows - frame.height, samples.shape[1] * columns - frame.width  # of the last samples: not on the picture
        above, left = ((0, 0), (beyond[0], 0), beyond, (0, beyond[1]))[turns]
        swapped = turns % 2 == 1
        steps = (columns, rows) if swapped else (rows, columns)
        leads = (left, above) if swapped else (above, left)
        views.append(UprightPlane(np.rot90(samples, -turns), *steps, *leads))
    return views


def addable(frame: VideoFrame) -> VideoFrame:
    """The frame in the planar layout of its samples (full-range `yuvj...` is planar already and stays); raises as planar_format()."""
    name = frame.format.name
    return frame if name.startswith("yuvj") else to_format(frame, planar_format(name))


@cache
def _is_planar(pixel_format: str) -> bool:
    try:
        return pixel_format.startswith("yuvj") or planar_format(pixel_format) == pixel_format
    except InputError:
        return False


def has_planes(frame: VideoFrame) -> bool:
    """Whether a frame is in the layout that upright_planes wants, as films mostly are; addable() brings others there at the cost of a copy."""
    return _is_planar(frame.format.name)


def add_levels(frame: VideoFrame, plane: UprightPlane, top: int, left: int, levels: np.ndarray) -> None:
    """Add float32 levels to samples of a plane from (top, left) on: rounded, and stopping at black and white."""
    highest = (1 << frame.format.components[0].bits) - 1
    region = plane.samples[top : top + levels.shape[0], left : left + levels.shape[1]]
    region[:] = np.clip(np.rint(region + levels), 0, highest)


class PlaneColours(NamedTuple):
    """What the samples of upright_planes mean: levels = matrix (planes, 3) @ BGR of 0..255 + offset (planes,). All float32.

    to_bgr: (3, planes), undoes the matrix; of gray, the same in each colour.
    """

    matrix: np.ndarray
    offset: np.ndarray
    to_bgr: np.ndarray


def colours_of(frame: VideoFrame) -> PlaneColours:
    """In the picture's own matrix, range and depth."""
    return _colours(frame.format.name, len(frame.planes), frame.format.components[0].bits, _is_full_range(frame), color_matrix(frame))


@cache
def _colours(name: str, num_planes: int, bits: int, is_full: bool, matrix: int) -> PlaneColours:
    depth = 1 << (bits - 8)
    luma_scale, chroma_scale = (((1 << bits) - 1) / 255,) * 2 if is_full else (219 / 255 * depth, 224 / 255 * depth)
    blue, green, red = np.eye(3)
    offset = np.zeros(3)
    if name.startswith("gbr"):
        planes = luma_scale * np.stack([green, blue, red])
    else:
        red_weight, blue_weight = _LUMA_WEIGHTS[matrix]
        luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
        chroma = [chroma_scale / (2 * (1 - weight)) * (colour - luma) for colour, weight in ((blue, blue_weight), (red, red_weight))]
        planes = np.stack([luma_scale * luma, *(chroma if num_planes >= 3 else ())])
        offset = np.array([0 if is_full else 16 * depth, 128 * depth, 128 * depth])[: len(planes)]
    to_bgr = np.linalg.inv(planes) if len(planes) == 3 else np.full((3, 1), 1 / luma_scale)
    return PlaneColours(planes.astype(np.float32), offset.astype(np.float32), to_bgr.astype(np.float32))


def _is_full_range(frame: VideoFrame) -> bool:
    """Gray and RGB always are, whatever their tag says: swscale, which makes the pictures we look at, takes them so."""
    name = frame.format.name
    return name.startswith(("yuvj", "gray", "ya", "gbr", "rgb", "bgr")) or int(frame.color_range) == JPEG_RANGE


def samples_of(frame: VideoFrame) -> list[np.ndarray]:
    """One writable view per plane, uint8 or uint16 (rows, columns), without the padding."""
    views = []
    for plane in frame.planes:
        dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, abs(plane.line_size)).view(dtype)  # type: ignore[call-overload]
        views.append((rows if plane.line_size > 0 else rows[::-1])[:, : plane.width])
    return views


def subsampling(layout: VideoFormat, plane_index: int) -> tuple[int, int]:
    """Luma rows and columns that one sample of this plane covers."""
    if plane_index not in (1, 2) or not layout.name.startswith("yuv"):
        return 1, 1
    return 64 // layout.chroma_height(64), 64 // layout.chroma_width(64)
