"""The command `dub gc`: what nobody uses any more goes, from the work folder, the store that machines share, and what uploads left behind."""

from infra.errors import InputError
from infra.pins import manifests_in
from infra.remote_artifacts import RemoteTier
from infra.settings import get_settings
from infra.storage import open_storage
from infra.storage_keys import FolderLocation, parse_location, redact
from infra.tidy import Tidied, shrink_work, tidy_tier, tidy_unfinished, tidy_work
from tasks.types import Record

DAY_S = 24 * 3600.0


class Cleaned(Record):
    """One place, tidied: what went from it, or would go."""

    place: str
    num_live_runs: int
    num_records: int
    num_objects: int
    num_others: int
    num_uploads: int
    num_bytes: int
    num_bytes_kept: int


class Garbage(Record):
    """What `dub gc` did, place by place."""

    dry_run: bool
    places: tuple[Cleaned, ...]


def collect_garbage(out: str | None, work: str | None, older_than_days: float, dry_run: bool) -> Garbage:
    """Tidy the work folder, the shared store if there is one, and OUT if it is given. What live runs use and manifests name stays.

    Raises InputError for what is no folder or store, TransientError when a store does not answer.
    """
    settings = get_settings()
    location = parse_location(work) if work else FolderLocation(settings.work_folder)
    if not isinstance(location, FolderLocation):
        raise InputError(f"--work {redact(work or '')}: give a local folder; the shared store is named by DUBFLOW_ARTIFACTS.")
    published = None if out is None else open_storage(out)
    pinned = frozenset() if published is None else frozenset(manifests_in(published))
    age_s = older_than_days * DAY_S
    places: list[Tidied] = []
    if location.path.is_dir():
        places.append(tidy_work(location.path, age_s, pinned, dry_run))
        if settings.work_limit_gb is not None and not dry_run:
            tier = None if settings.shared_store is None else RemoteTier(settings.shared_store)
            places.append(shrink_work(location.path, settings.work_limit_gb * 1e9, tier))
    elif work:
        raise InputError(f"--work {location.path}: there is no such folder.")
    if settings.shared_store is not None:
        places.append(tidy_tier(settings.shared_store, age_s, pinned, dry_run))
    if published is not None:
        num_uploads, temporary = tidy_unfinished(published, dry_run)
        num_bytes = sum(stored.num_bytes for stored in temporary)
        places.append(Tidied(redact(out or ""), num_others=len(temporary), num_uploads=num_uploads, num_bytes=num_bytes))
    return Garbage(dry_run=dry_run, places=tuple(Cleaned(**vars(place)) for place in places))


def show_garbage(garbage: Garbage) -> None:
    """Say what went, place by place."""
    verb = "would free" if garbage.dry_run else "freed"
    for place in garbage.places:
        parts = [f"{place.num_records} records", f"{place.num_objects} artifacts", f"{place.num_others} other files"]
        parts += [f"{place.num_uploads} unfinished uploads"] if place.num_uploads else []
        print(f"{place.place}: {verb} {_size(place.num_bytes)} ({', '.join(parts)}); {_size(place.num_bytes_kept)} of artifacts stay")
        if place.num_live_runs:
            print(f"  {place.num_live_runs} runs are at work there; what they use stays")


def _size(num_bytes: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.2f} TB"
