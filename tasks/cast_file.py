"""The cast file: the characters of a film by name, with pictures of their faces or the tracks that show them. TOML or JSON.

    [[character]]
    name = "ANNA"
    pictures = ["anna-front.jpg", "anna-smiles.jpg"]   # beside this file; one face each

    [[character]]
    name = "BEN"
    pictures = ["ben.png"]
    tracks = { 3 = 1, 7 = [0, 2] }                     # in shot 3 he is face 1, as `dub plan` numbers them

In JSON: {"character": [{"name": "ANNA", "pictures": ["anna-front.jpg"], "tracks": {"3": 1}}]}.
"""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from infra.errors import InputError
from tasks.types import Character

EXAMPLE = '[[character]] name = "ANNA", pictures = ["anna.jpg"], tracks = { 3 = 1 }'
MOST_BYTES = 1_000_000
_KNOWN = {"name", "pictures", "tracks"}


def read_cast_file(path: str | Path) -> tuple[Character, ...]:
    """The characters, in the file's order. Raises one InputError with everything that is wrong, each with its entry."""
    path = Path(path)
    entries = _entries(path)
    problems: list[str] = []
    characters: list[Character] = []
    for number, entry in enumerate(entries, 1):
        character = _character(entry, _called(number, entry), problems)
        if character is not None:
            characters.append(character)
    problems += _clashes(characters)
    if problems:
        raise refused(path.name, problems)
    return tuple(characters)


def refused(name: str, problems: list[str]) -> InputError:
    """One error for all that is wrong with a cast file."""
    count = "" if len(problems) == 1 else f" in {len(problems)} ways"
    return InputError("\n".join([f"The cast file {name} cannot be used{count}:", *(f"  - {problem}" for problem in problems)]))


def _entries(path: Path) -> list[Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"The cast file {path} is larger than a cast file can be ({MOST_BYTES // 1000} kB).")
        text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InputError(f"The cast file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise InputError(f"The cast file {path} is no {kind} ({error}). An entry: {EXAMPLE}") from error
    entries = data.get("character") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries or set(data) != {"character"}:
        raise InputError(f"The cast file {path} must hold a list of entries named `character` and nothing else. An entry: {EXAMPLE}")
    return entries


def _called(number: int, entry: object) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"character {number} ({name})" if isinstance(name, str) and name.isprintable() else f"character {number}"


def _character(entry: object, called: str, problems: list[str]) -> Character | None:
    if not isinstance(entry, dict):
        problems.append(f"{called}: it must be a table with name, pictures and tracks.")
        return None
    own: list[str] = [f"{called}: there is no key {key!r}; known: name, pictures, tracks." for key in entry if key not in _KNOWN]
    if not entry.get("pictures") and not entry.get("tracks"):
        own.append(f"{called}: give at least one picture, or a track in some shot.")
    tracks = entry.get("tracks", {})
    lists = {str(shot): each if isinstance(each, list) else [each] for shot, each in tracks.items()} if isinstance(tracks, dict) else tracks
    known = {key: value for key, value in entry.items() if key in _KNOWN} | {"tracks": lists}
    character = None
    try:
        character = Character.model_validate(known)
    except ValidationError as error:
        own += [f"{called}: {_in_words(item)}" for item in error.errors(include_url=False, include_context=False)]
    if character is not None:
        own += [f"{called}: {text}" for text in _odd(character)]
    problems += own
    return character if not own else None


def _odd(character: Character) -> Iterator[str]:
    for picture in character.pictures:
        parts = PurePosixPath(picture).parts
        if not picture or not picture.isprintable() or "\\" in picture or ".." in parts or PurePosixPath(picture).is_absolute():
            yield f"picture {picture!r}: name a file beside the cast file, or in a folder below it."
    for shot, tracks in character.tracks.items():
        if shot < 0 or not tracks or min(tracks) < 0:
            yield f"tracks: shots and tracks are numbers from 0 on; shot {shot} names {list(tracks)}."


def _clashes(characters: list[Character]) -> Iterator[str]:
    seen: dict[str, str] = {}
    owners: dict[tuple[int, int], str] = {}
    for character in characters:
        if (earlier := seen.setdefault(character.name.casefold(), character.name)) is not character.name:
            yield f"{character.name}: there is already a character {earlier}."
        for shot, tracks in character.tracks.items():
            for track in tracks:
                if owners.setdefault((shot, track), character.name) != character.name:
                    yield f"{character.name}: shot {shot}, face {track} is already {owners[shot, track]}'s."


def _in_words(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    rule = {"name": "a name has 1 to 64 characters, none of them = or a control character"}.get(str(item["loc"][0]), item["msg"])
    return f"{place}: {rule}."
