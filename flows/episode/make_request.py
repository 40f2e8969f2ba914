"""From a command's words to a request record; everything that does not fit is told at once. Light: nothing is read, nothing heavy is imported."""

import re
from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError

from infra.errors import InputError
from infra.storage_keys import redact
from tasks.types import DubRequest, EpisodeRequest

RequestT = TypeVar("RequestT", bound=EpisodeRequest)

_OPTIONS = {"episode_id": "--id", "audio": "--audio", "out": "--out", "num_workers": "--workers", "original_dialogue": "--original-dialogue"}
_RULES = {
    "episode_id": "an episode's id is small letters, digits and dashes, at most 64, and begins with a letter or digit",
    "audio": "give at least one dubbed track: --audio LANG=TRACK",
    "num_workers": "this is a whole number from 1 on",
}


def make_request(kind: type[RequestT], film: str, audio: Sequence[str], characters: Sequence[str] = (), **fields: object) -> RequestT:
    """The request as a record. audio: LANG=TRACK texts; characters: LANG:NAME=STEM; a missing episode_id is made from the film's name.

    Raises one InputError with all that is wrong.
    """
    problems: list[str] = []
    tracks: dict[str, str] = {}
    for text in audio:
        language, equals, track = text.partition("=")
        if not (re.fullmatch(r"[\w./-]{1,64}", language) and equals and track):
            problems.append(f"--audio {redact(text)}: write LANG=TRACK, as in fr=french.wav.")
        elif language in tracks:
            problems.append(f"--audio {redact(text)}: {language} is given twice.")
        else:
            tracks[language] = track
    stems = _stems_of(characters, problems)
    if issubclass(kind, DubRequest) and not (audio or characters):
        problems.append(f"--audio: {_RULES['audio']}.")
    if "episode_id" in fields and fields["episode_id"] is None:
        fields["episode_id"] = id_of_film(film)
        if not fields["episode_id"]:
            problems.append("No episode id can be made from the film's name; give one with --id.")
            fields["episode_id"] = "none"
    try:
        request = kind.model_validate({"film": film, "audio": tracks, "stems": stems, **fields})
    except ValidationError as error:
        known = {"audio"} if problems else set()
        found = (item for item in error.errors(include_url=False, include_context=False) if item["loc"])  # none: it has no dub, which was said above
        problems += [_in_words(item) for item in found if item["loc"][0] not in known]
        raise all_of(problems) from None
    if problems:
        raise all_of(problems)
    return request


def _stems_of(characters: Sequence[str], problems: list[str]) -> dict[str, dict[str, str]]:
    """language -> character -> track."""
    stems: dict[str, dict[str, str]] = {}
    for text in characters:
        who, equals, track = text.partition("=")
        language, colon, name = who.partition(":")
        name = name.strip()
        if not (re.fullmatch(r"[\w./-]{1,64}", language) and colon and name and equals and track):
            problems.append(f"--character {redact(text)}: write LANG:NAME=STEM, as in fr:ANNA=anna-french.wav.")
        elif name in stems.get(language, {}):
            problems.append(f"--character {redact(text)}: {language}:{name} is given twice.")
        else:
            stems.setdefault(language, {})[name] = track
    return stems


def id_of_film(film: str) -> str:
    """An episode id made from a film's name: `Ep 01 (final).mov` gives `ep-01-final`. Empty where nothing of it can be used."""
    name = re.split(r"[/\\]", film.rstrip("/"))[-1]
    stem = name.rpartition(".")[0] or name
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:64].rstrip("-")


def all_of(problems: Sequence[str]) -> InputError:
    """One error for all problems."""
    unique = list(dict.fromkeys(problems))
    if len(unique) == 1:
        return InputError(unique[0])
    return InputError("\n".join([f"{len(unique)} things are wrong with what was asked:", *(f"- {problem}" for problem in unique)]))


def _in_words(item) -> str:
    name = str(item["loc"][0])
    shown = f" {redact(item['input'])}" if isinstance(item["input"], str) else ""
    return f"{_OPTIONS.get(name, '--' + name)}{shown}: {_RULES.get(name, item['msg'])}."
