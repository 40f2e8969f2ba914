"""What a container says of itself without decoding: its streams, rate, turn, timecode, and how many frames it promises."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infra.container import MAX_PIXELS, container_start_s
from infra.errors import InputError
from infra.ranged_file import RangedFile
from infra.side_data import side_data_of
from infra.sources import pinned_object

END_TOLERANCE_FRAMES = 3  # a film may end this much before what its header says: edit lists, encoders that drop their last frames
END_TOLERANCE_S = 0.2
_TIMECODE = re.compile(r"\d\d:[0-5]\d:[0-5]\d[:;.]\d\d")
_ENCRYPTED_TAGS = {"encv", "drmi"}

QuarterTurn = Literal[0, 90, 180, 270]
_QUARTER_TURNS: tuple[QuarterTurn, ...] = (0, 90, 180, 270)


@dataclass(frozen=True)
class AudioFacts:
    """One audio stream as declared; index counts among the audio streams."""

    index: int
    codec: str
    sample_rate_hz: int
    num_channels: int
    language: str | None


def audio_facts(container: InputContainer) -> tuple[AudioFacts, ...]:
    """All audio streams; those without a decoder have codec "unknown" and zeros."""
    facts = []
    for index, stream in enumerate(container.streams.audio):
        codec = stream.codec_context
        language = stream.language if stream.language not in (None, "", "und") else None
        if codec is None:
            facts.append(AudioFacts(index, "unknown", 0, 0, language))
        else:
            facts.append(AudioFacts(index, codec.name, codec.sample_rate or 0, codec.layout.nb_channels, language))
    return tuple(facts)


def is_film_stream(stream: VideoStream) -> bool:
    """False for cover pictures and thumbnails, which containers keep as video streams."""
    return not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)


def pick_video_stream(container: InputContainer, path: str) -> VideoStream:
    """The film's picture: the default-marked video stream, else the first. InputError when there is none that can be decoded."""
    streams = [stream for stream in container.streams.video if is_film_stream(stream)]
    if not streams:
        raise InputError(f"{path}: has no video stream ({_what_else(container)}). Give the film itself.")
    stream = next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])
    if stream.codec_context is None:
        raise InputError(f"{path}: there is no decoder for the codec of its picture. Convert it to H.264, ProRes or another common codec first.")
    if str(stream.codec_context.codec_tag) in _ENCRYPTED_TAGS:
        raise InputError(f"{path}: its picture is encrypted. Give an unprotected file.")
    if not stream.codec_context.is_open:
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # the pictures inside may be larger than the header says
    return stream


def _what_else(container: InputContainer) -> str:
    kinds = [f"{len(container.streams.audio)} audio", f"{len(container.streams.subtitles)} subtitle"]
    if container.streams.video:
        kinds.append(f"{len(container.streams.video)} cover picture")
    return ", ".join(kinds) + " streams"


def declared_rate(stream: VideoStream) -> Fraction | None:
    rate = stream.guessed_rate or stream.average_rate
    return Fraction(str(rate)) if rate else None


def start_timecode(container: InputContainer, stream: VideoStream) -> str | None:
    """SMPTE start timecode from the picture's, the container's or a timecode track's metadata; ';' before the frames marks drop frame."""
    for metadata in (stream.metadata, container.metadata, *(other.metadata for other in container.streams.data)):
        for key, value in metadata.items():
            if key.lower() == "timecode" and _TIMECODE.fullmatch(value.strip()):
                return value.strip().replace(".", ";")
    return None


def rotation(frame: VideoFrame) -> tuple[QuarterTurn, bool]:
    """(clockwise turn in degrees that makes the coded picture upright: 0, 90, 180 or 270; whether players also mirror it)."""
    data = side_data_of(frame).get("DISPLAYMATRIX")
    if data is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(data, "<i4")[:5].astype(float)
    is_mirrored = a * d - b * c < 0
    # Of a mirrored picture the mirror image is turned upright: it is the same face, seen in a looking glass.
    degrees = math.degrees(math.atan2(b, -a if is_mirrored else a))
    return _QUARTER_TURNS[round(degrees / 90) % 4], is_mirrored


@dataclass(frozen=True)
class Promise:
    """What a container says it holds: the file is truncated when much less can be read."""

    num_frames: int | None  # None where the format says nothing, as MPEG-TS
    last_dts: int | None = None  # of the picture's last sample, from a sample index
    is_cut: bool = False  # the file ends inside a piece of itself
    picture_s: float | None = None  # length of the picture, by a frame count in the header
    end_s: float | None = None  # end of the longest stream

    @staticmethod
    def of(path: str, container: InputContainer, stream: VideoStream, fps: Fraction) -> "Promise":
        """Read it after the whole file was walked through: fragmented files show their index piece by piece."""
        name = container.format.name
        if "mp4" in name:
            samples = [entry.timestamp for entry in stream.index_entries if not entry.is_discard]
            last_dts = max((entry.timestamp for entry in stream.index_entries), default=None)
            return Promise(len(samples) or None, last_dts=last_dts, is_cut=ends_inside_a_box(path))
        if name in ("mpegts", "mpeg") or container.duration is None:
            return Promise(None)
        length_s = container.duration / av.time_base
        if name == "avi" and stream.frames:
            return Promise(stream.frames, picture_s=float(stream.frames / (stream.average_rate or fps)))
        # Some writers count the duration from zero, some from the first timestamp: only what is short of both is short.
        start_s = max(0.0, container_start_s(container))
        picture_s = (_matroska_duration_s(stream) or length_s) - start_s
        return Promise(round(picture_s * (declared_rate(stream) or fps)), end_s=length_s)

    def is_broken_by(self, last_dts: float, end_s: float, stream: VideoStream, fps: Fraction) -> bool:
        """Whether the file ends well before its promise. last_dts: of the picture; end_s: of whatever stream lasts longest."""
        tolerance_s = max(END_TOLERANCE_FRAMES / float(fps), END_TOLERANCE_S)
        if self.is_cut:
            return True
        unit_s = float(stream.time_base or 0)
        if self.last_dts is not None:
            return (self.last_dts - last_dts) * unit_s > tolerance_s
        if self.picture_s is not None:
            return self.picture_s - last_dts * unit_s > tolerance_s
        return self.end_s is not None and self.end_s - end_s > tolerance_s


def ends_inside_a_box(path: str) -> bool:
    """Whether an MP4 or MOV file ends before the last of its top-level boxes does (ISO/IEC 14496-12, 4.2)."""
    pinned = pinned_object(path)
    size = pinned.num_bytes if pinned else Path(path).stat().st_size
    with RangedFile(pinned) if pinned else open(path, "rb") as file:
        at = 0
        while at < size:
            file.seek(at)
            head = file.read(16)
            if len(head) < 8 or not head[4:8].isascii() or not head[4:8].decode().isprintable():
                return False  # padding after the last box
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                return False  # 0: the box reaches to the end of the file
            at += length
    return at > size


def _matroska_duration_s(stream: VideoStream) -> float | None:
    """FFmpeg writes each stream's own end as a tag, HH:MM:SS.nnnnnnnnn."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None
