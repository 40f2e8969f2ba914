"""Looks at a film once, frame by frame, and accepts it as a Film record or refuses it with a reason."""

from pathlib import Path

from infra.artifacts import ArtifactStore
from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.scan import VideoFacts, scan
from tasks.types import AudioStream, Film

STEP_VERSION = 1


def inspect_film(store: ArtifactStore, path: str | Path) -> Film:
    """The film at a local path as a record; every frame is decoded once, unless the same bytes were inspected before.

    Raises InputError, saying what to do, for a file that is no film, has no video stream, is truncated (with the number of frames declared and
    decoded), is damaged inside, or is beyond the limits of infra.container.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    sha256 = sha256_of_file(path)
    film = store.get_or_make("inspect_film", STEP_VERSION, {"film": sha256}, Film, lambda: _inspect(store, path, sha256))
    return film.model_copy(update={"path": str(path)})  # the same bytes may lie elsewhere today


def _inspect(store: ArtifactStore, path: Path, sha256: str) -> Film:
    facts = scan(path)
    _refuse_truncated(facts)
    _refuse_damaged(facts)
    is_turned = facts.rotation_degrees in (90, 270)
    return Film(
        path=str(path),
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
