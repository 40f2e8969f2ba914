"""The golden set: clips of people that no model is ever trained on, frozen by digest, so that every model is measured on the same."""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from infra.errors import InputError
from infra.storage import Storage
from tasks.types import Record
from training.fingerprint import KnownRecordings
from training.intake import RawClip, digest_of_clips, fetch_clips, store_clips, take_in
from training.registry import file_of

MIN_CLIPS, MIN_PEOPLE = 6, 2  # fewer say nothing about people in general


class GoldenSet(Record):
    """Never changed once written; another set gets another name."""

    format: int = 1
    name: str
    sha256: str  # over its clips
    clips: tuple[RawClip, ...]
    licence: str
    consent: str
    frozen: AwareDatetime

    @property
    def people(self) -> frozenset[str]:
        return frozenset(clip.person for clip in self.clips)


def freeze_golden(storage: Storage, folder: Path, name: str, *, licence: str, consent: str) -> GoldenSet:
    """Store the clips of a folder as the golden set NAME. The same clips again change nothing.

    Raises InputError for too few clips or people, for any clip that cannot be used, and where NAME is another set already.
    """
    intake = take_in(folder)
    if intake.refused:
        raise InputError(f"A golden set is measured on whole or not at all: {intake.describe()}. Remove or mend these.")
    if len(intake.clips) < MIN_CLIPS or len(intake.people) < MIN_PEOPLE:
        raise InputError(f"{intake.describe()}; a golden set needs at least {MIN_CLIPS} clips of {MIN_PEOPLE} people.")
    for clip in intake.clips:
        if (why := clip.why_unknowable()) is not None:
            raise InputError(f"{clip.label} could not be known again if it came back to be learnt from: {why}. Leave it out.")
    digest = digest_of_clips(intake.clips)
    known = read_golden(storage, name) if storage.exists(golden_key(name)) else None
    if known is None:
        golden = GoldenSet(
            name=name, sha256=digest, clips=intake.clips, licence=licence, consent=consent, frozen=datetime.now(UTC).replace(microsecond=0)
        )
        store_clips(storage, folder, golden.clips)
        with file_of((golden.model_dump_json(indent=1) + "\n").encode()) as path:
            storage.put_if_absent(path, golden_key(name))
        known = read_golden(storage, name)
    if known.sha256 != digest:
        raise InputError(f"{storage.describe(golden_key(name))} is frozen and holds other clips. Freeze these under another name: --name NAME")
    return known


def read_golden(storage: Storage, name: str) -> GoldenSet:
    """The golden set NAME. Raises InputError where there is none, or where its list was altered."""
    key = golden_key(name)
    if not storage.exists(key):
        raise InputError(f"There is no golden set {name!r} in {storage.describe(key)}; nothing could be measured. Make one: dub data freeze FOLDER")
    try:
        golden = GoldenSet.model_validate_json(storage.read_bytes(key))
    except ValidationError as error:
        raise InputError(f"{storage.describe(key)} cannot be read: {str(error).splitlines()[0]}.") from None
    if golden.sha256 != digest_of_clips(golden.clips):
        raise InputError(f"{storage.describe(key)} was altered after it was frozen: its list does not have its digest.")
    return golden


def all_goldens(storage: Storage) -> tuple[GoldenSet, ...]:
    """Every golden set of the registry: none of them is ever learnt from."""
    return tuple(read_golden(storage, Path(key).stem) for key in storage.list("golden/") if key.endswith(".json"))


def fetch_golden(storage: Storage, golden: GoldenSet, folder: Path) -> Path:
    """Its clips as FOLDER/PERSON/NAME, each checked. Raises InputError for one that was altered."""
    return fetch_clips(storage, golden.clips, folder)


def find_leaks(golden: GoldenSet, clips: tuple[RawClip, ...]) -> dict[str, str]:
    """PERSON/clip -> why it must not be learnt from: the very file, the same recording re-encoded or cut, or a person of the golden set."""
    files = {clip.sha256: clip.label for clip in golden.clips}
    known = KnownRecordings()
    for clip in golden.clips:
        known.add(clip.label, clip.fingerprints()[0])
    leaks: dict[str, str] = {}
    for clip in clips:
        if clip.sha256 in files:
            leaks[clip.label] = f"is the golden clip {files[clip.sha256]}"
        elif (name := next(filter(None, map(known.find, clip.fingerprints())), None)) is not None:
            leaks[clip.label] = f"is the recording of the golden clip {name}, in other bytes"
        elif clip.person in golden.people:
            leaks[clip.label] = f"shows {clip.person}, a person of the golden set"
    return leaks


def golden_key(name: str) -> str:
    return f"golden/{name}.json"
