"""Encodes a run of frames as one segment that can be joined to others without re-encoding: closed GOP, same headers, same reorder delay."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import av
import cv2
import numpy as np
from av.codec import Codec
from av.codec.context import CodecContext, Flags, ThreadType
from av.container import OutputContainer
from av.container.core import Flags as ContainerFlags
from av.error import FFmpegError
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infra.durable import disk_errors
from infra.errors import InputError, OurTroubleError
from infra.planes import JPEG_RANGE, planar_format, to_format, to_full_chroma

CodecName = Literal["h264", "ffv1"]

CRF = 16  # constant rate factor: visually lossless for one generation; with this preset as near to the film as medium at 16 (benchmarks.encoder)
PRESET = "superfast"
# Threads of one segment's encoder; segments are encoded side by side. x264's result depends on their number, which is therefore never the machine's.
ENCODER_THREADS = 2
CPU_AVX512 = 13  # OpenCV's number
MAX_B_FRAMES = 3
REORDER_FRAMES = {"h264": 2, "ffv1": 0}  # how far decoding order may run ahead of presentation; b-pyramid=normal makes it 2 whatever the content
MAX_RATE_TERM = 1 << 20  # a rate written with larger numbers is a measured one, no clock to write by
SEGMENT_MEDIA_TYPE = "video/x-nut"  # NUT keeps any time base exactly, and any codec
FFV1_SLICES = (16, 12, 9, 4, 1)  # the first that FFV1 can cut the picture into; small and odd pictures refuse most
_CHROMA_LOCATIONS = {"left": {"h264", "hevc", "mpeg2video", "mpeg4"}, "center": {"mjpeg", "mpeg1video", "theora", "h263"}}


class PictureFacts(Protocol):
    """What has to be known of a film to write pictures like its own. Sizes are upright (after rotation); tags are FFmpeg's enum numbers."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def rotation_degrees(self) -> int: ...
    @property
    def pixel_format(self) -> str: ...
    @property
    def video_codec(self) -> str: ...
    @property
    def fps(self) -> Fraction: ...
    @property
    def time_base(self) -> Fraction: ...
    @property
    def is_vfr(self) -> bool: ...
    @property
    def is_interlaced(self) -> bool: ...
    @property
    def sample_aspect_ratio(self) -> Fraction: ...
    @property
    def color_range(self) -> int: ...
    @property
    def color_primaries(self) -> int: ...
    @property
    def color_transfer(self) -> int: ...
    @property
    def color_space(self) -> int: ...


@dataclass(frozen=True)
class Encoding:
    """How a film's pictures are written. Equal encodings of one film give segments that can be joined."""

    codec: CodecName
    pixel_format: str  # what the encoder is fed
    has_full_chroma: bool  # chroma samples are repeated to get there
    num_threads: int
    warnings: tuple[str, ...] = ()

    @property
    def settings(self) -> str:
        """Everything that decides the encoded bytes, as text for cache keys."""
        library = ".".join(str(part) for part in av.library_versions["libavcodec"])
        return f"{self.codec} {self.pixel_format} crf {CRF} {PRESET} bframes {MAX_B_FRAMES} threads {self.num_threads} libavcodec {library}"


def coded_size(film: PictureFacts) -> tuple[int, int]:
    """(width, height) as stored, before rotation."""
    return (film.height, film.width) if film.rotation_degrees % 180 else (film.width, film.height)


def choose_encoding(film: PictureFacts, codec: CodecName) -> Encoding:
    """The encoding that keeps the film's samples: its own pixel format, or the nearest one that loses none.

    Raises InputError where there is none (H.264 with more than 10 bits, RGB or transparency, pictures that cannot be worked on).
    """
    planar = planar_format(film.pixel_format)
    return _choose_ffv1(film, planar) if codec == "ffv1" else _choose_h264(film, planar)


@cache
def _formats_of(encoder: str) -> frozenset[str]:
    return frozenset(layout.name for layout in Codec(encoder, "w").video_formats or ())


def _choose_ffv1(film: PictureFacts, planar: str) -> Encoding:
    name = {"gbrp": "bgr0", "gbrap": "bgra"}.get(planar, planar)
    if name not in _formats_of("ffv1"):
        raise InputError(f"The film's pixel format {film.pixel_format} cannot be kept by FFV1. Convert the film first, for example to yuv422p10le.")
    return Encoding("ffv1", name, has_full_chroma=False, num_threads=ENCODER_THREADS)


def _choose_h264(film: PictureFacts, planar: str) -> Encoding:
    layout = VideoFormat(planar)
    bits = layout.components[0].bits
    full_chroma = f"yuv444p{'10le' if bits == 10 else ''}"
    if bits not in (8, 10) or layout.is_rgb or any(component.is_alpha for component in layout.components):
        raise InputError(f"H.264 keeps 8 or 10 bits of YUV or gray, not the film's {film.pixel_format}. Use --lossless.")
    if planar in _formats_of("libx264") and _fits(film, layout):
        fed = film.pixel_format if film.pixel_format.startswith("yuvj") else planar
        return Encoding("h264", fed, has_full_chroma=False, num_threads=ENCODER_THREADS)
    if planar.startswith("gray") or not _fits(film, VideoFormat(full_chroma)):
        raise InputError(f"H.264 cannot keep an interlaced picture of {film.width}x{film.height}. Use --lossless.")
    width, height = coded_size(film)
    warning = (
        f"H.264 cannot hold a picture of {width}x{height} as {film.pixel_format}: it is written as {full_chroma}, each chroma sample repeated, "
        "the size unchanged. Some players do not show that; --lossless keeps the pixel format."
    )
    return Encoding("h264", full_chroma, has_full_chroma=True, num_threads=ENCODER_THREADS, warnings=(warning,))


def _fits(film: PictureFacts, layout: VideoFormat) -> bool:
    """Whether x264 takes this size: whole chroma samples, in each field when interlaced."""
    width, height = coded_size(film)
    has_chroma = layout.name.startswith("yuv")
    column_step = 64 // layout.chroma_width(64) if has_chroma else 1
    row_step = (64 // layout.chroma_height(64) if has_chroma else 1) * (2 if film.is_interlaced else 1)
    return width % column_step == 0 and height % row_step == 0


def frame_clock(film: PictureFacts, pts: np.ndarray) -> tuple[Fraction, np.ndarray]:
    """(time base, int64 (n,) times): when the frames are shown in what is written, the first of them at 0.

    pts: int64 (n,) of the film, consecutive frames, in its time base. VFR frames keep exactly these. At a constant rate frame k comes at k / fps:
    that is what the source's timestamps say too, up to the rounding of its container, which is not copied.
    """
    if film.is_vfr or max(film.fps.as_integer_ratio()) > MAX_RATE_TERM:
        return film.time_base, np.asarray(pts, np.int64) - int(pts[0])
    return 1 / film.fps, np.arange(len(pts), dtype=np.int64)


def average_rate(film: PictureFacts) -> Fraction:
    """The film's frames per second as a fraction that fits a file header."""
    return film.fps.limit_denominator(1_000_000)


def encode_segment(path: Path, frames: Iterable[VideoFrame], film: PictureFacts, pts: np.ndarray, encoding: Encoding) -> None:
    """Encode frames, which take the times `pts` (int64, the film's time base), into a new file; see written_segment."""
    with written_segment(path, film, pts, encoding) as add:
        for frame in frames:
            add(frame)


@contextmanager
def written_segment(path: Path, film: PictureFacts, pts: np.ndarray, encoding: Encoding) -> Iterator[Callable[[VideoFrame], None]]:
    """A new file with frames of the film, which take the times `pts` (int64, the film's time base): call what is given once for each.

    Frames: in coded orientation, any layout that holds the film's samples (see planes.to_format); they must not be used after. Where possible they
    are passed on as they are. Raises OurTroubleError when there are not len(pts) of them or encoding fails, TransientError when the disk is full.
    """
    time_base, times = frame_clock(film, pts)
    num_written = 0
    with written_container(path, "nut") as container:
        stream = _add_stream(container, film, encoding, time_base)

        def add(frame: VideoFrame) -> None:
            nonlocal num_written
            if num_written == len(times):
                raise OurTroubleError(f"More than the {len(times)} frames of the segment came to be encoded.")
            container.mux(stream.encode(_prepared(frame, encoding, int(times[num_written]), time_base)))
            num_written += 1

        yield add
        container.mux(stream.encode(None))
    if num_written != len(times):
        raise OurTroubleError(f"Only {num_written} of {len(times)} frames of the segment came to be encoded.")


@contextmanager
def written_container(path: Path, container_format: str, **options: str) -> Iterator[OutputContainer]:
    """A new media file to write. Its bytes go through a Python file, so that a full disk is an error even at the last flush."""
    try:
        with disk_errors("writing the picture", path.parent), path.open("xb") as file:
            with av.open(file, "w", format=container_format, options=options) as container:
                container.flags |= ContainerFlags.bitexact.value
                yield container
            file.flush()
    except FFmpegError as error:
        raise OurTroubleError(f"Writing the picture to {path} failed: {error}") from error


def _prepared(frame: VideoFrame, encoding: Encoding, time: int, time_base: Fraction) -> VideoFrame:
    if encoding.has_full_chroma:
        frame = to_full_chroma(to_format(frame, planar_format(frame.format.name)), encoding.pixel_format)
    else:
        frame = to_format(frame, encoding.pixel_format)
    frame.pts, frame.dts, frame.duration, frame.time_base = time, None, 0, time_base
    frame.pict_type = 0  # else the encoder repeats the source's choice of I, P and B
    return frame


def _add_stream(container: OutputContainer, film: PictureFacts, encoding: Encoding, time_base: Fraction) -> VideoStream:
    encoder, options = _h264_options(film) if encoding.codec == "h264" else _ffv1_options(film, encoding.pixel_format)
    stream: VideoStream = container.add_stream(encoder, rate=average_rate(film), options=options)  # type: ignore[assignment]
    context = stream.codec_context
    context.width, context.height = coded_size(film)
    context.pix_fmt = encoding.pixel_format
    context.time_base = time_base
    context.thread_count, context.thread_type = encoding.num_threads, ThreadType.FRAME if encoding.codec == "h264" else ThreadType.SLICE
    tag_colours(stream, film)
    if film.is_interlaced:
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me  # which field comes first is told by each frame
    return stream


def written_range(film: PictureFacts) -> int:
    """The range tag of what is written: the film's, and full where the pixel format alone says so."""
    if film.pixel_format.startswith("yuvj") or (film.pixel_format.startswith("gray") and not film.color_range):
        return JPEG_RANGE
    return film.color_range


def same_range(one: int, other: int) -> bool:
    """Whether two range tags mean the same: a picture without one is taken as limited."""
    return one == other or JPEG_RANGE not in (one, other)


def decoded_format(encoding: Encoding) -> str:
    """The planar pixel format that decoders give back; FFmpeg's shows H.264 without chroma as 4:2:0 with neutral chroma."""
    if encoding.codec == "h264" and encoding.pixel_format.startswith("gray"):
        return encoding.pixel_format.replace("gray", "yuv420p")
    return encoding.pixel_format.replace("yuvj", "yuv")


def chroma_location(film: PictureFacts) -> str | None:
    """Where chroma samples lie (FFmpeg's name) in what the film's codec decodes to; None where the codec does not say."""
    return next((location for location, codecs in _CHROMA_LOCATIONS.items() if film.video_codec in codecs), None)


def tag_colours(stream: VideoStream, film: PictureFacts) -> None:
    """Give an output stream the film's colour tags and sample aspect ratio."""
    context = stream.codec_context
    context.sample_aspect_ratio = film.sample_aspect_ratio
    context.color_range = written_range(film)
    context.color_primaries, context.color_trc, context.colorspace = film.color_primaries, film.color_transfer, film.color_space


def repeatable_x264() -> str:
    """What x264's parameters need so that the same pictures give the same bytes: its AVX-512 code reads stray memory in macroblock-tree, and writes
    other bytes on every run at many picture sizes."""
    return ":asm=AVX2" if cv2.checkHardwareSupport(CPU_AVX512) else ""


def _h264_options(film: PictureFacts) -> tuple[str, dict[str, str]]:
    # stitchable: headers do not depend on the content, so that all segments of a film have the same ones.
    parameters = f"open-gop=0:bframes={MAX_B_FRAMES}:b-pyramid=normal:stitchable=1:force-cfr={0 if film.is_vfr else 1}"
    parameters += repeatable_x264()
    location = "center" if chroma_location(film) == "center" else "unspecified"  # H.264 without a word means left
    return "libx264", {"crf": str(CRF), "preset": PRESET, "x264-params": parameters, "chroma_sample_location": location}


def _ffv1_options(film: PictureFacts, pixel_format: str) -> tuple[str, dict[str, str]]:
    for num_slices in FFV1_SLICES:
        options = {"level": "3", "g": "1", "slices": str(num_slices), "slicecrc": "1"}
        if _ffv1_opens(coded_size(film), pixel_format, tuple(options.items())):
            return "ffv1", options
    raise InputError(f"FFV1 cannot keep a picture of {film.width}x{film.height} as {film.pixel_format}.")


@cache
def _ffv1_opens(size: tuple[int, int], pixel_format: str, options: tuple[tuple[str, str], ...]) -> bool:
    context = CodecContext.create("ffv1", "w")
    context.width, context.height = size
    context.pix_fmt, context.time_base, context.thread_count, context.options = pixel_format, Fraction(1, 25), 1, dict(options)
    try:
        context.open()
    except FFmpegError:
        return False
    return True
