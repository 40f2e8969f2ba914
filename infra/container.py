"""Opens media files of other people safely: local files of known formats only, within limits, before anything is decoded."""

from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError

from infra.errors import InputError
from infra.ranged_file import RangedFile
from infra.sources import pinned_object

# Self-contained formats only: no playlist, manifest, image pattern or script can name another file or address.
FORMATS = "mov,matroska,webm,mpegts,mpeg,avi,mxf,flv,asf,nut,dv,wav,w64,aiff,caf,flac,mp3,aac,ac3,eac3,ogg"
MAX_STREAMS = 100
MAX_PIXELS = 8192 * 8192 // 2  # 8K (7680x4320) is let in
MAX_DURATION_S = 24 * 3600
MAX_FRAMES = MAX_DURATION_S * 120

OPEN_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_streams": str(MAX_STREAMS), "max_pixels": str(MAX_PIXELS)}

_HEAD_BYTES = 1024
_BUFFER_BYTES = 1 << 18  # of films in a bucket, which are read through Python

_TELLTALES = (
    (b"#extm3u", "an m3u8 playlist"),
    (b"ffconcat", "an ffconcat list"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML file"),
    (b"<mpd", "a DASH manifest"),
    (b"v=0\r", "an SDP description"),
    (b"v=0\n", "an SDP description"),
)


def open_container(path: str | Path) -> InputContainer:
    """Open a media file for reading, a local one or one of infra.sources; close it with `with` (av containers are context managers).

    Only formats of FORMATS are tried, only the file itself is read. Raises InputError when the file is missing, empty, text, a playlist,
    no media at all, or declares more than this program takes on (streams, pixels, duration).
    """
    pinned = pinned_object(path)
    if pinned is None:
        path = Path(path).absolute()
        head, file = _head_of(path), "file:" + str(path)
    else:
        path, head, file = pinned.uri, RangedFile(pinned).read(_HEAD_BYTES), RangedFile(pinned)
    _refuse_what_is_no_media(path, head)
    try:
        container = av.open(file, mode="r", options=OPEN_OPTIONS, metadata_errors="replace", buffer_size=_BUFFER_BYTES)
    except FFmpegError as error:
        raise InputError(
            f"{path}: cannot be read as film or sound ({_reason(error)}). Give a complete mp4, mov, mkv, mxf, ts or wav file."
        ) from error
    try:
        _refuse_what_is_too_large(container, path)
    except BaseException:
        container.close()
        raise
    return container


def container_start_s(container: InputContainer) -> float:
    """The earliest time stamp of any stream, in seconds of the container's own clock."""
    return (container.start_time or 0) / av.time_base


def container_length_s(container: InputContainer) -> float:
    """What the container says of its length, in seconds; 0 where it says nothing."""
    return (container.duration or 0) / av.time_base


def _reason(error: FFmpegError) -> str:
    if isinstance(error, InvalidDataError):
        return "not a known media format, or its header is damaged or missing"
    return error.strerror or type(error).__name__


def _head_of(path: Path) -> bytes:
    if not path.exists():
        raise InputError(f"{path}: no such file.")
    if not path.is_file():
        raise InputError(f"{path}: not a regular file.")
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}).") from error


def _refuse_what_is_no_media(path: str | Path, head: bytes) -> None:
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes); was the upload interrupted?")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for telltale, kind in _TELLTALES:
        if start.startswith(telltale):
            raise InputError(f"{path}: this is {kind}, whatever its name says. Give the film itself.")
    if _is_text(head):
        raise InputError(f"{path}: this is a text file, not film or sound.")


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)


def _refuse_what_is_too_large(container: InputContainer, path: str | Path) -> None:
    if len(container.streams) >= MAX_STREAMS:
        raise InputError(f"{path}: {len(container.streams)} streams or more; at most {MAX_STREAMS - 1} are taken.")
    if container.duration is not None and container.duration / av.time_base > MAX_DURATION_S:
        raise InputError(f"{path}: declares {container.duration / av.time_base / 3600:.1f} hours; at most {MAX_DURATION_S // 3600} are taken.")
    for stream in container.streams.video:
        if stream.codec_context is not None and stream.width * stream.height > MAX_PIXELS:
            raise InputError(f"{path}: declares a picture of {stream.width}x{stream.height}; at most {MAX_PIXELS} pixels are taken.")
        if stream.frames > MAX_FRAMES:
            raise InputError(f"{path}: declares {stream.frames} frames; at most {MAX_FRAMES} are taken.")
