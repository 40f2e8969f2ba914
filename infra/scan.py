"""Looks at every frame of a film once: what the file declares, what it really holds, and how its time runs."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.container import InputContainer
from av.error import EOFError as EndOfStreamError
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infra import decoded_frames
from infra.container import MAX_PIXELS, container_start_s, open_container
from infra.declared import AudioFacts, Promise, QuarterTurn, audio_facts, declared_rate, is_film_stream, pick_video_stream, rotation, start_timecode
from infra.errors import InputError
from infra.frame_rate import find_rate
from infra.sources import pinned_object


@dataclass(frozen=True)
class VideoFacts:
    """What one pass over a film found. Sizes are coded (before rotation); frame n is the n-th in presentation order."""

    path: str
    pts: np.ndarray = field(repr=False)  # int64 (num_frames,), units of time_base
    time_base: Fraction  # seconds per unit
    is_keyframe: np.ndarray = field(repr=False)  # bool (num_frames,)
    fps: Fraction  # snapped to a well-known rate where the timestamps allow; the average for VFR
    is_vfr: bool
    num_declared: int | None  # frames the container promises; None where it promises nothing
    is_truncated: bool  # the file ends well before what it declares
    num_damaged: int  # packets that no frame could be decoded from
    first_damage_s: float | None
    start_s: float  # first frame, relative to the container's start
    width: int
    height: int
    rotation_degrees: QuarterTurn  # clockwise turn that makes the coded picture upright
    pixel_format: str
    codec: str
    sample_aspect_ratio: Fraction
    color_range: int
    color_primaries: int
    color_transfer: int
    color_space: int
    is_interlaced: bool
    start_timecode: str | None
    audio: tuple[AudioFacts, ...]
    num_subtitle_streams: int
    warnings: tuple[str, ...]

    @property
    def num_frames(self) -> int:
        return len(self.pts)


@dataclass(frozen=True)
class PictureShape:
    """What the first frame tells of all: upright size, turn, and the clock of their timestamps."""

    width: int
    height: int
    rotation_degrees: QuarterTurn
    sample_aspect_ratio: Fraction
    time_base: Fraction


class FrameWatch(Protocol):
    """Sees each frame of a film while it is scanned: what else is to be known of the pictures needs no decoding of its own."""

    def begin(self, shape: PictureShape) -> None:
        """The film's first frame is next. A damaged film is scanned twice: what was seen before counts no more."""
        ...

    def see(self, frame: VideoFrame) -> None:
        """The next frame in order of presentation, in coded orientation and native format; it may be kept, not changed."""
        ...


def scan(path: str | Path, watch: FrameWatch | None = None) -> VideoFacts:
    """Decode every frame of the film's picture once (memory stays flat) and tell what was found.

    Raises InputError when the file is no film (see open_container), has no video stream, an unknown codec, timestamps that are missing or run
    backwards, or a picture that changes its size or pixel format. A film that ends early or is damaged inside is told, not refused: see
    is_truncated and num_damaged.
    """
    path = str(path if pinned_object(path) else Path(path).absolute())
    facts, num_lost = _scan(path, "AUTO", watch)
    if num_lost or facts.is_truncated:
        # With frame threads PyAV may swallow an error together with good frames; one thread per slice counts exactly.
        facts, _ = _scan(path, "SLICE", watch)
    return facts


def _scan(path: str, thread_type: str, watch: FrameWatch | None) -> tuple[VideoFacts, int]:
    """The facts, and the number of packets of the picture that gave no frame."""
    with open_container(path) as container:
        stream = pick_video_stream(container, path)
        stream.thread_type = thread_type
        walk = FilmWalk(path, stream, watch)
        walk.run(container)
        decoded_frames.add(path, len(walk.pts))
        first = walk.first_frame
        if first is None:
            declared = f"{stream.frames} frames are declared" if stream.frames else "it holds a picture"
            limit = f"{MAX_PIXELS / 1e6:.0f} million pixels"
            raise InputError(f"{path}: {declared} ({stream.codec_context.name}), 0 decode: damaged, or a picture of more than {limit}.")
        pts, time_base = np.array(walk.pts, np.int64), Fraction(str(stream.time_base))
        fps, is_vfr = find_rate(pts, time_base, walk.last_duration, declared_rate(stream))
        promise = Promise.of(path, container, stream, fps)
        rotation_degrees, is_mirrored = rotation(first)
        facts = VideoFacts(
            path=path,
            pts=pts,
            time_base=time_base,
            is_keyframe=np.array(walk.is_keyframe, bool),
            fps=fps,
            is_vfr=is_vfr,
            num_declared=promise.num_frames,
            is_truncated=walk.last_packet_is_cut or promise.is_broken_by(walk.last_dts, walk.end_s, stream, fps),
            num_damaged=walk.num_damaged,
            first_damage_s=walk.first_damage_s,
            start_s=float(pts[0] * time_base) - container_start_s(container),
            width=first.width,
            height=first.height,
            rotation_degrees=rotation_degrees,
            pixel_format=first.format.name,
            codec=stream.codec_context.name,
            sample_aspect_ratio=Fraction(str(stream.sample_aspect_ratio or 1)),
            color_range=int(first.color_range),
            color_primaries=int(first.color_primaries),
            color_transfer=int(first.color_trc),
            color_space=int(first.colorspace),
            is_interlaced=walk.num_interlaced * 2 > len(pts),
            start_timecode=start_timecode(container, stream),
            audio=audio_facts(container),
            num_subtitle_streams=len(container.streams.subtitles),
            warnings=tuple(_warnings(container, walk, is_mirrored)),
        )
        return facts, walk.num_packets - len(pts)


def _warnings(container: InputContainer, walk: "FilmWalk", is_mirrored: bool) -> list[str]:
    texts = []
    if walk.num_leading:
        texts.append(f"The first {walk.num_leading} packets of the picture cannot be decoded: the film was cut before its first keyframe.")
    if walk.num_corrupt:
        texts.append(f"{walk.num_corrupt} frames are marked as damaged by the decoder.")
    if is_mirrored:
        texts.append("The file asks players to mirror the picture; it is worked on unmirrored, and the mark is kept.")
    num_pictures = sum(is_film_stream(stream) for stream in container.streams.video)
    if num_pictures > 1:
        texts.append(f"The file has {num_pictures} video streams; only the first is worked on.")
    return texts


class FilmWalk:
    """Collects what one pass over all packets shows; keeps numbers per frame, never a second picture."""

    def __init__(self, path: str, stream: VideoStream, watch: FrameWatch | None):
        self.path, self.stream, self.watch = path, stream, watch
        self.pts: list[int] = []
        self.is_keyframe: list[bool] = []
        self.first_frame: VideoFrame | None = None
        self.last_duration = 0
        self.num_packets = self.num_interlaced = self.num_leading = self.num_damaged = self.num_corrupt = 0
        self.first_damage_s: float | None = None
        self.last_packet_is_cut = False
        self.last_dts = self.end_s = -math.inf  # of the picture, in its time base; of any stream, in seconds

    def run(self, container: InputContainer) -> None:
        packets = container.demux()
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:
                self.last_packet_is_cut = True
                packet = None
            if packet is None:
                break
            self._note_packet(packet)
        self._decode(None)

    def _note_packet(self, packet: av.Packet) -> None:
        if packet.stream.index == self.stream.index:
            if packet.size:
                self.last_packet_is_cut = packet.is_corrupt
                self.num_packets += not packet.is_discard
            self._decode(packet)
            if packet.dts is not None:
                self.last_dts = max(self.last_dts, packet.dts)
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            self.end_s = max(self.end_s, float((time + (packet.duration or 0)) * packet.time_base))

    def _decode(self, packet: av.Packet | None) -> None:
        try:
            frames = self.stream.codec_context.decode(packet)
        except EndOfStreamError:
            return
        except FFmpegError:
            if self.first_frame is None:
                self.num_leading += 1
                return
            self.num_damaged += 1
            if self.first_damage_s is None and packet is not None and packet.dts is not None:
                self.first_damage_s = float(packet.dts * packet.time_base)
            return
        for frame in frames:
            self._note_frame(frame)

    def _note_frame(self, frame: VideoFrame) -> None:
        n = len(self.pts)
        if frame.pts is None or (n and frame.pts <= self.pts[-1]):
            what = "has no timestamp" if frame.pts is None else "is not later than the frame before it"
            raise InputError(
                f"{self.path}: frame {n} {what}. Give the file proper timestamps first: ffmpeg -fflags +genpts -i FILM -c copy FIXED.mkv"
            )
        if self.first_frame is None:
            self.first_frame = frame
            if self.watch is not None:
                self.watch.begin(_shape(frame, self.stream))
        first = self.first_frame
        if (frame.width, frame.height, frame.format.name) != (first.width, first.height, first.format.name):
            raise InputError(
                f"{self.path}: the picture changes from {first.width}x{first.height} {first.format.name} to {frame.width}x{frame.height} "
                f"{frame.format.name} at frame {n}. Encode the film in one size and format first."
            )
        self.pts.append(frame.pts)
        self.is_keyframe.append(bool(frame.key_frame))
        self.last_duration = int(frame.duration or 0)
        self.num_interlaced += frame.interlaced_frame
        self.num_corrupt += frame.is_corrupt
        if self.watch is not None:
            self.watch.see(frame)


def _shape(frame: VideoFrame, stream: VideoStream) -> PictureShape:
    degrees, _ = rotation(frame)
    width, height = (frame.height, frame.width) if degrees in (90, 270) else (frame.width, frame.height)
    return PictureShape(width, height, degrees, Fraction(str(stream.sample_aspect_ratio or 1)), Fraction(str(stream.time_base)))
