"""Joins encoded segments into one picture track without re-encoding: every frame at exactly its time in the source."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infra.container import open_container
from infra.errors import OurTroubleError
from infra.side_data import side_data_of
from infra.video_write import REORDER_FRAMES, CodecName, PictureFacts, average_rate, frame_clock, tag_colours, written_container

Segment = tuple[Path, int, int]  # file, first_frame, end_frame
JOINED_FORMATS = {"h264": "mp4", "ffv1": "matroska"}


def display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """The nine numbers by which players turn (and mirror) the coded picture, as FFmpeg keeps them; None where they do not."""
    data = side_data_of(frame).get("DISPLAYMATRIX")
    return None if data is None else tuple(int(value) for value in np.frombuffer(data, "<i4"))


def join_segments(
    path: Path, segments: Sequence[Segment], film: PictureFacts, pts: np.ndarray, codec: CodecName, matrix: Sequence[int] | None = None
) -> None:
    """Write one file with the picture of all segments, in order, starting at time 0.

    segments: (file of video_write.encode_segment, first_frame, end_frame), a partition of the film. pts: int64 (num_frames,) of the source, strictly
    increasing, in the film's time base. matrix: the film's display_matrix(). Colour tags, aspect ratio and frame rate are the film's. Raises
    OurTroubleError when a segment does not hold its frames or was encoded with other headers, TransientError when the disk is full.
    """
    _check_partition(segments, len(pts))
    clock = _OutputClock(film, pts, REORDER_FRAMES[codec])
    with written_container(path, JOINED_FORMATS[codec]) as output:
        stream, headers = None, None
        for file, first, end in segments:
            with open_container(file) as source:
                found = source.streams.video[0]
                if stream is None:
                    stream, headers = _add_stream(output, found, film, clock.time_base, matrix), found.codec_context.extradata
                if found.codec_context.extradata != headers:
                    raise OurTroubleError(f"Frames {first} to {end} have other headers than those before; encode all reels again.")
                for n, packet in _numbered_packets(source, found, film, pts[first:end], first):
                    clock.stamp(packet, n)
                    packet.stream = stream
                    output.mux(packet)
        clock.check_complete()


class _OutputClock:
    """Gives each packet, in decoding order, its frame's presentation time and a decoding time that never runs backwards."""

    def __init__(self, film: PictureFacts, pts: np.ndarray, reorder_frames: int):
        self._reorder, self._num_stamped = reorder_frames, 0
        self.time_base, self._pts = frame_clock(film, pts)
        last_s = len(pts) / film.fps - int(self._pts[-1]) * self.time_base  # the film's duration counts the last frame in
        last = max(1, round((last_s if last_s > 0 else 1 / film.fps) / self.time_base))
        self._durations = np.append(np.diff(self._pts), last)
        # Decoding times: the sorted presentation times, `reorder` frames early; before the first frame they go on at its pace.
        before = -int(self._durations[0]) * np.arange(reorder_frames, 0, -1)
        self._dts = np.concatenate([before, self._pts])[: len(pts)]

    def stamp(self, packet: Packet, n: int) -> None:
        if n < self._num_stamped - self._reorder:
            raise OurTroubleError(f"Frame {n} is coded more than {self._reorder} frames after those shown later.")
        packet.time_base = self.time_base
        packet.pts, packet.dts, packet.duration = int(self._pts[n]), int(self._dts[self._num_stamped]), int(self._durations[n])
        self._num_stamped += 1

    def check_complete(self) -> None:
        if self._num_stamped != len(self._pts):
            raise OurTroubleError(f"{self._num_stamped} of {len(self._pts)} frames came to be joined.")


def _numbered_packets(source, stream: VideoStream, film: PictureFacts, pts: np.ndarray, first: int) -> Iterator[tuple[int, Packet]]:
    """(n, packet) in decoding order: the segment's own timestamps tell which frame of the film each packet is."""
    time_base, times = frame_clock(film, pts)
    unit = time_base / Fraction(stream.time_base or 1)
    numbers = {int(time) * unit: first + k for k, time in enumerate(times)}
    origin = None
    for packet in source.demux(stream):
        if packet.size == 0:  # the demuxer's end mark
            continue
        origin = packet.pts if origin is None else origin  # the first packet of a closed segment is its first frame
        n = numbers.pop(Fraction(packet.pts - origin), None) if packet.pts is not None and origin is not None else None
        if n is None:
            raise OurTroubleError(f"The segment of frames {first} to {first + len(pts)} holds a packet that is none of them.")
        yield n, packet
    if numbers:
        raise OurTroubleError(f"The segment of frames {first} to {first + len(pts)} lacks frame {min(numbers.values())}.")


def _add_stream(output: OutputContainer, template: VideoStream, film: PictureFacts, time_base: Fraction, matrix: Sequence[int] | None) -> VideoStream:
    stream = output.add_stream_from_template(template)
    stream.time_base = time_base
    stream.codec_context.framerate = average_rate(film)
    tag_colours(stream, film)
    stream.set_display_matrix(matrix)
    return stream


def _check_partition(segments: Sequence[Segment], num_frames: int) -> None:
    expected = 0
    for _, first, end in segments:
        if first != expected or end <= first:
            raise OurTroubleError(f"The reels do not follow each other: one begins at frame {first}, the one before ended at {expected}.")
        expected = end
    if expected != num_frames:
        raise OurTroubleError(f"The reels end at frame {expected}, the film at {num_frames}.")
