"""Data drops: clips that came in together, checked, stored by digest in the registry, and never changed."""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from infra.errors import InputError
from infra.storage import Storage
from infra.storage_keys import redact
from tasks.types import Record
from training.golden import GoldenSet, find_leaks
from training.intake import Intake, RawClip, digest_of_clips, fetch_clips, store_clips, take_in
from training.registry import file_of

MIN_CLIPS = 4
MIN_DURATION_S = 8.0
MIN_USABLE_SHARE = 0.5  # a drop of which more is unusable went wrong as a whole: the rest is not to be trusted either


class Drop(Record):
    """One delivery. Its id is the digest of its clips: the same clips again are the same drop."""

    format: int = 1
    id: str
    source: str  # where it came from, without secrets
    licence: str
    consent: str
    clips: tuple[RawClip, ...]
    refused: dict[str, str]  # PERSON/clip -> why it was left out
    added: AwareDatetime

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(sorted({clip.person for clip in self.clips}))

    @property
    def duration_s(self) -> float:
        return sum(clip.duration_s for clip in self.clips)


def add_drop(storage: Storage, folder: Path, goldens: tuple[GoldenSet, ...], *, source: str, licence: str, consent: str) -> tuple[Drop, bool]:
    """Check and store the clips of a folder; (drop, whether it is new). Raises InputError with the reason for a drop that must not be learnt from."""
    intake = _that_can_be_told(take_in(folder)) if goldens else take_in(folder)
    refuse_poison(intake, goldens)
    drop_id = digest_of_clips(intake.clips)
    if storage.exists(drop_key(drop_id)):
        return read_drop(storage, drop_id), False
    drop = Drop(
        id=drop_id,
        source=redact(source),
        licence=licence,
        consent=consent,
        clips=intake.clips,
        refused=intake.refused,
        added=datetime.now(UTC).replace(microsecond=0),
    )
    store_clips(storage, folder, drop.clips)
    with file_of((drop.model_dump_json(indent=1) + "\n").encode()) as path:
        is_ours = storage.put_if_absent(path, drop_key(drop_id))  # last: a drop that can be read is whole
    return read_drop(storage, drop_id), is_ours


def _that_can_be_told(intake: Intake) -> Intake:
    """Without clips so short that they might be pieces of golden ones."""
    unknowable = {clip.label: why for clip in intake.clips if (why := clip.why_unknowable()) is not None}
    refused = {label: f"it might be a piece of a golden clip: {why}" for label, why in unknowable.items()}
    return Intake(clips=tuple(clip for clip in intake.clips if clip.label not in unknowable), refused=intake.refused | refused)


def refuse_poison(intake: Intake, goldens: tuple[GoldenSet, ...]) -> None:
    """Raise InputError, with numbers, for a drop that is tiny, mostly unusable, or holds what models are measured on."""
    for golden in goldens:
        leaks = find_leaks(golden, intake.clips)
        if leaks:
            first = "; ".join(f"{label} {why}" for label, why in list(leaks.items())[:4])
            raise InputError(
                f"{len(leaks)} of {len(intake.clips)} clips are not to be learnt from, or every later measurement would lie: {first}. "
                "The whole drop is refused; remove them and add it again."
            )
    num_all = len(intake.clips) + len(intake.refused)
    if num_all == 0:
        raise InputError("There is no clip in it. Clips are expected as PERSON/clip.mp4 (or .mkv, .mov, .avi, .mpg, .webm).")
    if len(intake.clips) < MIN_USABLE_SHARE * num_all:
        raise InputError(f"More than half of the drop cannot be used, so all of it is refused: {intake.describe()}.")
    if len(intake.clips) < MIN_CLIPS or intake.duration_s < MIN_DURATION_S:
        raise InputError(f"The drop is too small to learn from: {intake.describe()}; at least {MIN_CLIPS} clips and {MIN_DURATION_S:g} s are needed.")


def read_drop(storage: Storage, drop_id: str) -> Drop:
    """A stored drop. Raises InputError where there is none of this id, or where its list was altered."""
    key = drop_key(drop_id)
    if not storage.exists(key):
        raise InputError(f"There is no data drop {drop_id[:12]} in {storage.describe(key)}. Add one: dub data add FOLDER")
    try:
        drop = Drop.model_validate_json(storage.read_bytes(key))
    except ValidationError as error:
        raise InputError(f"{storage.describe(key)} cannot be read: {str(error).splitlines()[0]}.") from None
    if drop.id != drop_id or drop.id != digest_of_clips(drop.clips):
        raise InputError(f"{storage.describe(key)} was altered: its list does not have its digest.")
    return drop


def list_drops(storage: Storage) -> tuple[Drop, ...]:
    """All drops, oldest first."""
    ids = [Path(key).stem for key in storage.list("drops/") if key.endswith(".json")]
    return tuple(sorted((read_drop(storage, drop_id) for drop_id in ids), key=lambda drop: (drop.added, drop.id)))


def fetch_drop(storage: Storage, drop: Drop, folder: Path) -> Path:
    """Its clips as FOLDER/PERSON/NAME, each checked. Raises InputError for one that was altered."""
    return fetch_clips(storage, drop.clips, folder)


def drop_key(drop_id: str) -> str:
    return f"drops/{drop_id}.json"
