"""What `dub models` does and prints."""

from pathlib import Path

from infra.errors import InputError
from infra.settings import get_settings
from tasks.model_shelf import ShelfEntry, bundled_entries, entries, find_damage, import_model
from tasks.types import Record
from wav2lip_core.checkpoint import CheckpointError


class Weights(Record):
    """All weights at hand."""

    models_folder: str
    models: tuple[ShelfEntry, ...]


class Verified(Record):
    """damaged: path of the weights -> what is wrong with them."""

    num_models: int
    damaged: dict[str, str]


def list_weights() -> Weights:
    folder = get_settings().models_folder
    try:
        return Weights(models_folder=str(folder), models=tuple(entries(folder)))
    except CheckpointError as error:
        raise InputError(f"The package's own weights are damaged; install dubflow again. {error}") from error


def import_file(file: Path, name: str | None) -> ShelfEntry:
    return import_model(get_settings().models_folder, file, name)


def verify_weights() -> Verified:
    damaged: dict[str, str] = {}
    try:
        bundled = bundled_entries()
    except CheckpointError as error:
        bundled, damaged = [], {"package": str(error)}
    folder = get_settings().models_folder
    known = [*bundled, *(entry for entry in entries(folder) if entry.source != "package")] if not damaged else []
    damaged |= {entry.path: trouble for entry in known if (trouble := find_damage(entry)) is not None}
    return Verified(num_models=len(known), damaged=damaged)


def show_list(weights: Weights) -> None:
    for entry in weights.models:
        size = f"{entry.num_parameters / 1e6:.1f} M parameters, {entry.num_bytes / 1e6:.1f} MB"
        print(
            f"{entry.name}  {entry.kind}  {entry.title}, {size}, {entry.sha256[:12]}, from {entry.source}, licence: {entry.licence or 'not stated'}"
        )
    if not weights.models:
        print(f"No weights at all: none in the package, none in {weights.models_folder}.")


def show_imported(entry: ShelfEntry) -> None:
    print(f"Imported {entry.name} ({entry.kind}: {entry.title}, {entry.num_parameters / 1e6:.1f} M parameters, sha256 {entry.sha256}).")
    if entry.kind == "generator":
        print(f"Use it with: dub episode ... --model {entry.name}")
    if entry.kind == "vgg_syncnet":
        print("Use it with: dub episode ... --scorer vgg")


def show_verified(verified: Verified) -> None:
    for path, trouble in verified.damaged.items():
        print(f"damaged: {path}: {trouble}")
    print(f"{verified.num_models} weights looked at, {len(verified.damaged)} damaged.")
