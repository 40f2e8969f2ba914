"""What a film is made of: streams, stems, shots."""

from fractions import Fraction
from typing import Literal

from pydantic import Field

from infra.artifacts import Artifact
from tasks.types.record import Rational, Record


class AudioStream(Record):
    index: int  # among the container's audio streams
    codec: str
    sample_rate_hz: int
    num_channels: int
    language: str | None = None


class Film(Record):
    """A film as inspected. Sizes are upright (after rotation); frame n is the n-th in presentation order."""

    path: str  # local, absolute
    sha256: str
    state: str = ""  # of the file at `path` before it was hashed, see infra.file_state
    timing: Artifact  # .npz: pts (num_frames,) int64 in time_base units, is_keyframe (num_frames,) bool
    time_base: Rational  # seconds per pts unit
    fps: Rational  # average for VFR
    num_frames: int = Field(ge=1)
    width: int
    height: int
    rotation_degrees: Literal[0, 90, 180, 270] = 0  # clockwise turn that makes the coded picture upright
    pixel_format: str  # FFmpeg's name
    video_codec: str
    sample_aspect_ratio: Rational = Fraction(1)
    color_range: int = 0  # FFmpeg's enum numbers, as tagged in the file
    color_primaries: int = 2
    color_transfer: int = 2
    color_space: int = 2
    start_timecode: str | None = None  # SMPTE, ';' before the frames when drop frame
    is_vfr: bool = False
    is_interlaced: bool = False
    audio_streams: tuple[AudioStream, ...] = ()
    num_subtitle_streams: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return float(self.num_frames / self.fps)


class Stem(Record):
    """A sound track, prepared: 16 kHz mono float32 for analysis beside the file as delivered."""

    path: str  # the file as delivered, untouched; for `original` it may be the film itself
    sha256: str
    language: str | None = None
    role: Literal["dialogue", "mix", "original"]
    sample_rate_hz: int
    num_channels: int
    num_samples: int  # at sample_rate_hz
    analysis: Artifact  # .npy float32 (n,), 16 kHz mono in [-1, 1]; sample 0 is heard with the film's frame 0
    warnings: tuple[str, ...] = ()


class Shot(Record):
    """A half-open range of frames [first_frame, end_frame)."""

    index: int = Field(ge=0)
    first_frame: int = Field(ge=0)
    end_frame: int

    @property
    def name(self) -> str:
        return f"shot-{self.index:05d}"

    @property
    def num_frames(self) -> int:
        return self.end_frame - self.first_frame


class ShotList(Record):
    shots: tuple[Shot, ...]
