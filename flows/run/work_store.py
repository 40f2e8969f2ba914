"""The artifact store of a run: known as in use while the run lives, shared with other machines and kept below its size as the settings say."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.artifacts import ArtifactStore
from infra.errors import DubflowError
from infra.folder_storage import FolderStorage
from infra.live_runs import at_work
from infra.pins import pin_manifest
from infra.settings import get_settings
from infra.tidy import shrink_work, size_of_work

logger = logging.getLogger(__name__)
LOOK_S = 120.0


@contextmanager
def work_store(work_folder: Path) -> Iterator[ArtifactStore]:
    """The store in a work folder, marked as in use until the end. Raises InputError where the settings name a shared store that cannot be used."""
    settings = get_settings()
    store = ArtifactStore(work_folder / "artifacts", settings.shared_store)
    store.root.mkdir(parents=True, exist_ok=True)
    limit_bytes = None if settings.work_limit_gb is None else settings.work_limit_gb * 1e9
    with at_work(FolderStorage(store.root), *([store.tier.storage] if store.tier else [])), _kept_below(limit_bytes, work_folder, store):
        yield store


def pin_episode(store: ArtifactStore, out: str, key: str, manifest: Path) -> None:
    """Note that a published manifest names artifacts of this store, so that they stay."""
    text = manifest.read_text(encoding="utf-8")
    for place in (FolderStorage(store.root), *([store.tier.storage] if store.tier else [])):
        pin_manifest(place, out, key, text)


@contextmanager
def _kept_below(limit_bytes: float | None, work_folder: Path, store: ArtifactStore) -> Iterator[None]:
    if limit_bytes is None:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(limit_bytes, work_folder, store, ended), daemon=True)
    _look(limit_bytes, work_folder, store)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(limit_bytes: float, work_folder: Path, store: ArtifactStore, ended: threading.Event) -> None:
    while not ended.wait(LOOK_S):
        _look(limit_bytes, work_folder, store)


def _look(limit_bytes: float, work_folder: Path, store: ArtifactStore) -> None:
    """Tidy where it is needed; trouble with that never stops a run."""
    try:
        if size_of_work(work_folder) > limit_bytes:
            tidied = shrink_work(work_folder, limit_bytes, store.tier)
            logger.info("tidied %s: %d objects, %.2f GB", work_folder, tidied.num_objects, tidied.num_bytes / 1e9)
    except (DubflowError, OSError) as error:
        logger.warning("%s could not be tidied: %s", work_folder, error)
