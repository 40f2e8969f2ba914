"""The tier that machines share: what one has finished the others find. Records and artifacts lie there as in the local folder."""

import logging
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from infra.artifact import Artifact, object_key, record_place
from infra.durable import disk_errors, sha256_of_file
from infra.errors import CorruptArtifactError, InputError
from infra.folder_storage import FolderStorage
from infra.storage import Storage, open_storage
from infra.storage_keys import redact

logger = logging.getLogger(__name__)
NUM_AT_ONCE = 8
TOUCH_AFTER_S = 24 * 3600.0  # a record that is used is written again when it is older: what is in use stays young
_lock = threading.Lock()
_sent: set[tuple[str, str]] = set()  # (place, sha256) that this process saw arrive


@dataclass(frozen=True)
class RemoteTier:
    """A folder or bucket that machines share. Errors of the store itself are raised: InputError, TransientError."""

    place: str

    @property
    def storage(self) -> Storage:
        return open_storage(self.place)

    @property
    def name(self) -> str:
        """A short name that tells tiers apart."""
        return sha256(self.place.encode()).hexdigest()[:16]

    def unsure_of(self, artifacts: Iterable[Artifact]) -> list[Artifact]:
        """Those that cannot be said to be there, whole, without reading them: fetch() tells."""
        storage, wanted = self.storage, list(artifacts)
        if not wanted:
            return []
        with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
            found = pool.map(lambda artifact: _has(storage, artifact), wanted)
            return [artifact for artifact, there in zip(wanted, found, strict=True) if not there]

    def fetch(self, artifact: Artifact, into: Path) -> None:
        """Bring an artifact's bytes to a new file. Raises CorruptArtifactError when they are missing or not what their name says; then they are
        removed there, so that they count as absent from now on."""
        storage, key = self.storage, object_key(artifact.sha256)
        try:
            storage.get(key, into)
        except CorruptArtifactError:
            self._give_up(storage, key)
            raise
        except InputError:
            if storage.exists(key):
                raise
            raise CorruptArtifactError(f"Artifact {artifact.sha256[:12]} is missing from {redact(self.place)}.") from None
        if sha256_of_file(into) != artifact.sha256:
            into.unlink()
            self._give_up(storage, key)
            raise CorruptArtifactError(f"Artifact {artifact.sha256[:12]} in {redact(self.place)} differed from its digest; it was removed there.")

    def keep_young(self, step: str, key: str, data: bytes) -> None:
        """See that the record is there and does not count as long unused."""
        storage, place = self.storage, record_place(step, key)
        there = storage.find(place)
        if there is None or time.time() - there.modified_s > TOUCH_AFTER_S:
            self._write(storage, place, data)

    def read_record(self, step: str, key: str) -> bytes | None:
        """A record as stored, or None. It is written again when it is old, so that it stays young as long as it is used."""
        storage, place = self.storage, record_place(step, key)
        there = storage.find(place)
        if there is None:
            return None
        try:
            data = storage.read_bytes(place)
        except (CorruptArtifactError, InputError) as error:
            logger.warning("record %s %s of the shared store counts as absent: %s", step, key[:12], error)
            return None
        if time.time() - there.modified_s > TOUCH_AFTER_S:
            self._write(storage, place, data)
        return data

    def send(self, artifacts: Sequence[tuple[Artifact, Path]]) -> None:
        """Put artifacts there that are not there yet; what lies there under their name and is something else is replaced."""
        storage = self.storage
        with _lock:
            missing = [(artifact, path) for artifact, path in artifacts if (self.place, artifact.sha256) not in _sent]
        with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
            list(pool.map(lambda each: _send(storage, *each), missing))
        with _lock:
            _sent.update((self.place, artifact.sha256) for artifact, _ in missing)

    def offer_record(self, step: str, key: str, data: bytes) -> bool:
        """Put a record there, its artifacts being there already. False: another is there."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "record.json"
            path.write_bytes(data)
            return self.storage.put_if_absent(path, record_place(step, key))

    def replace_record(self, step: str, key: str, data: bytes) -> None:
        """Put a record there in place of one that cannot be used."""
        self._write(self.storage, record_place(step, key), data)

    @staticmethod
    def _write(storage: Storage, place: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "record.json"
            path.write_bytes(data)
            storage.put(path, place)

    def _give_up(self, storage: Storage, key: str) -> None:
        logger.warning("%s is damaged and is removed", storage.describe(key))
        storage.delete(key)
        with _lock:
            _sent.discard((self.place, key.rpartition("/")[2]))


def _has(storage: Storage, artifact: Artifact) -> bool:
    there = storage.find(object_key(artifact.sha256))
    if there is None or there.num_bytes != artifact.num_bytes:
        return False
    if isinstance(storage, FolderStorage):
        with disk_errors("reading", storage.root):
            return sha256_of_file(storage.root / there.key) == artifact.sha256
    return there.sha256 == artifact.sha256


def _send(storage: Storage, artifact: Artifact, path: Path) -> None:
    key = object_key(artifact.sha256)
    there = storage.find(key)
    if there is not None and time.time() - there.modified_s > TOUCH_AFTER_S:
        storage.put(path, key)  # so that it does not go as long unused before the record that names it is there
    elif not storage.put_if_absent(path, key):
        logger.warning("%s was damaged and is replaced", storage.describe(key))
        storage.put(path, key)
