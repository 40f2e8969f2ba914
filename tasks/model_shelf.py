"""The weights at hand: those of the package and those the user imported, kept by digest, so that a run can pin what it uses."""

import logging
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, ValidationError

from infra.durable import copy_hashed, disk_errors, publish, sync_folder, write_synced
from infra.errors import InputError
from infra.scratch import is_scratch_name, new_scratch_name, sweep_dead_scratch
from infra.settings import get_settings
from infra.storage import open_storage
from tasks.production import NAME as PRODUCTION
from tasks.production import fetch_model, is_production, production_named
from tasks.types import BUNDLED_MODEL, Models, Record
from tasks.types.record import Precision
from wav2lip_core.checkpoint import CheckpointError, describe, read_card, sha256_of
from wav2lip_core.face_detector import FaceDetectorError, open_detector
from wav2lip_core.lip_syncer import BUNDLED_GENERATOR
from wav2lip_core.precision import PrecisionError, pick_device, pick_precision

logger = logging.getLogger(__name__)

BUNDLED_EXPERT = BUNDLED_GENERATOR.with_name("expert.safetensors")
_ENTRY = "entry.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ShelfEntry(Record):
    """One weights file. Imported ones lie in MODELS/SHA256/ with this record beside them."""

    name: str
    kind: str  # generator, sync_expert, discriminator, vgg_syncnet
    title: str
    path: str
    sha256: str
    num_bytes: int
    num_parameters: int
    config: dict[str, int | float | str]
    licence: str | None = None  # None: the file says nothing
    data: str | None = None  # what it was trained on
    source: str  # name of the imported file, or `package`
    added: AwareDatetime | None = None


def entries(models_folder: Path) -> list[ShelfEntry]:
    """All weights, the package's first, then by name. Imported records that cannot be read are left out and logged."""
    return [*bundled_entries(), *sorted(_imported(models_folder), key=lambda entry: (entry.name, entry.kind, entry.sha256))]


def bundled_entries() -> list[ShelfEntry]:
    """The package's own generator and expert; empty in an installation without them. Raises CheckpointError for damaged ones."""
    return [_entry(path, BUNDLED_MODEL, "package", None) for path in (BUNDLED_GENERATOR, BUNDLED_EXPERT) if path.is_file()]


def import_model(models_folder: Path, file: Path, name: str | None = None) -> ShelfEntry:
    """Copy a weights file onto the shelf under its digest, once it is known to fit one of our networks.

    Its name is the given one, else its card's, else the file's. Weights of one name belong together: `--model NAME` takes the generator NAME and,
    where there is one, the expert NAME. Raises InputError for a file that is not ours to use, or a name that other weights of its kind have.
    """
    if not file.is_file():
        raise InputError(f"{file} {'is not a regular file' if file.exists() else 'does not exist'}. Give a weights file.")
    try:
        card = read_card(file) if file.suffix == ".safetensors" else None
        found = _entry(file, name or (card.name if card else _slug(file.stem)), file.name, datetime.now(UTC).replace(microsecond=0))
    except CheckpointError as error:
        raise InputError(str(error)) from error
    if not _NAME.fullmatch(found.name):
        raise InputError(f"{found.name!r} cannot be a model's name: small letters, digits, dots, dashes; at most 64. Give one with --name.")
    _refuse_taken_name(models_folder, found)
    with disk_errors("importing a model", models_folder):
        return _put_on_shelf(models_folder, file, found)


def find_damage(entry: ShelfEntry) -> str | None:
    """What is wrong with these weights now, or None: digest, container, names, shapes and values are looked at again."""
    path = Path(entry.path)
    if not path.is_file():
        return "the file is gone"
    if sha256_of(path) != entry.sha256:
        return "its bytes differ from the digest it was imported with"
    try:
        describe(path)
    except CheckpointError as error:
        return str(error)
    return None


def pin_models(models_folder: Path, name: str, scorer: str, precision: Literal["auto"] | Precision | None = None) -> Models:
    """The weights of a run, by digest. `production` means what the registry's production.json names now, `production@7` its generation 7; the answer
    bears the number, so that a repeated run gets the same weights. What production does not hold is the package's own.

    Raises InputError for a name that is not there, weights that have changed, or a scorer not imported.
    """
    shelf = list(_imported(models_folder))
    served: dict[str, tuple[str, str]] = {}
    given = name
    if is_production(name):
        given, served = _served(models_folder, name)
        name = BUNDLED_MODEL
    generator = served.get("generator") or _pick(shelf, name, "generator", BUNDLED_GENERATOR)
    if generator is None:
        known = sorted({entry.name for entry in shelf if entry.kind == "generator"} | ({BUNDLED_MODEL} if BUNDLED_GENERATOR.is_file() else set()))
        raise InputError(f"There is no model named {name!r}. Known: {', '.join(known) or 'none'}. Add one with: dub models import FILE")
    expert = served.get("sync_expert") or _pick(shelf, name, "sync_expert", BUNDLED_EXPERT)
    expert = expert or _pick(shelf, BUNDLED_MODEL, "sync_expert", BUNDLED_EXPERT)
    if expert is None:
        raise InputError(f"No sync expert is at hand for {name!r}. Import one of that name: dub models import FILE --name {name}")
    vgg = next((_unchanged(entry) for entry in reversed(_by_age(shelf)) if entry.kind == "vgg_syncnet"), None) if scorer == "vgg" else None
    if scorer == "vgg" and vgg is None:
        raise InputError("--scorer vgg needs the published SyncNet. Get syncnet_v2.model and run: dub models import syncnet_v2.model")
    return Models(
        name=given,
        generator_path=generator[0],
        generator_sha256=generator[1],
        expert_path=expert[0],
        expert_sha256=expert[1],
        vgg_path=vgg[0] if vgg else None,
        vgg_sha256=vgg[1] if vgg else None,
        precision=_precision(precision),
    )


def _precision(wanted: Literal["auto"] | Precision | None) -> Precision:
    """What this machine makes of the wish, else of the setting: the whole run keeps to it, wherever its workers are."""
    settings = get_settings()
    try:
        return pick_precision(wanted or settings.precision, pick_device(settings.device))
    except PrecisionError as error:
        raise InputError(str(error)) from error


def _served(models_folder: Path, name: str) -> tuple[str, dict[str, tuple[str, str]]]:
    """What a name like `production` means now: with its generation's number, and (path, sha256) of its weights by role, on this machine."""
    storage = open_storage(get_settings().registry_place)
    production = production_named(storage, name)
    with disk_errors("fetching the models in production", models_folder):
        paths = {role: fetch_model(storage, model, models_folder / PRODUCTION) for role, model in production.models.items()}
    return f"{PRODUCTION}@{production.generation}", {role: (str(path), path.stem) for role, path in paths.items()}


def detector_digest(name: str, weights: str | None) -> str:
    """Which face detector this is: the sha256 of its weights, the embedded one's too. Raises InputError when it cannot be opened."""
    try:
        return open_detector(name, weights).sha256
    except FaceDetectorError as error:
        raise InputError(f"The face detector cannot be opened: {error}") from error


def _pick(shelf: list[ShelfEntry], name: str, kind: str, bundled: Path) -> tuple[str, str] | None:
    """(path, sha256) of the weights of this name and kind, unchanged since they came here; None where there are none."""
    if name == BUNDLED_MODEL:
        return _unchanged_bundled(bundled) if bundled.is_file() else None
    return next((_unchanged(entry) for entry in shelf if (entry.name, entry.kind) == (name, kind)), None)


def _by_age(shelf: list[ShelfEntry]) -> list[ShelfEntry]:
    return sorted(shelf, key=lambda entry: (entry.added is not None, entry.added or datetime.min.replace(tzinfo=UTC)))


def _unchanged(entry: ShelfEntry) -> tuple[str, str]:
    if not Path(entry.path).is_file() or sha256_of(entry.path) != entry.sha256:
        raise InputError(f"The weights {entry.name} ({entry.kind}) in {entry.path} are damaged. Import them again: dub models import FILE")
    return entry.path, entry.sha256


def _unchanged_bundled(path: Path) -> tuple[str, str]:
    try:
        card = read_card(path)  # compares the card's digest with the file
    except CheckpointError as error:
        raise InputError(f"The package's own weights are damaged; install dubflow again. {error}") from error
    return str(path), card.weights_sha256 if card else sha256_of(path)


def _entry(path: Path, name: str, source: str, added: datetime | None) -> ShelfEntry:
    facts = describe(path)
    return ShelfEntry(
        name=name,
        kind=facts.kind,
        title=facts.title,
        path=str(path),
        sha256=facts.sha256,
        num_bytes=facts.num_bytes,
        num_parameters=facts.num_parameters,
        config=facts.config,
        licence=facts.card.licence if facts.card else None,
        data=facts.card.data if facts.card else None,
        source=source,
        added=added,
    )


def _imported(models_folder: Path) -> Iterator[ShelfEntry]:
    if not models_folder.is_dir():
        return
    for folder in sorted(models_folder.iterdir()):
        record = folder / _ENTRY
        if is_scratch_name(folder.name) or not record.is_file():
            continue
        try:
            entry = ShelfEntry.model_validate_json(record.read_bytes())
        except (ValidationError, OSError) as error:
            logger.warning("%s counts as absent: %s", record, str(error).splitlines()[0])
            continue
        yield entry.model_copy(update={"path": str(folder / Path(entry.path).name)})  # the whole shelf may have been moved


def _refuse_taken_name(models_folder: Path, found: ShelfEntry) -> None:
    if found.name == BUNDLED_MODEL:
        raise InputError(f"The name {BUNDLED_MODEL} is the package's own. Give another with --name.")
    if is_production(found.name):
        raise InputError(f"The name {PRODUCTION} is the registry's own. Give another with --name; put weights there with: dub models promote FILE")
    for entry in _imported(models_folder):
        if (entry.name, entry.kind) == (found.name, found.kind) and entry.sha256 != found.sha256:
            raise InputError(f"Other weights are imported as {found.name} ({found.kind}, {entry.sha256[:12]}). Give another name with --name.")


def _put_on_shelf(models_folder: Path, file: Path, found: ShelfEntry) -> ShelfEntry:
    models_folder.mkdir(parents=True, exist_ok=True)
    sweep_dead_scratch(models_folder)
    temporary, final = models_folder / new_scratch_name(), models_folder / found.sha256
    weights = f"weights{file.suffix if re.fullmatch(r'[.][A-Za-z0-9]{1,12}', file.suffix) else ''}"
    kept = found.model_copy(update={"path": weights})
    temporary.mkdir()
    try:
        digest, _ = copy_hashed(file, temporary / weights)
        if digest != found.sha256:
            raise InputError(f"{file} changed while it was imported. Try again.")
        card = file.with_suffix(".json")
        if file.suffix == ".safetensors" and card.is_file():
            copy_hashed(card, temporary / "weights.json")
        write_synced(temporary / _ENTRY, kept.model_dump_json(indent=2).encode())
        if final.is_dir():  # the same weights again, perhaps damaged or under another name: what is there now holds
            shutil.rmtree(final)
        sync_folder(temporary)
        publish(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found.model_copy(update={"path": str(final / weights)})


def _slug(stem: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64]
