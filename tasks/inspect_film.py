"""Looks at a film once, frame by frame, and accepts it as a Film record or refuses it with a reason."""

from pathlib import Path
from typing import Protocol

from infra.artifacts import ArtifactStore
from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.file_state import state_of, unchanged
from infra.ranged_file import hashed_while_read
from infra.scan import FrameWatch, VideoFacts, scan
from infra.sources import PinnedObject, pinned_object, refuse_damaged
from tasks.types import AudioStream, Film, Record

STEP_VERSION = 1


class FilmDigest(Record):
    """What a version of an object in a bucket holds; found by reading it once."""

    sha256: str


class FilmWatch(FrameWatch, Protocol):
    """Sees a film's frames while it is inspected."""

    def identify(self, path: str, sha256: str, state: str) -> None:
        """What is about to be seen are these bytes. Not told of a film whose digest is only known once it has been read."""
        ...


def inspect_film(store: ArtifactStore, path: str | Path, watch: FilmWatch | None = None) -> Film:
    """The film at a local path, or at one of infra.sources, as a record; every frame is decoded once, unless the same bytes were inspected before.

    watch: sees the frames if they are decoded.

    Raises InputError, saying what to do, for a file that is no film, has no video stream, is truncated (with the number of frames declared and
    decoded), is damaged inside, or is beyond the limits of infra.container.
    """
    pinned = pinned_object(path)
    if pinned is not None:
        return _inspect_object(store, pinned, watch)
    path = Path(path).absolute()
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    state = state_of(path)
    sha256 = sha256_of_file(path)

    def make() -> Film:
        if watch is not None:
            watch.identify(str(path), sha256, state)
        return _film_of(store, scan(path, watch), sha256)

    with unchanged(path, sha256, state):
        film = store.get_or_make("inspect_film", STEP_VERSION, {"film": sha256}, Film, make)
    return film.model_copy(update={"path": str(path), "state": state})  # the same bytes may lie elsewhere today


def _inspect_object(store: ArtifactStore, pinned: PinnedObject, watch: FilmWatch | None) -> Film:
    """As a file, but it is read in order and only once: its digest is taken while it is decoded."""
    seen: list[VideoFacts] = []

    def read_it() -> FilmDigest:
        with hashed_while_read(pinned) as reading:
            seen.append(scan(str(pinned), watch))
            sha256 = reading.finish()
        refuse_damaged(pinned, sha256)
        return FilmDigest(sha256=sha256)

    inputs = {"object": pinned.uri, "server": pinned.storage.connection.endpoint_url, "version": pinned.version, "num_bytes": pinned.num_bytes}
    sha256 = store.get_or_make("read_film", STEP_VERSION, inputs, FilmDigest, read_it).sha256

    def make() -> Film:
        return _film_of(store, seen[0] if seen else scan(str(pinned), watch), sha256)

    film = store.get_or_make("inspect_film", STEP_VERSION, {"film": sha256}, Film, make)
    return film.model_copy(update={"path": str(pinned), "state": pinned.version})


def _film_of(store: ArtifactStore, facts: VideoFacts, sha256: str) -> Film:
    _refuse_truncated(facts)
    _refuse_damaged(facts)
    is_turned = facts.rotation_degrees in (90, 270)
    return Film(
        path=facts.path,
        sha256=sha256,
        timing=store.put_arrays(pts=facts.pts, is_keyframe=facts.is_keyframe),
        time_base=facts.time_base,
        fps=facts.fps,
        num_frames=facts.num_frames,
        width=facts.height if is_turned else facts.width,
        height=facts.width if is_turned else facts.height,
        rotation_degrees=facts.rotation_degrees,
        pixel_format=facts.pixel_format,
        video_codec=facts.codec,
        sample_aspect_ratio=facts.sample_aspect_ratio,
        color_range=facts.color_range,
        color_primaries=facts.color_primaries,
        color_transfer=facts.color_transfer,
        color_space=facts.color_space,
        start_timecode=facts.start_timecode,
        is_vfr=facts.is_vfr,
        is_interlaced=facts.is_interlaced,
        audio_streams=tuple(
            AudioStream(
                index=audio.index, codec=audio.codec, sample_rate_hz=audio.sample_rate_hz, num_channels=audio.num_channels, language=audio.language
            )
            for audio in facts.audio
        ),
        num_subtitle_streams=facts.num_subtitle_streams,
        warnings=(*facts.warnings, *_remarks(facts)),
    )


def _refuse_truncated(facts: VideoFacts) -> None:
    if facts.is_truncated:
        is_told = facts.num_declared is not None and facts.num_declared > facts.num_frames
        declared = f"declares {facts.num_declared} frames" if is_told else "breaks off in the middle"
        raise InputError(f"{facts.path}: truncated: {declared}, {facts.num_frames} decode. Was the upload interrupted? Give the complete file.")


def _refuse_damaged(facts: VideoFacts) -> None:
    if facts.num_damaged:
        where = "" if facts.first_damage_s is None else f", the first at {facts.first_damage_s:.2f} s"
        raise InputError(
            f"{facts.path}: damaged: {facts.num_damaged} packets of the picture cannot be decoded{where} ({facts.num_frames} frames can). "
            "Give an undamaged copy."
        )


def _remarks(facts: VideoFacts) -> list[str]:
    texts = []
    if facts.is_interlaced:
        texts.append("The film is interlaced: faces are found in the woven frames, and the patched frames stay interlaced.")
    if facts.is_vfr:
        texts.append(f"The film has a variable frame rate ({float(facts.fps):.3f} fps on average): every frame keeps its own time.")
    if not facts.audio:
        texts.append("The film has no sound.")
    return texts
