"""Watches a folder or an S3 prefix for data drops: every sub-folder that has stopped growing is added once."""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from flows.learning.clip_places import MANIFEST
from flows.learning.data_events import announce
from infra.errors import InputError, TransientError
from infra.storage import Storage, open_storage
from tasks.types import Record
from training.clips import SUFFIXES
from training.drops import add_drop
from training.golden import all_goldens
from training.intake import clips_at
from training.registry import file_of

logger = logging.getLogger(__name__)


class Found(Record):
    """What became of one sub-folder."""

    place: str
    drop: str | None  # its id; None: refused
    event: str
    reason: str = ""


def watch(
    place: str,
    registry: Storage,
    work_folder: Path,
    *,
    licence: str,
    consent: str,
    every_s: float,
    num_looks: int | None,
    tell: Callable[[Found], None],
) -> list[Found]:
    """Look every `every_s` seconds, num_looks times (None: until interrupted). A sub-folder is added when two looks in a row show the same files.

    What was added or refused is noted in the registry by its listing, so that nothing is done twice, also by the next watcher. A store or server in
    trouble is logged and asked again at the next look.
    """
    storage, before, found = open_storage(place), {}, []
    for number in range(num_looks) if num_looks is not None else iter(int, 1):
        if number or before:
            time.sleep(every_s)
        try:
            now = look(storage)
            for name in sorted(name for name, listing in now.items() if before.get(name) == listing):
                outcome = _take(f"{place.rstrip('/')}/{name}", now[name], registry, work_folder, licence, consent)
                if outcome is not None:
                    tell(outcome)
                    found.append(outcome)
            before = now
        except TransientError as error:
            logger.warning("the next look tries again: %s", error)
    return found


def look(storage: Storage) -> dict[str, str]:
    """Sub-folder -> digest of its clips' names and sizes, for NAME/PERSON/clip.* in a storage. A dubbed episode is no drop: its films are our own."""
    files: dict[str, list[tuple[str, int]]] = {}
    keys = storage.list()
    episodes = {key.partition("/")[0] for key in keys if key.partition("/")[2] == MANIFEST}
    for key in keys:
        name, _, rest = key.partition("/")
        if name in episodes:
            continue
        if rest.count("/") == 1 and Path(key).suffix.lower() in SUFFIXES:
            files.setdefault(name, []).append((rest, storage.size(key)))
    return {name: hashlib.sha256(json.dumps(sorted(listing)).encode()).hexdigest() for name, listing in files.items()}


def _take(place: str, listing: str, registry: Storage, work_folder: Path, licence: str, consent: str) -> Found | None:
    seen = hashlib.sha256("\n".join((place, listing)).encode()).hexdigest()
    noted = f"watched/{seen}.json"
    if registry.exists(noted):
        return None
    try:
        with clips_at(place, work_folder) as folder:
            drop, _ = add_drop(registry, folder, all_goldens(registry), source=place, licence=licence, consent=consent)
        found = Found(place=place, drop=drop.id, event=announce(registry, drop))
    except InputError as error:
        found = Found(place=place, drop=None, event="none", reason=str(error))
    with file_of(found.model_dump_json().encode()) as path:
        registry.put_if_absent(path, noted)
    return found
