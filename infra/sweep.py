"""What of an artifact store may go, and its removal: the same for the folder and for the tier that machines share."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from infra.artifact import record_place
from infra.errors import DubflowError
from infra.storage import Storage
from infra.stored_object import StoredObject

logger = logging.getLogger(__name__)
NUM_AT_ONCE = 8
_KEYS_OF_ARTIFACT = {"sha256", "num_bytes", "media_type"}


@dataclass(frozen=True)
class Rules:
    """What stays: whatever was used from unused_since_s on (Unix time), whatever is pinned, and what records that stay name.

    unused_since_s is the earlier of the age asked for and the beginning of the oldest live run.
    """

    unused_since_s: float
    pinned: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Contents:
    """A store as found: records by key with the digests they name, and objects by digest."""

    records: dict[str, StoredObject]
    names: dict[str, frozenset[str]]
    objects: dict[str, StoredObject]

    def last_use_s(self) -> dict[str, float]:
        """Per digest of an object: when it, or a record that names it, was last used."""
        used = {digest: stored.modified_s for digest, stored in self.objects.items()}
        for key, digests in self.names.items():
            for digest in digests & used.keys():
                used[digest] = max(used[digest], self.records[key].modified_s)
        return used


@dataclass
class Removal:
    """What is to go."""

    records: list[StoredObject] = field(default_factory=list)
    objects: list[StoredObject] = field(default_factory=list)
    others: list[StoredObject] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        return sum(stored.num_bytes for stored in (*self.records, *self.objects, *self.others))


def look_over(store: Storage) -> Contents:
    """All records and objects of a store. A record that cannot be read names nothing; it is of no use to anybody."""
    records = {stored.key: stored for stored in store.walk("records/")}
    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        names = dict(zip(records, pool.map(lambda key: _names(store, key), records), strict=True))
    objects = {stored.key.rpartition("/")[2]: stored for stored in store.walk("objects/")}
    return Contents(records, names, objects)


def unused(contents: Contents, rules: Rules) -> Removal:
    """What has not been used for as long as the rules say, and nothing that stays refers to."""

    def stays(key: str) -> bool:
        return contents.records[key].modified_s >= rules.unused_since_s or bool(contents.names[key] & rules.pinned)

    named = {digest for key in contents.records if stays(key) for digest in contents.names[key]} | rules.pinned
    return Removal(
        records=[stored for key, stored in contents.records.items() if not stays(key)],
        objects=[stored for digest, stored in contents.objects.items() if digest not in named and stored.modified_s < rules.unused_since_s],
    )


def remove(store: Storage, removal: Removal) -> Removal:
    """Remove it, records first, and tell what really went. What was used since it was looked at stays; trouble with one thing is logged."""
    gone = Removal()
    used: set[str] = set()
    for stored in removal.records:
        if _remove(store, stored):
            gone.records.append(stored)
        else:
            used |= _names(store, stored.key)
    gone.objects = [stored for stored in removal.objects if stored.key.rpartition("/")[2] not in used and _remove(store, stored)]
    gone.others = [stored for stored in removal.others if _remove(store, stored)]
    return gone


def shared_mark_of(record_key: str, tier_name: str) -> str:
    """Where the folder notes that a record is on a tier."""
    _, step, name = record_key.split("/")
    assert record_key == record_place(step, name.removesuffix(".json"))
    return f"shared/{tier_name}/{step}/{name.removesuffix('.json')}"


def artifact_digests(value: object) -> Iterator[str]:
    """The digest of every artifact in a piece of JSON, at any depth."""
    if isinstance(value, dict):
        if value.keys() == _KEYS_OF_ARTIFACT and isinstance(value["sha256"], str):
            yield value["sha256"]
        for item in value.values():
            yield from artifact_digests(item)
    elif isinstance(value, list):
        for item in value:
            yield from artifact_digests(item)


def _names(store: Storage, key: str) -> frozenset[str]:
    try:
        return frozenset(artifact_digests(json.loads(store.read_bytes(key))["record"]))
    except (DubflowError, ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def _remove(store: Storage, stored: StoredObject) -> bool:
    try:
        now = store.find(stored.key)
        if now is None or now.version != stored.version or now.modified_s > stored.modified_s + 1:  # S3 tells one time in ms, another in s
            return False
        store.delete(stored.key)
    except DubflowError as error:
        logger.warning("%s could not be removed: %s", store.describe(stored.key), error)
        return False
    return True
