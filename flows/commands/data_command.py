"""What `dub data add`, `freeze` and `watch` do and print."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flows.learning.clip_places import clips_of
from flows.run import interrupts
from infra.errors import InputError
from infra.settings import apply_environment, get_settings
from infra.storage import Storage, open_storage
from tasks.types import Record
from training.drops import add_drop
from training.golden import all_goldens, freeze_golden, golden_key


class Added(Record):
    """A stored drop. event: sent, sent before, or no server."""

    drop: str
    is_new: bool
    num_clips: int
    people: tuple[str, ...]
    duration_s: float
    refused: dict[str, str]
    event: str


class Frozen(Record):
    """A golden set."""

    name: str
    sha256: str
    num_clips: int
    people: tuple[str, ...]
    where: str


class Watched(Record):
    """What a watcher that has ended had found: sub-folder -> its drop, or why it was refused."""

    added: dict[str, str]
    refused: dict[str, str]


def add_data(place: str, licence: str, consent: str, registry: str | None) -> Added:
    """Check and store the clips at a place and tell Prefect. Raises InputError with the reason where they must not be learnt from."""
    _check_words(licence, consent)
    apply_environment()
    from flows.learning.data_events import announce

    storage = registry_at(registry)
    with clips_of(place, get_settings().work_folder) as clips:
        drop, is_new = add_drop(storage, clips.folder, all_goldens(storage), source=place, licence=licence, consent=consent)
    return Added(
        drop=drop.id,
        is_new=is_new,
        num_clips=len(drop.clips),
        people=drop.people,
        duration_s=round(drop.duration_s, 1),
        refused=drop.refused | clips.left_out,
        event=announce(storage, drop),
    )


def freeze_data(place: str, name: str, licence: str, consent: str, registry: str | None) -> Frozen:
    """Make the clips at a place the golden set NAME. Raises InputError where they cannot be, or NAME holds others."""
    _check_words(licence, consent)
    storage = registry_at(registry)
    with clips_of(place, get_settings().work_folder) as clips:
        golden = freeze_golden(storage, clips.folder, name, licence=licence, consent=consent)
    where = storage.describe(golden_key(golden.name))
    return Frozen(name=golden.name, sha256=golden.sha256, num_clips=len(golden.clips), people=tuple(sorted(golden.people)), where=where)


def watch_data(place: str, licence: str, consent: str, registry: str | None, every_s: float, num_looks: int | None) -> Watched:
    """Watch a place for new drops until it was looked at num_looks times, or for ever."""
    _check_words(licence, consent)
    apply_environment()
    from flows.learning.watch_data import Found, watch

    found: list[Found] = []

    def tell(outcome: Found) -> None:
        found.append(outcome)
        shown = f"added as {outcome.drop[:12]}, event {outcome.event}" if outcome.drop else f"refused: {outcome.reason}"
        print(f"{outcome.place}: {shown}", file=sys.stderr, flush=True)

    with _until_interrupted(num_looks is None):
        watch(
            place, registry_at(registry), get_settings().work_folder,
            licence=licence, consent=consent, every_s=every_s, num_looks=num_looks, tell=tell,
        )  # fmt: skip
    return Watched(
        added={outcome.place: outcome.drop for outcome in found if outcome.drop},
        refused={outcome.place: outcome.reason for outcome in found if not outcome.drop},
    )


def registry_at(place: str | None) -> Storage:
    """The registry named on the command line, else the settings'."""
    return open_storage(place or get_settings().registry_place)


def show_added(added: Added) -> None:
    people = ", ".join(added.people)
    print(f"Drop {added.drop}: {added.num_clips} clips of {len(added.people)} people ({people}), {added.duration_s:g} s.")
    if not added.is_new:
        print("It was stored before; nothing was stored twice.")
    for label, why in added.refused.items():
        print(f"  left out: {label}: {why}")
    words = {
        "sent": "Prefect was told (event dubflow.data.added).",
        "sent before": "Prefect was told before.",
        "no server": "No Prefect server is set (PREFECT_API_URL), so nobody was told. The next `dub retrain` takes it, or: dub retrain --drop "
        + added.drop,
    }
    print(words[added.event])


def show_frozen(frozen: Frozen) -> None:
    print(f"Golden set {frozen.name}: {frozen.num_clips} clips of {len(frozen.people)} people, frozen in {frozen.where}")


def show_watched(watched: Watched) -> None:
    print(f"{len(watched.added)} drops added, {len(watched.refused)} refused.")


def _check_words(licence: str, consent: str) -> None:
    if not licence.strip() or not consent.strip():
        raise InputError("Say under which --licence the clips come and how the people in them agreed (--consent). Both are kept with every clip.")


@contextmanager
def _until_interrupted(is_endless: bool) -> Iterator[None]:
    """Ctrl-C is how an endless watcher is ended; it is no failure."""
    try:
        with interrupts.stopping_on_signals():
            yield
    except KeyboardInterrupt:
        if not is_endless:
            raise
