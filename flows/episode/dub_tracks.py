"""The dubbed tracks of a request, made ready: a bad one is refused with the whole request, or its language alone is left out, as was asked."""

from pathlib import Path
from typing import Any

from flows.episode.make_request import all_of
from infra.artifacts import ArtifactStore
from infra.errors import InputError
from infra.storage import fetch
from tasks.prepare_stem import check_language, prepare_stem
from tasks.types import DubRequest, EpisodeRequest, Film, Record, Stem


class Refused(Record):
    """A track that is of no use, and why."""

    language: str
    reason: str


def gather_tracks(request: EpisodeRequest, into: Path, problems: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """(local tracks by language, languages left out and why). What may not be left out goes to `problems`."""
    tracks: dict[str, Path] = {}
    wrong: dict[str, list[str]] = {}
    for language, track in request.audio.items():
        try:
            check_language(language)
        except InputError as error:
            wrong.setdefault(language, []).append(str(error))
        try:
            tracks[language] = fetch(track, into)
        except InputError as error:
            wrong.setdefault(language, []).append(str(error))
    good = {language: path for language, path in tracks.items() if language not in wrong}
    if may_leave_out(request) and good:
        return good, {language: " ".join(texts) for language, texts in wrong.items()}
    problems += [text for texts in wrong.values() for text in texts]
    return good, {}


def stem_or_refused(store: ArtifactStore, film: Film, path: Path, language: str, role: Any) -> Stem | Refused:
    """As prepare_stem, but a track that is of no use is told, not raised: the others go on."""
    try:
        return prepare_stem(store, film, path, language, role)
    except InputError as error:
        return Refused(language=language, reason=str(error))


def sort_out(request: EpisodeRequest, found: list[Stem | Refused]) -> tuple[list[Stem], dict[str, str]]:
    """(stems, languages left out and why). Raises InputError with all that is wrong where nothing may be left out, or nothing is left."""
    refused = {each.language: each.reason for each in found if isinstance(each, Refused)}
    stems = [each for each in found if isinstance(each, Stem)]
    if refused and not (may_leave_out(request) and stems):
        raise all_of(list(refused.values()))
    return stems, refused


def may_leave_out(request: EpisodeRequest) -> bool:
    return isinstance(request, DubRequest) and request.bad_tracks == "leave_out"
