"""Puts picture, dub and the film's own other streams into one file; only what the container cannot hold is converted, and that is told."""

import errno
import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import langcodes
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from langcodes.tag_parser import LanguageTagError

from infra import ffmpeg
from infra.container import container_start_s, open_container
from infra.declared import pick_video_stream
from infra.errors import InputError, OurTroubleError, TransientError

ContainerName = Literal["mp4", "mkv"]

AAC_BIT_RATE_PER_CHANNEL = 128_000  # 256 kb/s for stereo
AAC_RATES_HZ = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
AAC_MAX_BITS_PER_SAMPLE = 5  # the format's own ceiling is 6 per channel
MAX_CHANNELS = 8  # of AAC, ALAC and FLAC
ALAC_LAYOUTS = frozenset({"mono", "stereo", "5.1", "5.1(side)"})  # those a player and the encoder both take channel for channel

# What each container holds as it is, by FFmpeg's codec names.
_HELD_SOUND = {
    "mp4": frozenset({"aac", "ac3", "eac3", "alac", "mp3", "mp2", "opus", "flac", "dts"}),
    "mkv": frozenset({"aac", "ac3", "eac3", "alac", "mp3", "mp2", "opus", "flac", "dts", "truehd", "vorbis", "wavpack"}),
}
_HELD_PCM = frozenset({"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"})  # by Matroska
# A dub in one of these is copied when it is as long as the picture. Not MP3 and Vorbis: Matroska cannot say how much of their start to skip.
_DUB_COPIED = {"mp4": frozenset({"aac", "alac", "ac3", "eac3"}), "mkv": frozenset({"aac", "alac", "ac3", "eac3", "dts", "truehd", "opus"})}
_TEXT_SUBTITLES = frozenset({"subrip", "ass", "ssa", "webvtt", "mov_text", "text"})
_HELD_SUBTITLES = {
    "mp4": frozenset({"mov_text", "dvd_subtitle"}),
    "mkv": frozenset({"subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"}),
}
DISK_FULL = os.strerror(errno.ENOSPC)
_TITLE_KEYS = {"mp4": "handler_name", "mkv": "title"}


@dataclass(frozen=True)
class DubTrack:
    """The translated sound as delivered. language: BCP 47. num_samples counts at sample_rate_hz."""

    path: Path
    language: str
    sample_rate_hz: int
    num_channels: int
    num_samples: int


@dataclass(frozen=True)
class PictureTrack:
    """The joined picture, starting at 0."""

    path: Path
    duration_s: float
    start_in_film_s: float  # time of its first frame in the film's container: the film's other streams are moved by it
    display_aspect: Fraction  # width / height of the coded picture as shown
    timecode: str | None  # SMPTE, of the first frame
    chroma_location: str | None  # FFmpeg's name


@dataclass
class _OutputStreams:
    """ffmpeg's arguments for the streams after picture and dub, and what had to be changed or left out."""

    args: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    num_audio: int = 1  # the dub is the first


def mux(path: Path, picture: PictureTrack, dub: DubTrack, film_path: Path) -> tuple[str, ...]:
    """Write `path` (.mp4 or .mkv) and return what could not be carried over from the film as it was.

    The dub is padded with silence or cut to the picture; it is the first and the default audio stream, at its own rate and channels. Raises
    InputError when the container cannot hold the dub, OurTroubleError when ffmpeg fails.
    """
    container: ContainerName = "mkv" if path.suffix == ".mkv" else "mp4"
    dub_args, dub_warnings, dub_start_s = _plan_dub(dub, container, picture.duration_s)
    with open_container(film_path) as film:
        others = _plan_others(film, film_path, container)
    inputs = [
        *("-y", "-copyts", *ffmpeg.input_options(picture.path)),
        *("-itsoffset", f"{-dub_start_s:.6f}", *ffmpeg.input_options(dub.path)),
        *("-itsoffset", f"{-picture.start_in_film_s:.6f}", *ffmpeg.input_options(film_path)),
    ]
    own = ["-map", "0:v:0", "-c:v:0", "copy", "-map", "1:a:0", *dub_args, *_dub_labels(dub, container)]
    outputs = [*_headers(picture, container), "file:" + str(path.absolute())]
    timeout_s = 600 + 4 * picture.duration_s
    try:
        ffmpeg.run([*inputs, *own, *others.args, *outputs], timeout_s=timeout_s)
    except OurTroubleError as error:
        if DISK_FULL in str(error):
            raise TransientError(f"Disk full while writing {path}. Free some space and run the same command again: finished work is kept.") from error
        if not others.args:
            raise
        ffmpeg.run([*inputs, *own, *outputs], timeout_s=timeout_s)
        others.warnings = [f"The film's own sound and subtitles could not be carried over: {str(error).splitlines()[0]}"]
    return (*dub_warnings, *others.warnings)


def check_dub(dub: DubTrack, container: ContainerName) -> None:
    """Raise InputError where mux() would, before any work is done."""
    _plan_dub(dub, container, dub.num_samples / dub.sample_rate_hz)


def _dub_labels(dub: DubTrack, container: ContainerName) -> list[str]:
    labels = (f"language={language_code(dub.language)}", f"{_TITLE_KEYS[container]}=Dub ({dub.language})")
    return ["-disposition:a:0", "default", *(part for label in labels for part in ("-metadata:s:a:0", label))]


def _headers(picture: PictureTrack, container: ContainerName) -> list[str]:
    """The film's title, chapters and the like, its timecode and shape; nothing that differs from run to run."""
    timecode = ["-timecode", picture.timecode] if picture.timecode else ["-metadata", "timecode="]
    common = ["-map_metadata", "2", "-map_chapters", "2", *timecode, "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    if container == "mp4":  # which takes the picture's shape from H.264's own header
        return [*common, "-movflags", "+faststart", "-f", "mp4"]
    shape = ["-aspect:v:0", f"{picture.display_aspect.numerator}:{picture.display_aspect.denominator}"]
    location = ["-chroma_sample_location:v:0", picture.chroma_location] if picture.chroma_location else []
    return [*common, *shape, *location, "-f", "matroska"]


def language_code(tag: str) -> str:
    """ISO 639-2/B code, as mp4 and Matroska headers want it, of a BCP 47 tag; `und` where the language has none."""
    try:
        return langcodes.get(tag).to_alpha3(variant="B")
    except (LookupError, LanguageTagError):
        return "und"


def _plan_dub(dub: DubTrack, container: ContainerName, duration_s: float) -> tuple[list[str], list[str], float]:
    """(codec and filter arguments, warnings, where the file's own time starts)."""
    with open_container(dub.path) as source:
        stream = source.streams.audio[0]
        codec, layout = stream.codec_context.codec.canonical_name, stream.codec_context.layout.name
        start_s = container_start_s(source)
        is_delayed = abs(float((stream.start_time or 0) * (stream.time_base or 0)) - start_s) > 0.001
    is_as_long = abs(dub.num_samples / dub.sample_rate_hz - duration_s) < 0.01
    if codec in _DUB_COPIED[container] and is_as_long and not is_delayed:
        return ["-c:a:0", "copy"], [], start_s
    num_samples = round(duration_s * dub.sample_rate_hz)
    # first_pts=0 puts silence where the track starts late, async=1 where it has gaps; samples are not stretched.
    fitted = f"aresample=async=1:first_pts=0,apad=whole_len={num_samples},atrim=end_sample={num_samples}"
    encoder, warnings = _dub_encoder(dub, container, codec, layout)
    return [*_prefixed(encoder, "a:0"), "-filter:a:0", fitted], warnings, start_s


def _dub_encoder(dub: DubTrack, container: ContainerName, codec: str, layout: str) -> tuple[list[str], list[str]]:
    if container == "mkv" and codec.startswith("pcm_"):
        return ["-c", _pcm_for_matroska(codec)], []
    if dub.num_channels > MAX_CHANNELS:
        raise InputError(f"{dub.path}: {dub.num_channels} channels; mp4 and FLAC hold {MAX_CHANNELS}. Give a WAV file and use --lossless.")
    if container == "mkv":
        return ["-c", "flac"], []
    if dub.sample_rate_hz in AAC_RATES_HZ:
        return _aac(dub.sample_rate_hz, dub.num_channels), []
    if layout in ALAC_LAYOUTS:
        return ["-c", "alac"], [f"The dub's rate of {dub.sample_rate_hz} Hz is none of AAC's: it is written as ALAC, lossless."]
    raise InputError(f"{dub.path}: {dub.num_channels} channels at {dub.sample_rate_hz} Hz cannot be kept in mp4. Give 48 kHz, or use --lossless.")


def _aac(rate_hz: int, num_channels: int) -> list[str]:
    return ["-c", "aac", "-b", str(min(AAC_BIT_RATE_PER_CHANNEL, AAC_MAX_BITS_PER_SAMPLE * rate_hz) * num_channels)]


def _pcm_for_matroska(codec: str) -> str:
    little = codec.replace("be", "le")
    return little if little in _HELD_PCM else "pcm_s24le"


def _prefixed(options: list[str], stream: str) -> list[str]:
    """`-c aac` as `-c:a:0 aac`."""
    return [f"{option}:{stream}" if option.startswith("-") else option for option in options]


def _plan_others(film: InputContainer, film_path: Path, container: ContainerName) -> _OutputStreams:
    plan = _OutputStreams()
    picture = pick_video_stream(film, str(film_path))
    for index, stream in enumerate(film.streams.audio):
        _plan_sound(plan, stream, index, container)
    num_subtitles = 0
    for index, stream in enumerate(film.streams.subtitles):
        num_subtitles += _plan_subtitle(plan, stream, index, num_subtitles, container)
    for stream in film.streams:
        if stream.type == "attachment" and container == "mkv":
            plan.args += ["-map", f"2:{stream.index}", "-c:t", "copy"]
        elif stream.type not in ("audio", "subtitle") and stream.index != picture.index and not _is_made_anew(stream, film):
            kind = "cover picture or second picture" if stream.type == "video" else stream.type
            plan.warnings.append(f"The film's stream {stream.index} ({kind}) is not carried over.")
    return plan


def _is_made_anew(stream: Stream, film: InputContainer) -> bool:
    """Timecode tracks, and the text tracks in which mp4 keeps chapter titles a second time."""
    is_chapter_text = "mp4" in film.format.name and stream.name == "bin_data" and bool(film.chapters())
    return stream.type == "data" and (is_chapter_text or any(key.lower() == "timecode" for key in stream.metadata))


def _plan_sound(plan: _OutputStreams, stream: AudioStream, index: int, container: ContainerName) -> None:
    if stream.codec_context is None:
        plan.warnings.append(f"The film's audio stream {index} has an unknown codec and is not carried over.")
        return
    codec, layout = stream.codec_context.codec.canonical_name, stream.codec_context.layout.name
    rate_hz, num_channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
    if codec in _HELD_SOUND[container] or (container == "mkv" and codec in _HELD_PCM):
        encoder = ["-c", "copy"]
    elif container == "mkv":
        encoder = ["-c", _pcm_for_matroska(codec) if codec.startswith("pcm_") else "flac"]
    elif codec.startswith("pcm_") and layout in ALAC_LAYOUTS:
        encoder = ["-c", "alac"]
    elif num_channels <= MAX_CHANNELS:
        encoder = _aac(rate_hz, num_channels)
    else:
        plan.warnings.append(f"The film's audio stream {index} ({num_channels} channels of {codec}) cannot be held by mp4 and is not carried over.")
        return
    if encoder[1] != "copy":
        plan.warnings.append(f"The film's audio stream {index} is {codec}, which {container} does not hold: it is written as {encoder[1]}.")
    out = f"a:{plan.num_audio}"
    plan.args += ["-map", f"2:a:{index}", *_prefixed(encoder, out), f"-disposition:{out}", _disposition(stream)]
    plan.num_audio += 1


def _plan_subtitle(plan: _OutputStreams, stream: Stream, index: int, out_index: int, container: ContainerName) -> int:
    """How many output streams it takes: 1, or 0 when it is left out."""
    codec = "unknown" if stream.codec_context is None else stream.codec_context.codec.canonical_name
    if codec in _HELD_SUBTITLES[container]:
        encoder = "copy"
    elif codec in _TEXT_SUBTITLES:
        encoder = "mov_text" if container == "mp4" else "subrip"
    else:
        plan.warnings.append(f"The film's subtitle stream {index} ({codec}) cannot be held by {container} and is not carried over.")
        return 0
    plan.args += ["-map", f"2:s:{index}", f"-c:s:{out_index}", encoder, f"-disposition:s:{out_index}", _disposition(stream)]
    return 1


def _disposition(stream: Stream) -> str:
    """The stream's own marks for ffmpeg; an audio stream is no longer the default one."""
    marks = stream.disposition & ~(Disposition.default if stream.type == "audio" else Disposition(0))
    return "+".join(mark.name for mark in Disposition if mark in marks and mark.name) or "0"
