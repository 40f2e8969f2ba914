"""Brings a sound track to one form for analysis: 16 kHz mono, as long as the film, sample 0 heard with frame 0."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

import langcodes
import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from infra.container import container_start_s, open_container
from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.sound import SoundReader, read_mono
from infra.sources import name_of
from tasks.types import Film, Record, Stem

STEP_VERSION = 1
ANALYSIS_RATE_HZ = 16000
MAX_DIFFERENCE_S = 1.0  # a dub may be this much longer or shorter than the film
_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_NO_LANGUAGE = {"und", "mul", "mis", "zxx"}


class PreparedSound(Record):
    """A Stem without its names: what depends on the sound and the film's length alone."""

    sample_rate_hz: int
    num_channels: int
    num_samples: int
    start_s: float  # of its first sample, after the film's first frame
    num_damaged: int
    analysis: Artifact


def prepare_stem(store: ArtifactStore, film: Film, path: str | Path, language: str, role: Literal["dialogue", "mix"]) -> Stem:
    """A delivered track, which starts with the film's first frame, as a Stem.

    Raises InputError for an unknown language tag, a file without readable sound, and a track more than a second longer or shorter than the film;
    within that second it is padded with silence or cut, with a warning where the difference is more than one frame.
    """
    check_language(language)
    path = Path(path).absolute()
    return _stem_of_file(store, film, path, language, role)


def prepare_original(store: ArtifactStore, film: Film, stem_path: str | Path | None) -> Stem | None:
    """The voices as recorded: the given dialogue stem, else the film's own first audio stream, else None. Same errors as prepare_stem for a stem."""
    if stem_path is not None:
        return _stem_of_file(store, film, Path(stem_path).absolute(), None, "original")
    own = next((stream for stream in film.audio_streams if stream.codec != "unknown"), None)
    if own is None:
        return None
    start_s = _first_frame_s(store, film)
    sound = _prepare(store, film, film.path, film.sha256, own.index, start_s)
    return _stem(sound, film, film.path, film.sha256, own.language, "original", _length_warnings(sound, film))


def check_language(tag: str) -> str:
    """The tag itself when it names a real language (BCP 47: `es`, `pt-BR`, `zh-Hans`, `cmn`); InputError otherwise."""
    if _TAG.fullmatch(tag) and tag.split("-")[0] not in _NO_LANGUAGE and langcodes.tag_is_valid(tag):
        return tag
    raise InputError(f"{tag!r} is no known language tag. Use an ISO 639 code, with a region or script where needed: es, pt-BR, zh-Hans.")


def _stem_of_file(store: ArtifactStore, film: Film, path: Path, language: str | None, role: Literal["dialogue", "mix", "original"]) -> Stem:
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    sha256 = sha256_of_file(path)
    sound = _prepare(store, film, path, sha256, 0, 0.0)
    duration_s = sound.start_s + sound.num_samples / sound.sample_rate_hz
    if abs(duration_s - film.duration_s) > MAX_DIFFERENCE_S:
        raise InputError(
            f"{path}: lasts {duration_s:.2f} s, the film {film.duration_s:.2f} s. They may differ by {MAX_DIFFERENCE_S:g} s at most; "
            "give the track of this very cut of the film, from its first frame on."
        )
    return _stem(sound, film, path, sha256, language, role, _length_warnings(sound, film))


def _stem(sound: PreparedSound, film: Film, path: str | Path, sha256: str, language: str | None, role, warnings: list[str]) -> Stem:
    if sound.num_damaged:
        warnings = [*warnings, f"{name_of(path)}: {sound.num_damaged} packets of the sound cannot be decoded and are taken as silence."]
    return Stem(
        path=str(path),
        sha256=sha256,
        language=language,
        role=role,
        sample_rate_hz=sound.sample_rate_hz,
        num_channels=sound.num_channels,
        num_samples=sound.num_samples,
        analysis=sound.analysis,
        warnings=tuple(warnings),
    )


def _length_warnings(sound: PreparedSound, film: Film) -> list[str]:
    difference_s = sound.start_s + sound.num_samples / sound.sample_rate_hz - film.duration_s
    if abs(difference_s) <= 1 / film.fps:
        return []
    how = "longer than the film and was cut" if difference_s > 0 else "shorter than the film and was padded with silence"
    return [f"The sound is {abs(difference_s):.2f} s {how}."]


def _first_frame_s(store: ArtifactStore, film: Film) -> float:
    """When the film's first frame is shown, after the start of its container."""
    first = int(store.load_arrays(film.timing)["pts"][0]) * film.time_base
    with open_container(film.path) as container:
        return float(first) - container_start_s(container)


def _prepare(store: ArtifactStore, film: Film, path: str | Path, sha256: str, stream_index: int, frame_0_s: float) -> PreparedSound:
    inputs = {"sound": sha256, "stream": stream_index, "num_frames": film.num_frames, "fps": film.fps, "frame_0_us": round(frame_0_s * 1e6)}
    return store.get_or_make("prepare_stem", STEP_VERSION, inputs, PreparedSound, lambda: _make(store, film, path, stream_index, frame_0_s))


def _make(store: ArtifactStore, film: Film, path: str | Path, stream_index: int, frame_0_s: float) -> PreparedSound:
    reader = SoundReader(path, stream_index)
    start_s = reader.start_s - frame_0_s
    num_wanted = analysis_length(film.num_frames, film.fps)
    with store.scratch() as folder:
        file = folder / "analysis.npy"
        _write_analysis(file, reader, round(start_s * ANALYSIS_RATE_HZ), num_wanted)
        return PreparedSound(
            sample_rate_hz=reader.sample_rate_hz,
            num_channels=len(reader.channel_names),
            num_samples=reader.num_samples,
            start_s=start_s,
            num_damaged=reader.num_damaged,
            analysis=store.put_file(file, "application/x-npy"),
        )


def analysis_length(num_frames: int, fps: Fraction) -> int:
    """Samples of analysis sound that go with num_frames of film."""
    return round(num_frames / fps * ANALYSIS_RATE_HZ)


def _write_analysis(file: Path, reader: SoundReader, first: int, num_wanted: int) -> None:
    """An .npy of float32 (num_wanted,), block by block. The reader's sample 0 lands at `first`, which may be negative; silence around it."""
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": (num_wanted,)})
        num_written = max(0, min(first, num_wanted))
        _write_silence(out, num_written)
        num_to_skip = max(0, -first)
        for block in read_mono(reader, ANALYSIS_RATE_HZ):
            kept = block[num_to_skip:][: num_wanted - num_written]
            num_to_skip = max(0, num_to_skip - len(block))
            out.write(kept.astype("<f4").tobytes())
            num_written += len(kept)
        _write_silence(out, num_wanted - num_written)


def _write_silence(out, num_samples: int) -> None:
    while num_samples > 0:
        size = min(num_samples, 60 * ANALYSIS_RATE_HZ)
        out.write(bytes(4 * size))
        num_samples -= size
