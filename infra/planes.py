"""Changes a picture in its own pixel format and bit depth: samples that need not change stay what they were, to the bit."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation

from infra.errors import InputError
from infra.video import color_matrix

Rect = tuple[int, int, int, int]  # x0, y0, x1, y1; right and bottom exclusive

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


def add_bgr_delta(frame: VideoFrame, rect: Rect, delta: np.ndarray, rotation_degrees: int = 0) -> VideoFrame:
    """Add a change to a picture, in the picture's own colour matrix, range and depth.

    frame: any integer YUV, gray or RGB format of 8 to 16 bits, coded orientation. rect: where, inside the upright picture. delta: float32 (h, w, 3)
    BGR in levels of 0..255. rotation_degrees: the clockwise turn that makes the picture upright. Returns the frame in planar_format() of its format;
    the frame handed in must not be used after, its own memory may be what was changed. The matrix is linear, so offsets cancel and only the change is
    converted. Where delta is exactly 0 every sample stays what it was; a chroma sample changes only if one of the luma samples it covers does.
    """
    frame = to_format(frame, _layout(frame.format.name))
    (x0, y0, x1, y1), turned = _to_coded(rect, delta, frame.width, frame.height, rotation_degrees)
    if not (0 <= x0 <= x1 <= frame.width and 0 <= y0 <= y1 <= frame.height and turned.shape == (y1 - y0, x1 - x0, 3)):
        raise ValueError(f"a change of {delta.shape} for rect {rect} does not fit a picture of {frame.width}x{frame.height}")
    if x0 == x1 or y0 == y1:
        return frame
    frame.make_writable()  # the decoder may still need these planes to predict from
    planes = samples_of(frame)
    highest = (1 << frame.format.components[0].bits) - 1
    for index, change in enumerate(_plane_changes(frame, turned)):
        rows, columns = subsampling(frame.format, index)
        if (rows, columns) != (1, 1):
            change = _mean_over_blocks(change, (x0, y0, x1, y1), rows, columns, frame.width, frame.height)
        _add(planes[index], x0 // columns, y0 // rows, change, highest)
    return frame


@dataclass(frozen=True)
class _Scale:
    """How many sample levels one level of 0..255 is."""

    luma: float
    chroma: float


def _layout(pixel_format: str) -> str:
    """As planar_format(), but full-range `yuvj...` is planar already and stays."""
    return pixel_format if pixel_format.startswith("yuvj") else planar_format(pixel_format)


def _is_full_range(frame: VideoFrame) -> bool:
    """Gray and RGB always are, whatever their tag says: swscale, which makes the pictures we look at, takes them so."""
    name = frame.format.name
    return name.startswith(("yuvj", "gray", "ya", "gbr", "rgb", "bgr")) or int(frame.color_range) == JPEG_RANGE


def _scale(frame: VideoFrame) -> _Scale:
    bits = frame.format.components[0].bits
    if _is_full_range(frame):
        return _Scale(((1 << bits) - 1) / 255, ((1 << bits) - 1) / 255)
    return _Scale(219 / 255 * (1 << (bits - 8)), 224 / 255 * (1 << (bits - 8)))


def _plane_changes(frame: VideoFrame, delta: np.ndarray) -> list[np.ndarray]:
    """delta (h, w, 3) BGR as one float32 (h, w) per plane, in sample levels, not yet subsampled; alpha has none."""
    scale = _scale(frame)
    blue, green, red = delta[..., 0], delta[..., 1], delta[..., 2]
    if frame.format.name.startswith("gbr"):
        return [green * scale.luma, blue * scale.luma, red * scale.luma]
    red_weight, blue_weight = _LUMA_WEIGHTS[color_matrix(frame)]
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    if len(frame.planes) < 3:
        return [luma * scale.luma]
    blue_difference = (blue - luma) * (scale.chroma / (2 * (1 - blue_weight)))
    red_difference = (red - luma) * (scale.chroma / (2 * (1 - red_weight)))
    return [luma * scale.luma, blue_difference, red_difference]


def _to_coded(rect: Rect, delta: np.ndarray, width: int, height: int, rotation_degrees: int) -> tuple[Rect, np.ndarray]:
    """Turn rect and delta from the upright picture back into the coded one (width x height)."""
    x0, y0, x1, y1 = rect
    quarter_turns = rotation_degrees // 90 % 4
    coded = {
        0: (x0, y0, x1, y1),
        1: (y0, height - x1, y1, height - x0),
        2: (width - x1, height - y1, width - x0, height - y0),
        3: (width - y1, x0, width - y0, x1),
    }[quarter_turns]
    return coded, np.rot90(delta, quarter_turns)


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


def _mean_over_blocks(change: np.ndarray, rect: Rect, rows: int, columns: int, width: int, height: int) -> np.ndarray:
    """Average change (h, w) over the blocks of rows x columns luma samples that rect touches; samples outside rect count as unchanged."""
    x0, y0, x1, y1 = rect
    above, left = y0 % rows, x0 % columns
    block_rows, block_columns = -(-y1 // rows) - y0 // rows, -(-x1 // columns) - x0 // columns
    wide = np.zeros((block_rows * rows, block_columns * columns), np.float32)
    wide[above : above + y1 - y0, left : left + x1 - x0] = change
    covered = np.outer(_num_covered(y0 // rows, block_rows, rows, height), _num_covered(x0 // columns, block_columns, columns, width))
    return sum(sum(wide[row::rows, column::columns] for column in range(columns)) for row in range(rows)) / covered


def _num_covered(first_block: int, num_blocks: int, size: int, length: int) -> np.ndarray:
    """How many samples each block really covers: the last one of an odd picture covers fewer."""
    starts = (first_block + np.arange(num_blocks)) * size
    return np.minimum(starts + size, length) - starts


def _add(plane: np.ndarray, x: int, y: int, change: np.ndarray, highest: int) -> None:
    region = plane[y : y + change.shape[0], x : x + change.shape[1]]
    region[:] = np.clip(np.rint(region + change), 0, highest)
