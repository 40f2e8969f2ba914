"""What published episodes refer to: a note per manifest in the store that made it, so that what a manifest names stays at hand for a redo."""

import json
import logging
import re
import tempfile
from hashlib import sha256
from pathlib import Path

from infra.errors import DubflowError
from infra.storage import Storage, open_storage
from infra.storage_keys import FolderLocation, parse_location

logger = logging.getLogger(__name__)
_FOLDER = "pins/"
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def digests_in(text: str) -> set[str]:
    """Every sha256 that a text names."""
    return set(_DIGEST.findall(text))


def pin_manifest(store: Storage, out: str, key: str, text: str) -> None:
    """Note in a store that the manifest at OUT/key names what it names. Takes the place of an earlier note about that manifest."""
    pin = {"out": out, "key": key, "sha256": sorted(digests_in(text))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pin.json"
        path.write_text(json.dumps(pin))
        store.put(path, f"{_FOLDER}{sha256(f'{out} {key}'.encode()).hexdigest()[:32]}.json")


def pinned_digests(store: Storage) -> tuple[set[str], list[str]]:
    """(digests that manifests name, keys of notes whose manifest is gone). A manifest that cannot be asked about counts as there."""
    digests, outdated = set(), []
    for note in store.walk(_FOLDER):
        try:
            pin = json.loads(store.read_bytes(note.key))
            out, key, names = str(pin["out"]), str(pin["key"]), {str(name) for name in pin["sha256"]}
        except (DubflowError, ValueError, KeyError, TypeError) as error:
            logger.warning("the note %s cannot be read: %s", note.key, error)
            continue
        if _is_gone(out, key):
            outdated.append(note.key)
        else:
            digests |= names
    return digests, outdated


def manifests_in(out: Storage) -> set[str]:
    """Digests that the manifests of an output folder name."""
    digests: set[str] = set()
    for key in out.list():
        if key.endswith("/manifest.json") or key == "manifest.json":
            digests |= digests_in(out.read_bytes(key).decode(errors="replace"))
    return digests


def _is_gone(out: str, key: str) -> bool:
    """Whether the store answers and has no such manifest; a folder that is not there may be a disk that is not mounted."""
    try:
        location = parse_location(out)
        if isinstance(location, FolderLocation) and not location.path.is_dir():
            return False
        return not open_storage(out).exists(key)
    except DubflowError:
        return False
