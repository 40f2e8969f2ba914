"""The history of an episode's reviews: entries under OUT/ID/history/, only ever added, each vouching for the one before; and history.jsonl to read.

Two who add at the same moment both get in: a number is given once (put_if_absent), and who comes second takes the next.
"""

import logging
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from pydantic import Field, ValidationError

from infra.errors import InputError, OurTroubleError
from infra.record_keys import canonical_json
from infra.storage import Storage
from tasks.types import NO_ENTRY, Decision, HistoryEntry, InputDigests, Record, Remake

logger = logging.getLogger(__name__)
MOST_TRIES = 100  # each lost try means that somebody else got in


class BrokenHistoryError(InputError):
    """The history is not what was written: something was changed, removed or put in between."""


class Vouched(Record):
    """What a manifest knows of the history: so many entries, the last with this digest."""

    num_entries: int
    head: str


class Deed(Record):
    """What an entry is to say, before it has its place in the history."""

    decisions: tuple[Decision, ...] = ()
    remakes: tuple[Remake, ...] = ()
    reviewer: str = ""
    source: str = ""
    inputs: InputDigests
    outputs: dict[str, str] = Field(default_factory=dict)


def read_history(storage: Storage, episode_id: str, vouched: Vouched | None = None) -> tuple[HistoryEntry, ...]:
    """All entries, oldest first; none where nothing was decided yet. Raises BrokenHistoryError naming the entry that does not fit."""
    entries: list[HistoryEntry] = []
    while storage.exists(key := entry_key(episode_id, len(entries) + 1)):
        entries.append(_parsed(storage.read_bytes(key), storage.describe(key), episode_id, entries))
    beyond = [key for key in storage.list(f"{episode_id}/history/") if key > entry_key(episode_id, len(entries))]
    if beyond and not storage.exists(entry_key(episode_id, len(entries) + 1)):  # else somebody has just added it
        raise _broken(storage.describe(entry_key(episode_id, len(entries) + 1)), "it is missing, but later ones are there")
    if vouched is not None and vouched.num_entries:
        if len(entries) < vouched.num_entries:
            raise _broken(
                storage.describe(entry_key(episode_id, len(entries) + 1)),
                f"the manifest knows of {vouched.num_entries} entries, only {len(entries)} are there",
            )
        if entries[vouched.num_entries - 1].sha256 != vouched.head:
            raise _broken(storage.describe(entry_key(episode_id, vouched.num_entries)), "its digest is not the one that the manifest knows")
    return tuple(entries)


def append_entry(storage: Storage, episode_id: str, kind: str, deed: Deed) -> HistoryEntry:
    """Add an entry behind all that are there by now, and renew history.jsonl. Raises BrokenHistoryError when what is there does not hold."""
    unique = uuid4().hex
    for _ in range(MOST_TRIES):
        entries = read_history(storage, episode_id)
        entry = _chained(entries, episode_id, kind, deed, unique)
        key = entry_key(episode_id, entry.number)
        if _put_if_absent(storage, key, _line(entry)) and storage.read_bytes(key) == _line(entry):
            write_view(storage, episode_id, (*entries, entry))
            logger.info("history of %s: entry %d, %s by %s, %s", episode_id, entry.number, kind, entry.reviewer or "nobody named", entry.sha256[:12])
            return entry
    raise OurTroubleError(f"Others kept adding to {storage.describe(f'{episode_id}/history')}; nothing was added. Run the same command again.")


def head_of(entries: Sequence[HistoryEntry]) -> Vouched:
    """What a manifest should know of this history."""
    return Vouched(num_entries=len(entries), head=entries[-1].sha256 if entries else NO_ENTRY)


def write_view(storage: Storage, episode_id: str, entries: Sequence[HistoryEntry]) -> None:
    """Write OUT/ID/history.jsonl, one entry a line. It is for reading: what counts are the entries."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        path.write_bytes(b"".join(map(_line, entries)))
        storage.put(path, view_key(episode_id))


def find_changed_view(storage: Storage, episode_id: str, entries: Sequence[HistoryEntry]) -> str | None:
    """What is wrong with history.jsonl, in plain words; None when it says what the entries say, as far as it goes."""
    key = view_key(episode_id)
    if not storage.exists(key):
        return f"{storage.describe(key)} is missing." if entries else None
    for number, line in enumerate(storage.read_bytes(key).splitlines(keepends=True), 1):
        if number > len(entries) or line != _line(entries[number - 1]):
            return f"{storage.describe(key)}: line {number} is not what was decided; the entries beside it in history/ hold."
    return None


def entry_key(episode_id: str, number: int) -> str:
    return f"{episode_id}/history/{number:06d}.json"


def view_key(episode_id: str) -> str:
    return f"{episode_id}/history.jsonl"


def _chained(entries: Sequence[HistoryEntry], episode_id: str, kind: str, deed: Deed, unique: str) -> HistoryEntry:
    fields = {
        "number": len(entries) + 1,
        "previous": head_of(entries).head,
        "id": unique,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "episode_id": episode_id,
        "kind": kind,
        **deed.model_dump(),
    }
    entry = HistoryEntry.model_validate({**fields, "sha256": ""})
    return entry.model_copy(update={"sha256": _digest(entry)})


def _digest(entry: HistoryEntry) -> str:
    return sha256(canonical_json(entry.model_dump(mode="json", exclude={"sha256"})).encode()).hexdigest()


def _line(entry: HistoryEntry) -> bytes:
    return canonical_json(entry).encode() + b"\n"


def _parsed(data: bytes, where: str, episode_id: str, before: Sequence[HistoryEntry]) -> HistoryEntry:
    try:
        entry = HistoryEntry.model_validate_json(data)
    except ValidationError:
        raise _broken(where, "it cannot be read") from None
    if entry.sha256 != _digest(entry):
        raise _broken(where, "it was changed: it does not have the digest it was written with")
    if entry.number != len(before) + 1 or entry.episode_id != episode_id:
        raise _broken(where, f"it is entry {entry.number} of {entry.episode_id}")
    if entry.previous != head_of(before).head:
        raise _broken(where, "it does not follow the entry before it")
    return entry


def _put_if_absent(storage: Storage, key: str, data: bytes) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entry.json"
        path.write_bytes(data)
        return storage.put_if_absent(path, key)


def _broken(where: str, trouble: str) -> BrokenHistoryError:
    return BrokenHistoryError(
        f"The history of decisions is broken at {where}: {trouble}. Nothing was done. "
        "Restore the folder history/ from a copy; or move it away, and history.jsonl too, to begin a new history."
    )
