"""What may be done with which clip: a table rights.csv beside the clips, laid over what was said of all of them together."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.errors import InputError
from infra.storage import Storage
from infra.storage_keys import redact

RIGHTS = "rights.csv"
COLUMNS = ("clip", "licence", "consent")
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Rights:
    """licence: under which terms a clip comes, with the attribution it asks for. consent: how the person in it agreed."""

    licence: str
    consent: str


Table = Mapping[str, Rights]  # PERSON or PERSON/clip.mp4 -> its own


def read_rights(storage: Storage) -> dict[str, Rights]:
    """The table beside the clips of a folder or S3 prefix; empty where there is none. Raises InputError, with the line, for a bad one."""
    if not storage.exists(RIGHTS):
        return {}
    where = storage.describe(RIGHTS)
    if storage.size(RIGHTS) > MOST_BYTES:
        raise InputError(f"{where} is larger than {MOST_BYTES >> 20} MiB; that is no table of rights.")
    try:
        rows = csv.DictReader(io.StringIO(storage.read_bytes(RIGHTS).decode("utf-8-sig"), newline=""), strict=True)
        if set(rows.fieldnames or ()) != set(COLUMNS):
            raise InputError(f"{where}: the first line must name the columns {', '.join(COLUMNS)}.")
        table: dict[str, Rights] = {}
        for number, row in enumerate(rows, 2):
            clip, licence, consent = (str(row[name] or "").strip() for name in COLUMNS)
            if not (clip and licence and consent) or None in row:
                raise InputError(f"{where}, line {number}: a clip (PERSON or PERSON/clip.mp4), its licence and the person's consent are needed.")
            if clip in table:
                raise InputError(f"{where}, line {number}: {redact(clip)} was named before.")
            table[clip] = Rights(licence, consent)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{where} is no UTF-8 table: {error}.") from None
    return table


def rights_of(table: Table, clip: str, otherwise: Rights) -> Rights:
    """What holds for PERSON/clip.mp4: its own row, else its person's, else what was said of all."""
    return table.get(clip) or table.get(clip.partition("/")[0]) or otherwise


def refuse_unknown(table: Table, clips: Iterable[str], where: str) -> None:
    """Raise InputError for rows that name no clip and nobody: a misspelt one would leave its clip under other terms than its own."""
    labels = set(clips)
    unknown = sorted(table.keys() - labels - {label.partition("/")[0] for label in labels})
    if unknown:
        raise InputError(f"{where}: there is no clip and nobody called {', '.join(map(redact, unknown[:6]))}.")


def write_rights(path: Path, table: Table) -> None:
    """Write a table that read_rights understands."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows((clip, rights.licence, rights.consent) for clip, rights in sorted(table.items()))
