"""The cast of a request and its character stems, at hand before any work: the file read, a face found in every picture, every track fetched."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.storage import fetch
from infra.storage_keys import redact
from tasks.cast_file import read_cast_file, refused
from tasks.prepare_stem import check_language
from tasks.reference_pictures import looks_of_picture
from tasks.types import Character, EpisodeRequest

Attempt = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True, eq=False)
class CastInputs:
    """Who the characters are, what their pictures look like, and their tracks by language."""

    characters: tuple[Character, ...]
    pictures: dict[str, list[np.ndarray]]  # name -> looks of each, see tasks.likeness
    digests: dict[str, str]  # of the cast file (under its own name) and its pictures
    stems: dict[str, dict[str, Path]] = field(default_factory=dict)  # language -> name -> track


def gather_cast(request: EpisodeRequest, into: Path, detector: tuple[str, str | None] | None, attempt: Attempt) -> CastInputs | None:
    """The cast, or None where there is none. What is wrong goes to `attempt`'s problems."""
    if request.cast is None:
        if request.stems:
            attempt(lambda: _refuse("Character stems need a cast file that says whose face is whose: --cast FILE."))
        return None
    text = request.cast
    path = attempt(lambda: fetch(text, into))
    characters = None if path is None else attempt(lambda: read_cast_file(path))
    if path is None or characters is None:
        return None
    stems = _stems(request, into, {character.name.casefold(): character.name for character in characters}, attempt)
    if detector is None:
        return None
    found = attempt(lambda: _pictures(request.cast or "", path, into, characters, detector))
    if found is None:
        return None
    pictures, digests = found
    return CastInputs(characters, pictures, digests, stems)


def _refuse(text: str) -> None:
    raise InputError(text)


def _pictures(
    text: str, path: Path, into: Path, characters: tuple[Character, ...], detector: tuple[str, str | None]
) -> tuple[dict[str, list[np.ndarray]], dict[str, str]]:
    """Looks by character, and digests. Raises one InputError with every picture that is of no use."""
    problems: list[str] = []
    looks: dict[str, list[np.ndarray]] = {}
    digests = {text.rstrip("/").rpartition("/")[2]: sha256_of_file(path)}
    for number, character in enumerate(characters, 1):
        for picture in character.pictures:
            try:
                local = _beside(text, path, picture, into)
                looks.setdefault(character.name, []).append(looks_of_picture(local, *detector))
                digests[picture] = sha256_of_file(local)
            except InputError as error:
                problems.append(f"character {number} ({character.name}), picture {picture}: {error}")
    if problems:
        raise refused(path.name, problems)
    return looks, digests


def _beside(text: str, path: Path, picture: str, into: Path) -> Path:
    """The picture's local path: beside the cast file, wherever that lies."""
    if text.startswith("s3://"):
        return fetch(f"{text.rpartition('/')[0]}/{picture}", into)
    local = path.parent / picture
    if not local.is_file():
        raise InputError(f"there is no file {redact(str(local))}.")
    return local


def _stems(request: EpisodeRequest, into: Path, names: dict[str, str], attempt: Attempt) -> dict[str, dict[str, Path]]:
    stems: dict[str, dict[str, Path]] = {}
    for language, tracks in request.stems.items():
        attempt(lambda tag=language: check_language(tag))
        for said, track in tracks.items():
            name = names.get(said.strip().casefold())
            if name is None:
                known = ", ".join(names.values())
                trouble = f"--character {language}:{said}: the cast file has no such character, only {known}."
                attempt(lambda trouble=trouble: _refuse(trouble))
            elif name in stems.get(language, {}):
                attempt(lambda name=name, tag=language: _refuse(f"--character {tag}:{name} is given twice."))
            elif (local := attempt(lambda track=track: fetch(track, into))) is not None:
                stems.setdefault(language, {})[name] = local
    return stems
