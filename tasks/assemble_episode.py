"""Joins the reels, adds the dub and the film's other streams, and lets nothing through that differs from the source where it must not."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from infra.artifacts import ArtifactStore
from infra.container import open_container
from infra.durable import copy_hashed, disk_errors, publish, sha256_of_file, sync_file
from infra.errors import OurTroubleError
from infra.hollow_film import without_pictures
from infra.mux import DubTrack, PictureTrack, check_dub, mux
from infra.scratch import new_scratch_name
from infra.side_data import side_data_of
from infra.video import FrameReader, VideoFacts, scan
from infra.video_join import display_matrix, join_segments
from infra.video_write import CodecName, choose_encoding, chroma_location, coded_size, decoded_format, same_range, written_range
from tasks.types import DubbedEpisode, EpisodeId, Film, Reel, Stem

SUFFIXES: dict[CodecName, str] = {"h264": "mp4", "ffv1": "mkv"}
JITTER_FRAMES = 0.02  # a film's timestamps may lie this far (in frames) from its constant rate; what is written follows the rate
HDR_SIDE_DATA = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "DOVI_METADATA")


def output_key(episode_id: EpisodeId, language: str, codec: CodecName) -> str:
    """Where the dubbed film lies under OUT/ID."""
    return f"{language}/{episode_id}.{language}.{SUFFIXES[codec]}"


def check_deliverable(film: Film, dub: Stem, codec: CodecName) -> tuple[str, ...]:
    """What the viewer of the result should know of its picture (warnings), found before any work is done.

    Raises InputError when the codec cannot keep the film's pixel format or the container cannot hold the dub.
    """
    warnings = choose_encoding(film, codec).warnings
    check_dub(_dub_track(dub, dub.language or "und"), "mkv" if codec == "ffv1" else "mp4")
    return warnings


def assemble_episode(
    store: ArtifactStore, film: Film, reels: Sequence[Reel], dub: Stem, episode_id: EpisodeId, language: str, codec: CodecName, into: Path
) -> DubbedEpisode:
    """Write INTO/LANG/ID.LANG.mp4 (.mkv for ffv1); the name appears only when the file is verified and complete.

    reels: of this language and codec, a partition of the film. The dub is padded or cut to the picture. What cannot be carried over from the film is
    listed in the record's warnings. Raises InputError when the container cannot hold the dub, OurTroubleError when the result differs from the
    source, TransientError when the disk is full.
    """
    key = output_key(episode_id, language, codec)
    timing = store.load_arrays(film.timing)
    pts = timing["pts"]
    track = _dub_track(dub, language)
    segments = [(store.path(reel.segment), reel.first_frame, reel.end_frame) for reel in sorted(reels, key=lambda reel: reel.first_frame)]
    reader = FrameReader(film.path, pts, film.time_base, timing["is_keyframe"], film.rotation_degrees)
    _, first_frame = next(reader.frames(0, 1))
    with store.scratch() as folder:
        picture, finished = folder / f"picture.{SUFFIXES[codec]}", folder / f"episode.{SUFFIXES[codec]}"
        join_segments(picture, segments, film, pts, codec, display_matrix(first_frame))
        mux_warnings = mux(finished, _picture_track(picture, film, pts), track, without_pictures(film.path, folder))
        picture.unlink()
        verify_episode(finished, film, pts, track, codec)
        with disk_errors("writing the dubbed film", into):
            sha256 = _move(finished, into / key)
    warnings = (*choose_encoding(film, codec).warnings, *mux_warnings, *_lost_hdr(first_frame), *_changed_timecode(film))
    return DubbedEpisode(episode_id=episode_id, language=language, output=key, sha256=sha256, num_frames=film.num_frames, warnings=warnings)


def _dub_track(dub: Stem, language: str) -> DubTrack:
    return DubTrack(Path(dub.path), language, dub.sample_rate_hz, dub.num_channels, dub.num_samples)


def _start_timecode(film: Film) -> str | None:
    """The film's, as files can hold it: only 30000/1001 and its multiples count with dropped frames."""
    if film.start_timecode and film.fps.denominator != 1001:
        return film.start_timecode.replace(";", ":")
    return film.start_timecode


def _picture_track(path: Path, film: Film, pts: np.ndarray) -> PictureTrack:
    width, height = coded_size(film)
    aspect = film.sample_aspect_ratio * width / height
    start_s = float(int(pts[0]) * film.time_base)
    return PictureTrack(path, film.duration_s, start_s, aspect, _start_timecode(film), chroma_location(film))


def _move(finished: Path, final: Path) -> str:
    """Give a finished file its final name in one step, on whatever disk that is. Returns its sha256."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if finished.stat().st_dev == final.parent.stat().st_dev:
        sync_file(finished)
        sha256 = sha256_of_file(finished)
        publish(finished, final)
        return sha256
    temporary = final.with_name(new_scratch_name())
    try:
        sha256, _ = copy_hashed(finished, temporary)
        publish(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
    return sha256


def _lost_hdr(frame: VideoFrame) -> list[str]:
    said = side_data_of(frame)
    found = [name for name in HDR_SIDE_DATA if name in said]
    return [f"The film's HDR metadata ({', '.join(found).lower()}) is not carried over; its colour tags are."] if found else []


def _changed_timecode(film: Film) -> list[str]:
    written = _start_timecode(film)
    if written == film.start_timecode:
        return []
    return [f"The film's start timecode {film.start_timecode} drops frames, its rate does not: written as {written}."]


def verify_episode(path: Path, film: Film, pts: np.ndarray, dub: DubTrack, codec: CodecName) -> None:
    """Re-open what was written, decode all of it, and compare with the source. Raises OurTroubleError naming every difference.

    pts: int64 (num_frames,) of the film, in its time base.
    """
    written = scan(path)
    differences = [*_picture_differences(written, film, codec), *_time_differences(written, film, pts), *_sound_differences(path, written, film, dub)]
    if differences:
        raise OurTroubleError(f"The dubbed film is not what it must be and was not published: {'; '.join(differences)}.")


def _picture_differences(written: VideoFacts, film: Film, codec: CodecName) -> Iterator[str]:
    if written.num_damaged or written.is_truncated:
        yield f"{written.num_damaged} packets of its picture cannot be decoded, it is {'' if written.is_truncated else 'not '}truncated"
    # Matroska keeps the size as shown, in whole pixels.
    aspect_is_same = abs(written.sample_aspect_ratio / film.sample_aspect_ratio - 1) <= max(
        Fraction(1, min(film.width, film.height)), Fraction(1, 500)
    )
    for name, found, expected in (
        ("codec", written.codec, codec),
        ("frame count", written.num_frames, film.num_frames),
        ("coded size", (written.width, written.height), coded_size(film)),
        ("rotation", written.rotation_degrees, film.rotation_degrees),
        ("sample aspect ratio", film.sample_aspect_ratio if aspect_is_same else written.sample_aspect_ratio, film.sample_aspect_ratio),
        ("pixel format", written.pixel_format.replace("yuvj", "yuv"), decoded_format(choose_encoding(film, codec))),
        ("interlacing", written.is_interlaced, film.is_interlaced),
        ("start timecode", written.start_timecode, _start_timecode(film)),
        ("colour range", written_range(film) if same_range(written.color_range, written_range(film)) else written.color_range, written_range(film)),
        ("colour primaries", written.color_primaries, film.color_primaries),
        ("colour transfer", written.color_transfer, film.color_transfer),
        ("colour space", written.color_space, film.color_space),
    ):
        if found != expected:
            yield f"{name} is {found}, not {expected}"


def _time_differences(written: VideoFacts, film: Film, pts: np.ndarray) -> Iterator[str]:
    # Of a variable rate only the timestamps count, compared one by one below: the average hangs on how long the last frame is said to last.
    rate_is_same = film.is_vfr or written.fps == film.fps or film.num_frames == 1
    if not rate_is_same:
        yield f"frame rate is {written.fps}, not {film.fps}"
    if written.num_frames != len(pts):
        return
    late_s = (written.pts - written.pts[0]) * float(written.time_base) - (pts - pts[0]) * float(film.time_base)
    tolerance_s = float(film.time_base + written.time_base) + (0 if film.is_vfr else JITTER_FRAMES / float(film.fps))
    worst = int(np.abs(late_s).argmax())
    if abs(late_s[worst]) > tolerance_s:
        yield f"frame {worst} comes {late_s[worst]:+.4f} s from its time"


def _sound_differences(path: Path, written: VideoFacts, film: Film, dub: DubTrack) -> Iterator[str]:
    with open_container(path) as container:
        if not container.streams.audio:
            yield "the dub is missing"
            return
        stream, start_s, num_samples = container.streams.audio[0], None, 0
        rate_hz, num_channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
        declared_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        for frame in container.decode(stream):
            start_s = float(frame.pts * frame.time_base) if start_s is None and frame.pts is not None and frame.time_base else start_s
            num_samples += frame.samples
    if (rate_hz, num_channels) != (dub.sample_rate_hz, dub.num_channels):
        yield f"the dub has {num_channels} channels at {rate_hz} Hz, not {dub.num_channels} at {dub.sample_rate_hz} Hz"
    frame_s = float(1 / film.fps)
    decoded_s = num_samples / rate_hz
    # mp4 says where AAC ends within its last block; decoders give the whole block.
    lasts_s = decoded_s if declared_s is None or declared_s > decoded_s else declared_s
    if abs(lasts_s - film.duration_s) > frame_s:
        yield f"the dub lasts {lasts_s:.3f} s, the picture {film.duration_s:.3f} s"
    if start_s is None or abs(start_s - float(int(written.pts[0]) * written.time_base)) > frame_s:
        yield f"the dub begins at {start_s} s, the picture at {float(int(written.pts[0]) * written.time_base)} s"
