"""A season's table, checked as a whole: every row that is wrong is told with its number and column, all at once, before any work."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

import pandas as pd

from flows.episode.make_request import id_of_film
from flows.season.files import FileFinder
from flows.season.table import Table, TableRow
from infra.errors import InputError
from infra.storage_keys import redact
from tasks.prepare_stem import check_language
from tasks.types import Priority

REQUIRED = ("episode", "film", "language")
OPTIONAL = ("track", "original_dialogue", "air_date", "priority", "model", "policy", "speaker", "cast")
STEM = "stem:"  # columns `stem:NAME`: the dubbed track of one character of the cast file alone
OF_THE_EPISODE = ("film", "original_dialogue", "model", "policy", "speaker", "cast")  # one for all its languages
FILES_OF_THE_EPISODE = ("film", "original_dialogue", "policy", "cast")
MOST_SHOWN = 100
PRIORITIES: dict[str, Priority] = {
    "urgent": "urgent",
    "1": "urgent",
    "default": "default",
    "2": "default",
    "background": "background",
    "3": "background",
}


@dataclass(frozen=True)
class ManifestRow:
    """One language of one episode as asked for. Files are absolute paths or URIs; missing says which of them is not there."""

    number: int
    episode: str
    language: str
    texts: dict[str, str]  # film, track, and of the optional columns what was given
    stems: dict[str, str] = field(default_factory=dict)  # character -> track
    air_date: datetime | None = None  # aware
    priority: Priority = "default"
    missing: str = ""


@dataclass(frozen=True)
class Known:
    """What names in the table may mean; each raises InputError for what cannot be used."""

    model: Callable[[str], object]
    characters: Callable[[str], frozenset[str]]  # of a cast file: their names, case folded


@dataclass
class Problems:
    """What is wrong, in the order of the rows."""

    name: str  # the table's
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, row: int, column: str, text: str) -> None:
        self.found.append((row, f"row {row}, column {column}: {text}" if row else f"column {column}: {text}"))

    def raise_all(self) -> None:
        """Raises InputError with all of them; of very many, the first and how many there are."""
        if not self.found:
            return
        texts = [text for _, text in sorted(self.found, key=lambda problem: problem[0])]
        rest = [f"and {len(texts) - MOST_SHOWN} more"] if len(texts) > MOST_SHOWN else []
        count = "1 thing is" if len(texts) == 1 else f"{len(texts)} things are"
        head = f"{self.name}: {count} wrong with the season; nothing was started."
        raise InputError("\n".join([head, *(f"- {text}" for text in (*texts[:MOST_SHOWN], *rest))]))


def check_manifest(table: Table, finder: FileFinder, missing: Literal["refuse", "skip"], known: Known) -> tuple[ManifestRow, ...]:
    """The table's rows as records, every file found. Raises one InputError with everything that is wrong.

    missing: whether files that are not there are wrong, or their rows merely say so and wait.
    """
    problems = Problems(table.name)
    _check_columns(table, problems)
    problems.raise_all()  # without the columns every row would be wrong, too
    rows = [row for row in (_read_row(row, problems, finder, known) for row in table.rows) if row is not None]
    _refuse_duplicates(rows, problems)
    rows = _agree_within_episodes(rows, problems)
    finder.look_for(path for row in rows for path in _files_of(row).values())
    found = tuple(_check_characters(_find_files(row, problems, finder, missing), problems, known) for row in rows)
    problems.raise_all()
    return found


def _check_columns(table: Table, problems: Problems) -> None:
    known = (*REQUIRED, *OPTIONAL)
    for column in table.columns:
        if column in known or (column.startswith(STEM) and column.removeprefix(STEM).strip()):
            continue
        if not column and not any(column in row.cells for row in table.rows):
            continue  # a spreadsheet's stray separator
        like = get_close_matches(column.lower().replace(" ", "_"), known, n=1, cutoff=0.5)
        advice = f"Did you mean {like[0]}?" if like else f"Known: {', '.join(known)}, {STEM}NAME."
        problems.add(0, redact(column) or "without a name", f"there is no such column. {advice}")
    has_stems = any(column.startswith(STEM) for column in table.columns)
    for column in (*REQUIRED, *(() if has_stems else ("track",))):
        if column not in table.columns:
            problems.add(0, column, "it is missing; every row needs it.")


def _read_row(row: TableRow, problems: Problems, finder: FileFinder, known: Known) -> ManifestRow | None:
    """The row as a record, its files not looked for yet; None when it cannot even be named."""

    def attempt(column: str, read: Callable[[Any], Any]) -> Any:
        try:
            return read(row.cells[column])
        except InputError as error:
            problems.add(row.number, column, str(error))
            return None

    for column in (*REQUIRED, *(() if any(column.startswith(STEM) for column in row.cells) else ("track",))):
        if column not in row.cells:
            problems.add(row.number, column, "it is empty.")
    given = [column for column in row.cells if column in (*REQUIRED, *OPTIONAL) or column.startswith(STEM)]
    readers: dict[str, Callable[[Any], Any]] = {"episode": _episode_id, "language": _language, "air_date": _air_date, "priority": _priority}
    readers |= {"model": lambda value: _named(known.model, value), "speaker": lambda value: _speaker(value, finder)}
    values = {column: attempt(column, readers.get(column, lambda value: finder.resolve(_text(value)))) for column in given}
    if values.get("episode") is None or values.get("language") is None:
        return None
    texts = {column: values[column] for column in ("track", *OF_THE_EPISODE) if values.get(column) is not None}
    stems = {column.removeprefix(STEM).strip(): values[column] for column in given if column.startswith(STEM) and values[column] is not None}
    return ManifestRow(row.number, values["episode"], values["language"], texts, stems, values.get("air_date"), values.get("priority") or "default")


def _refuse_duplicates(rows: Sequence[ManifestRow], problems: Problems) -> None:
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        earlier = first.setdefault((row.episode, row.language.lower()), row.number)
        if earlier != row.number:
            problems.add(row.number, "language", f"{row.episode} in {row.language} is in row {earlier} already.")


def _agree_within_episodes(rows: Sequence[ManifestRow], problems: Problems) -> list[ManifestRow]:
    """What is said of an episode holds for all its rows; two rows must not say different things."""
    said: dict[tuple[str, str], tuple[str, int]] = {}
    for row in rows:
        for column in OF_THE_EPISODE:
            text = row.texts.get(column)
            if not text:
                continue
            earlier, number = said.setdefault((row.episode, column), (text, row.number))
            if earlier != text:
                problems.add(
                    row.number,
                    column,
                    f"{row.episode} has {redact(earlier)} in row {number} and {redact(text)} here; all languages of an episode share one.",
                )
    return [
        replace(row, texts=row.texts | {column: said[row.episode, column][0] for column in OF_THE_EPISODE if (row.episode, column) in said})
        for row in rows
    ]


def _find_files(row: ManifestRow, problems: Problems, finder: FileFinder, missing: Literal["refuse", "skip"]) -> ManifestRow:
    absent = []
    for column, path in _files_of(row).items():
        trouble = finder.trouble_with(path)
        if trouble and missing == "skip":
            absent.append(trouble)
        elif trouble:
            problems.add(row.number, column, trouble)
    return replace(row, missing=" ".join(absent))


def _check_characters(row: ManifestRow, problems: Problems, known: Known) -> ManifestRow:
    """Character stems are for characters of the episode's cast file."""
    if not row.stems or row.missing:
        return row
    cast = row.texts.get("cast")
    if cast is None:
        problems.add(
            row.number, f"{STEM}{next(iter(row.stems))}", "a character's track needs a cast file, which says whose face is whose: column cast."
        )
        return row
    try:
        characters = known.characters(cast)
    except InputError as error:
        problems.add(row.number, "cast", str(error))
        return row
    for name in row.stems:
        if name.casefold() not in characters:
            problems.add(row.number, f"{STEM}{name}", f"there is no such character in {redact(cast)}.")
    return row


def _files_of(row: ManifestRow) -> dict[str, str]:
    """Column -> file of everything that must be there."""
    files = {column: row.texts[column] for column in ("track", *FILES_OF_THE_EPISODE) if row.texts.get(column)}
    if row.texts.get("speaker", "auto") not in ("auto", "only-face"):
        files["speaker"] = row.texts["speaker"]
    return files | {f"{STEM}{name}": path for name, path in row.stems.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        shown = f"{value:g}" if isinstance(value, float) else redact(str(value))
        raise InputError(f"{shown} is not text ({type(value).__name__}).")
    return value


def _episode_id(value: Any) -> str:
    text = _text(value)
    if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", text):
        return text
    like = id_of_film(f"{text}.x")
    advice = f" Write {like}?" if like else ""
    raise InputError(f"{redact(text)}: an episode's id is small letters, digits and dashes, at most 64, and begins with a letter or digit.{advice}")


def _language(value: Any) -> str:
    return _checked_language(_text(value))


@cache
def _checked_language(tag: str) -> str:
    return check_language(tag)


def _air_date(value: Any) -> datetime:
    """A moment with a time zone: this machine's, where none is given; a day's first, where no time is given."""
    if isinstance(value, datetime):  # pandas' Timestamp, too
        moment = value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
    elif isinstance(value, date):
        moment = datetime.combine(value, time())
    else:
        try:
            moment = datetime.fromisoformat(_text(value))
        except ValueError:
            raise InputError(f"{redact(str(value))} is no date. Write 2027-03-28 or 2027-03-28T20:15+01:00.") from None
    if not 1970 < moment.year < 9999:
        raise InputError(f"the year {moment.year} is no year of an air date.")
    return moment if moment.tzinfo else moment.astimezone()


def _priority(value: Any) -> Priority:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    found = PRIORITIES.get(str(value).strip().lower())
    if found is None or isinstance(value, bool):
        raise InputError(f"{redact(str(value))} is no priority. Write urgent, default or background (or 1, 2, 3).")
    return found


def _named(known_model: Callable[[str], object], value: Any) -> str:
    name = _text(value)
    known_model(name)
    return name


def _speaker(value: Any, finder: FileFinder) -> str:
    text = _text(value)
    return text if text in ("auto", "only-face") else finder.resolve(text)
