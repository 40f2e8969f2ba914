"""A season as asked for, read and checked as a whole: its table, its files, the models it names, the store it goes to."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from flows.run.work_folder import work_folder_of
from flows.season.files import FileFinder
from flows.season.jobs import Job, jobs_of
from flows.season.manifest import Known, check_manifest
from flows.season.table import read_table
from infra.errors import InputError
from infra.settings import get_settings
from infra.storage import Storage, fetch, open_storage
from infra.storage_keys import redact
from tasks.cast_file import read_cast_file
from tasks.model_shelf import pin_models
from tasks.types import SeasonRequest

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Season:
    """jobs: the most urgent first."""

    request: SeasonRequest
    jobs: tuple[Job, ...]
    storage: Storage  # where the episodes go
    work_folder: Path


def read_season(request: SeasonRequest) -> Season:
    """Raises one InputError with everything that is wrong with the table; TransientError when a store fails."""
    work_folder = work_folder_of(request)
    storage = open_storage(request.out)
    storage.exists(f"season-{request.season_id}.json")  # a bucket that is missing or closed is told now
    into = work_folder / "inputs"
    known = Known(model=_remembered(lambda name: _known_model(name, request)), characters=_remembered(lambda cast: _characters(cast, into)))
    table = read_table(fetch(request.manifest, into), redact(request.manifest))
    _known_model(request.model, request)
    rows = check_manifest(table, FileFinder.beside(request.manifest), request.missing, known)
    return Season(request, jobs_of(rows, request), storage, work_folder)


def _known_model(name: str, request: SeasonRequest) -> None:
    """Workers have shelves of their own; what this machine does not know is theirs to say."""
    if request.on == "here":
        pin_models(get_settings().models_folder, name, request.scorer)


def _characters(cast: str, into: Path) -> frozenset[str]:
    return frozenset(character.name.casefold() for character in read_cast_file(fetch(cast, into)))


def _remembered(look: Callable[[str], ValueT]) -> Callable[[str], ValueT]:
    """As `look`, but each name is looked at once, also when it is refused."""

    @cache
    def found(name: str) -> tuple[ValueT | None, str]:
        try:
            return look(name), ""
        except InputError as error:
            return None, str(error) or "it cannot be used"

    def answer(name: str) -> ValueT:
        value, trouble = found(name)
        if trouble:
            raise InputError(trouble)
        return value  # type: ignore[return-value]

    return answer
