"""Reads a season's table as pandas reads it, CSV, Parquet or JSON, into plain cells that know their row's number."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from infra.errors import InputError
from infra.storage_keys import redact

MOST_ROWS = 100_000
MOST_BYTES = 64 << 20
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class TableRow:
    """number: as people count: in CSV the header is row 1, elsewhere the first row is 1. cells: by column; empty ones are left out."""

    number: int
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    name: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_table(path: Path, name: str) -> Table:
    """The table in a local file; rows without a single cell are left out. name: how to call it in messages. Raises InputError."""
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet, ".json": _read_json, ".jsonl": _read_json_lines}
    ending = Path(name).suffix.lower()
    if ending not in readers:
        raise InputError(f"{name}: a season is a .csv, .parquet or .json file; its name must say which.")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{name} is {path.stat().st_size / 2**20:.0f} MiB; no season needs more than {MOST_BYTES >> 20}. Is it the right file?")
    try:
        frame = readers[ending](path) if path.stat().st_size else pd.DataFrame()
    except UnicodeDecodeError:
        raise InputError(f"{name}: it is not UTF-8 text. In a spreadsheet choose “CSV UTF-8” when saving.") from None
    except (ValueError, TypeError, OSError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{name}: it cannot be read as {ending[1:]}: {redact(reason)}") from error
    columns = tuple(str(column).strip() for column in frame.columns)
    twice = sorted({column for column in columns if column and columns.count(column) > 1})
    if twice:
        raise InputError(f"{name}: the column {redact(twice[0])} is there twice.")
    if len(frame) > MOST_ROWS:
        raise InputError(f"{name}: it has {len(frame)} rows; {MOST_ROWS} is the most.")
    first = 2 if ending in (".csv", ".tsv") else 1
    values = frame.astype(object).where(frame.notna(), None)
    rows = []
    for number, cells in enumerate(values.itertuples(index=False, name=None), first):
        kept = {column: cell for column, raw in zip(columns, cells, strict=True) if (cell := _cell(raw)) is not None}
        if kept:
            rows.append(TableRow(number, kept))
    if not rows:
        raise InputError(f"{name}: it has no rows. Give at least one episode: columns episode, film, language, track.")
    return Table(name, columns, tuple(rows))


def _cell(value: Any) -> Any:
    """A cell as plain Python; None for an empty one."""
    if isinstance(value, str):
        return value.strip() or None
    if hasattr(value, "item") and not isinstance(value, pd.Timestamp):  # a number of numpy's
        value = value.item()
    return value


def _read_csv(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    separator = max(_SEPARATORS, key=header.count)
    columns = header.count(separator) + 1
    frame = pd.read_csv(
        path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", header=None, skip_blank_lines=False, names=range(columns)
    )
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"a row has more than the header's {columns} cells; a cell that holds {separator!r} must be in quotes")
    if frame.empty:
        raise ValueError("there is no row of column names")
    frame.columns = frame.iloc[0].fillna("").tolist()
    return frame.iloc[1:]


def _read_parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def _read_json(path: Path) -> pd.DataFrame:
    frame = pd.read_json(path, orient="records", dtype=False, convert_dates=False, convert_axes=False)  # type: ignore[call-overload]
    if not isinstance(frame, pd.DataFrame) or any(isinstance(column, int) for column in frame.columns):
        raise ValueError("a list of objects is needed, one for each row")
    return frame


def _read_json_lines(path: Path) -> pd.DataFrame:
    return pd.read_json(path, orient="records", lines=True, dtype=False, convert_dates=False)  # type: ignore[call-overload]
