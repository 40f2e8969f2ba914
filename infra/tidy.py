"""Tidies a work folder and the tier that machines share: by age, and down to a size; never what a live run or a manifest refers to."""

import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra import store_lock
from infra.artifact import Artifact
from infra.folder_storage import FolderStorage
from infra.live_runs import live_runs
from infra.pins import pinned_digests
from infra.remote_artifacts import TOUCH_AFTER_S, RemoteTier
from infra.s3_conditions import TEMPORARY
from infra.storage import Storage
from infra.stored_object import StoredObject
from infra.sweep import Contents, Removal, Rules, look_over, remove, shared_mark_of, unused

logger = logging.getLogger(__name__)
YOUNG_S = 3600.0  # what was used within the last hour never goes, whoever used it
TEMPORARY_S = 24 * 3600.0  # temporary objects and unfinished uploads are given up after a day


@dataclass(frozen=True)
class Tidied:
    """What went from one place (or would go), and what was found there."""

    place: str
    num_live_runs: int = 0
    num_records: int = 0
    num_objects: int = 0
    num_others: int = 0  # fetched inputs, quarantined bytes, temporary objects
    num_uploads: int = 0  # unfinished multipart uploads
    num_bytes: int = 0
    num_bytes_kept: int = 0


def tidy_work(work_folder: Path, older_than_s: float, pinned: frozenset[str], dry_run: bool) -> Tidied:
    """Remove from a work folder what nobody used for so long."""
    store = FolderStorage(work_folder / "artifacts")
    runs = live_runs(store)
    rules = Rules(min(_now() - max(older_than_s, YOUNG_S), *_begins(runs)), pinned | _pins(store, dry_run))
    contents = look_over(store)
    removal = unused(contents, rules)
    inputs = [each for each in _loose_files(work_folder, "inputs", "artifacts/quarantine", "film-blocks") if each.modified_s < rules.unused_since_s]
    return _finish(work_folder, contents, removal, inputs, len(runs), dry_run)


def shrink_work(work_folder: Path, limit_bytes: float, tier: RemoteTier | None) -> Tidied:
    """Bring a work folder below a size: first fetched inputs, then what the shared tier has too, then the rest, the least recently used first.

    Nothing goes that a live run uses, that was used within the last hour, or that is pinned and nowhere else: then it stays above, with a warning.
    """
    store = FolderStorage(work_folder / "artifacts")
    runs = live_runs(store)
    since_s = min(_now() - YOUNG_S, *_begins(runs))
    contents, inputs = look_over(store), list(_loose_files(work_folder, "inputs"))
    excess = sum(each.num_bytes for each in (*contents.objects.values(), *inputs)) - limit_bytes
    removal, dropped = Removal(), []
    for each in sorted((each for each in inputs if each.modified_s < since_s), key=lambda each: each.modified_s):
        if excess > 0:
            dropped.append(each)
            excess -= each.num_bytes
    used = contents.last_use_s()
    old = sorted((digest for digest in contents.objects if used[digest] < since_s), key=lambda digest: (used[digest], digest))
    excess = _drop_copies(contents, old, tier, excess, removal)
    excess = _drop_for_good(contents, old, Rules(since_s, frozenset(_pins(store, dry_run=False))), excess, removal)
    if excess > 0:
        logger.warning("%s stays %.1f GB above its limit: live runs and published episodes use what is there", work_folder, excess / 1e9)
    return _finish(work_folder, contents, removal, dropped, len(runs), dry_run=False)


def tidy_tier(place: str, older_than_s: float, pinned: frozenset[str], dry_run: bool) -> Tidied:
    """Remove from the tier that machines share what nobody used for so long, and what was never finished there."""
    store = RemoteTier(place).storage
    runs = live_runs(store)
    # What a live run uses of the tier is written again only when it is older than TOUCH_AFTER_S, so that much younger things may be in use.
    since_s = min(_now() - max(older_than_s, YOUNG_S), *(begin - TOUCH_AFTER_S - YOUNG_S for begin in _begins(runs)))
    contents = look_over(store)
    removal = unused(contents, Rules(since_s, pinned | _pins(store, dry_run)))
    gone = removal if dry_run else remove(store, removal)
    return _told(store.describe("") if place.startswith("s3:") else place, contents, gone, len(runs), tidy_unfinished(store, dry_run))


def tidy_unfinished(store: Storage, dry_run: bool, older_than_s: float = TEMPORARY_S) -> tuple[int, list[StoredObject]]:
    """(number of uploads given up, temporary objects removed): what was begun there long ago and never finished."""
    uploads = store.unfinished(older_than_s)
    temporary = [stored for stored in store.walk(TEMPORARY) if stored.modified_s < _now() - older_than_s]
    if not dry_run:
        for upload_id, key in uploads.items():
            store.abort(upload_id, key)
        temporary = remove(store, Removal(others=temporary)).others
    return len(uploads), temporary


def size_of_work(work_folder: Path) -> int:
    """Bytes of artifacts and fetched inputs in a work folder."""
    total = 0
    for part in ("artifacts/objects", "inputs"):
        for folder, _, names in os.walk(work_folder / part):
            for name in names:
                try:
                    total += (Path(folder) / name).stat().st_size
                except FileNotFoundError:
                    continue
    return total


def _drop_copies(contents: Contents, old: list[str], tier: RemoteTier | None, excess: float, removal: Removal) -> float:
    if tier is None:
        return excess
    for first in range(0, len(old), 64):
        if excess <= 0:
            break
        some = [Artifact(sha256=digest, num_bytes=contents.objects[digest].num_bytes, media_type="") for digest in old[first : first + 64]]
        unsure = {artifact.sha256 for artifact in tier.unsure_of(some)}
        for artifact in some:
            if excess > 0 and artifact.sha256 not in unsure:
                removal.objects.append(contents.objects[artifact.sha256])
                excess -= artifact.num_bytes
    return excess


def _drop_for_good(contents: Contents, old: list[str], rules: Rules, excess: float, removal: Removal) -> float:
    """Objects with all records that name them; a record that names anything used since then or pinned stays, and so does all it names."""
    already = {stored.key for stored in removal.objects}
    kept = {
        digest
        for key, digests in contents.names.items()
        if contents.records[key].modified_s >= rules.unused_since_s or digests & rules.pinned
        for digest in digests
    } | rules.pinned
    doomed = set()
    for digest in old:
        stored = contents.objects[digest]
        if excess > 0 and digest not in kept and stored.key not in already:
            doomed.add(digest)
            removal.objects.append(stored)
            excess -= stored.num_bytes
    removal.records += [contents.records[key] for key, digests in contents.names.items() if digests & doomed]
    return excess


def _finish(work_folder: Path, contents: Contents, removal: Removal, inputs: list[StoredObject], num_runs: int, dry_run: bool) -> Tidied:
    store = FolderStorage(work_folder / "artifacts")
    if dry_run:
        gone = removal
    else:
        with store_lock.alone(store.root):
            gone = remove(store, removal)
        for record in gone.records:
            for tier in (store.root / "shared").glob("*"):
                store.delete(shared_mark_of(record.key, tier.name))
        for each in inputs:
            (work_folder / each.key).unlink(missing_ok=True)
    return _told(str(work_folder), contents, gone, num_runs, (0, inputs))


def _told(place: str, contents: Contents, gone: Removal, num_runs: int, unfinished: tuple[int, list[StoredObject]]) -> Tidied:
    num_uploads, others = unfinished
    removed = {stored.key for stored in gone.objects}
    return Tidied(
        place=place,
        num_live_runs=num_runs,
        num_records=len(gone.records),
        num_objects=len(gone.objects),
        num_others=len(gone.others) + len(others),
        num_uploads=num_uploads,
        num_bytes=gone.num_bytes + sum(each.num_bytes for each in others),
        num_bytes_kept=sum(stored.num_bytes for stored in contents.objects.values() if stored.key not in removed),
    )


def _pins(store: Storage, dry_run: bool) -> frozenset[str]:
    digests, outdated = pinned_digests(store)
    for key in () if dry_run else outdated:
        store.delete(key)
    return frozenset(digests)


def _loose_files(work_folder: Path, *parts: str) -> Iterator[StoredObject]:
    """Files in these parts of a work folder, by their path in it; their time is that of their last use."""
    for path in (path for part in parts for path in sorted((work_folder / part).glob("*"))):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            yield StoredObject(path.relative_to(work_folder).as_posix(), status.st_size, max(status.st_atime, status.st_mtime), "")


def _begins(runs) -> list[float]:
    return [math.inf, *(run.started_s for run in runs)]


def _now() -> float:
    return time.time()
