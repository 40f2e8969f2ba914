"""Reads pictures frame by frame, addressed by presentation timestamp, in the film's own pixel format."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from infra import decoded_frames
from infra.container import open_container as open_container
from infra.declared import pick_video_stream
from infra.errors import OurTroubleError
from infra.scan import VideoFacts as VideoFacts
from infra.scan import scan as scan
from infra.sound import read_audio as read_audio

_SWSCALE_MATRICES = {1, 4, 5, 6, 7, 9}  # FFmpeg's AVColorSpace numbers that swscale knows as such
_BT709, _BT601, _BT2020_NCL, _BT2020_CL, _RGB = 1, 5, 9, 10, 0
_reformatters = threading.local()


@dataclass(frozen=True)
class FrameReader:
    """Gives exactly the frames asked for, as found by scan(). Picklable; every call of frames() opens the file for itself.

    pts: int64 (num_frames,) presentation timestamps in units of time_base seconds; is_keyframe: bool (num_frames,).
    """

    path: str
    pts: np.ndarray = field(repr=False)
    time_base: Fraction
    is_keyframe: np.ndarray = field(repr=False)
    rotation_degrees: int = 0

    def frames(self, first: int, end: int) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (n, frame) for n in [first, end), in coded orientation and native pixel format, one frame in memory at a time.

        Raises OurTroubleError if a frame that scan() saw cannot be found again, ValueError if the range is not inside the film.
        """
        if not 0 <= first <= end <= len(self.pts):
            raise ValueError(f"frames [{first}, {end}) are not inside a film of {len(self.pts)} frames")
        if first == end:
            return
        for start in self._starting_points(first):
            num_given = 0
            for item in self._read_from(start, first, end):
                num_given += 1
                yield item
            if num_given == end - first:
                return
            if num_given or start is None:
                break
        raise OurTroubleError(
            f"{self.path}: frame {first + num_given} was there when the film was inspected and cannot be read now; has the file changed?"
        )

    def pictures(self, first: int, end: int, width: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """As frames(), but as upright uint8 (H, W, 3) BGR, scaled to `width` pixels where given."""
        for n, frame in self.frames(first, end):
            yield n, upright_bgr(frame, self.rotation_degrees, width)

    def _starting_points(self, first: int) -> Iterator[int | None]:
        """Keyframes to try, the nearest first; containers may seek too far. None is the very start of the file, without seeking."""
        keyframes = np.flatnonzero(self.is_keyframe[: first + 1])
        step = 1
        while len(keyframes) - step > 0:
            yield int(keyframes[-step])
            step *= 4
        yield None

    def _read_from(self, start: int | None, first: int, end: int) -> Iterator[tuple[int, VideoFrame]]:
        """The frames [first, end) as far as decoding from keyframe `start` gives them in unbroken order; nothing when it starts too late."""
        with open_container(self.path) as container:
            stream = pick_video_stream(container, self.path)
            if start is not None:
                try:
                    container.seek(int(self.pts[start]), stream=stream, backward=True)
                except FFmpegError:
                    return
            stream.thread_type = "AUTO"
            n = first
            for frame in _decode(container, stream, self.path):
                if frame.pts is None or frame.pts < self.pts[n]:
                    continue
                if frame.pts > self.pts[n]:
                    return
                yield n, frame
                n += 1
                if n == end:
                    return


def _decode(container: InputContainer, stream: VideoStream, path: str) -> Iterator[VideoFrame]:
    num_decoded = 0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except FFmpegError:
                continue  # a frame lost this way is missed by its timestamp
            num_decoded += len(frames)
            yield from frames
    finally:
        decoded_frames.add(path, num_decoded)


def upright_bgr(frame: VideoFrame, rotation_degrees: int, width: int | None = None, roughly: bool = False) -> np.ndarray:
    """The picture as a viewer sees it: uint8 (H, W, 3), BGR 0..255, C-contiguous, turned clockwise by rotation_degrees.

    The frame's own colour matrix and range are used; untagged pictures count as BT.709 from 720 lines on, else as BT.601. Where `width` is given,
    the picture is scaled to that upright width (height in proportion, at least 1). Pixels are counted as square.
    roughly: with colours at half the width, in little more than half the time.
    """
    quarter_turns = rotation_degrees // 90 % 4
    coded_width, coded_height = frame.width, frame.height
    if width is not None:
        upright_width, upright_height = (coded_height, coded_width) if quarter_turns % 2 else (coded_width, coded_height)
        height = max(1, round(upright_height * width / upright_width))
        coded_width, coded_height = (height, width) if quarter_turns % 2 else (width, height)
    shrinks = coded_width < frame.width
    exactly = int(Interpolation.ACCURATE_RND if roughly else Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)
    picture = _reformatter("rough" if roughly else "upright" if width is None else "scaled").reformat(
        frame,
        width=coded_width,
        height=coded_height,
        format="bgr24",
        src_colorspace=color_matrix(frame),
        src_color_range=ColorRange.JPEG if frame.format.name.startswith("yuvj") else None,
        interpolation=int(Interpolation.AREA if shrinks else Interpolation.BICUBIC) | exactly,
        threads=1,
    )
    return np.ascontiguousarray(np.rot90(picture.to_ndarray(), -quarter_turns))


def small_picture(frame: VideoFrame, rotation_degrees: int, size: tuple[int, int]) -> VideoFrame:
    """The picture as a viewer sees it, turned upright and scaled to size (width, height, both even): a new yuv420p frame, BT.709, limited range.

    It goes over in one step, without RGB in between, and to within a level of 255: exact rounding would take twice as long.
    """
    quarter_turns = rotation_degrees // 90 % 4
    width, height = size[::-1] if quarter_turns % 2 else size
    small = _reformatter("small").reformat(
        frame,
        width=width,
        height=height,
        format="yuv420p",
        src_colorspace=color_matrix(frame),
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG if frame.format.name.startswith("yuvj") else None,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.AREA if width < frame.width else Interpolation.BICUBIC,
        threads=1,
    )
    turned = VideoFrame(*size, "yuv420p") if quarter_turns or small is frame else small
    turned.colorspace, turned.color_range = _BT709, int(ColorRange.MPEG)
    if turned is small:
        return small
    for plane, target in zip(small.planes, turned.planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]  # type: ignore[call-overload]
        into = np.frombuffer(target, np.uint8).reshape(target.height, target.line_size)  # type: ignore[call-overload]
        into[:, : target.width] = np.rot90(rows, -quarter_turns)
    return turned


def color_matrix(frame: VideoFrame) -> int:
    """FFmpeg's AVColorSpace number to convert this frame with: as tagged where that is known, else by the size."""
    tagged = int(frame.colorspace)
    if tagged in _SWSCALE_MATRICES or (tagged == _RGB and frame.format.name.startswith(("gbr", "rgb", "bgr"))):
        return tagged
    if tagged == _BT2020_CL:
        return _BT2020_NCL
    return _BT709 if frame.height >= 720 else _BT601


def _reformatter(purpose: str) -> VideoReformatter:
    """One per thread and purpose: it keeps its tables from frame to frame and may not be shared."""
    if not hasattr(_reformatters, purpose):
        setattr(_reformatters, purpose, VideoReformatter())
    return getattr(_reformatters, purpose)
