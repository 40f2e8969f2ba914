"""The one cache: content-addressed bytes and the records that name them. Stored = done; resume is a look-up."""

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from infra.durable import copy_hashed, disk_errors, publish, sha256_of_file, sync_file, write_synced
from infra.errors import CorruptArtifactError
from infra.record_keys import canonical_json, check_step, record_key
from infra.scratch import new_scratch_name, sweep_dead_scratch

logger = logging.getLogger(__name__)
RecordT = TypeVar("RecordT", bound=BaseModel)

_lock = threading.Lock()  # guards the two tables below; they are per process on purpose
_verified: dict[str, tuple[int, int, int]] = {}  # object path -> (inode, size, mtime_ns) when its digest was last right
_counts: dict[tuple[str, str], list[int]] = {}  # (root, step) -> [made, reused]


class Artifact(BaseModel):
    """The only way pixels, sound and models are named between steps: bytes in the artifact store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    num_bytes: int = Field(ge=0)
    media_type: str


def artifacts_of(value: object) -> Iterator[Artifact]:
    """Every Artifact that a record names, at any depth."""
    if isinstance(value, Artifact):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from artifacts_of(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from artifacts_of(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from artifacts_of(item)


@dataclass(frozen=True)
class ArtifactStore:
    """A folder: objects/AA/SHA256 (read-only bytes), records/STEP/KEY.json, quarantine/, scratch/. Safe among threads and processes; picklable."""

    root: Path

    def put_bytes(self, data: bytes, media_type: str) -> Artifact:
        """Keep bytes. Raises TransientError when the disk is full."""
        artifact = Artifact(sha256=sha256(data).hexdigest(), num_bytes=len(data), media_type=media_type)
        if not self._holds(artifact):
            with self._temporary_file() as temporary, disk_errors("storing bytes", self.root):
                write_synced(temporary, data)
                self._publish_object(temporary, artifact)
        return artifact

    def put_file(self, path: Path, media_type: str) -> Artifact:
        """Keep a finished file: it is moved in, and is gone from `path` afterwards. Raises TransientError when the disk is full."""
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"put_file wants a regular file of ours, not {path}")
        artifact = Artifact(sha256=sha256_of_file(path), num_bytes=path.stat().st_size, media_type=media_type)
        if self._holds(artifact):
            path.unlink()
            return artifact
        with disk_errors("storing a file", self.root):
            if path.stat().st_dev == self._folder("objects").stat().st_dev:
                sync_file(path)
                self._publish_object(path, artifact)
            else:
                self._copy_in(path, artifact)
        return artifact

    def put_arrays(self, **arrays: np.ndarray) -> Artifact:
        """Keep named arrays as one .npz; equal arrays give equal bytes. Raises TypeError for object arrays (they would need pickle)."""
        for name, array in arrays.items():
            if np.asarray(array).dtype.hasobject:
                raise TypeError(f"array {name!r} holds Python objects")
        with self._temporary_file() as temporary:
            with disk_errors("storing arrays", self.root), open(temporary, "xb") as file:
                np.savez(file, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
            return self.put_file(temporary, "application/x-npz")

    def put_array(self, array: np.ndarray) -> Artifact:
        """Keep one array as .npy (load_array can map it into memory). Raises TypeError for object arrays."""
        if array.dtype.hasobject:
            raise TypeError("the array holds Python objects")
        with self._temporary_file() as temporary:
            with disk_errors("storing an array", self.root), open(temporary, "xb") as file:
                np.save(file, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
            return self.put_file(temporary, "application/x-npy")

    def load_arrays(self, artifact: Artifact) -> dict[str, np.ndarray]:
        """The arrays of put_arrays, by name. Raises CorruptArtifactError."""
        with np.load(self.path(artifact), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def load_array(self, artifact: Artifact) -> np.ndarray:
        """The array of put_array, read-only and mapped into memory rather than read. Raises CorruptArtifactError."""
        path = self.path(artifact)
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:  # an empty array cannot be mapped
            return np.load(path, allow_pickle=False)

    def path(self, artifact: Artifact) -> Path:
        """Where the bytes lie (read-only). The digest is checked at the first use in a process.

        Raises CorruptArtifactError when they are missing or differ; differing bytes are first moved to quarantine/, never deleted.
        """
        path = self._object_path(artifact.sha256)
        with disk_errors("reading", self.root):
            try:
                status = path.stat()
            except FileNotFoundError:
                raise CorruptArtifactError(f"Artifact {artifact.sha256[:12]} is missing from {self.root}.") from None
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if status.st_size == artifact.num_bytes:
                with _lock:
                    if _verified.get(str(path)) == seen:
                        return path
                if sha256_of_file(path) == artifact.sha256:
                    with _lock:
                        _verified[str(path)] = seen
                    return path
        quarantined = self._quarantine(path)
        raise CorruptArtifactError(f"Artifact {artifact.sha256[:12]} differed from its digest; its bytes are now {quarantined}.")

    def get_or_make(self, step: str, version: int, inputs: dict, record_type: type[RecordT], make: Callable[[], RecordT]) -> RecordT:
        """The record of this step for these inputs: read if stored, else made by `make()` and stored.

        `inputs` holds JSON values, records, fractions and tuples; name files in it by digest, not by path. A record that cannot be read,
        or that names artifacts that are missing or corrupt, counts as absent. Two makers at once are harmless: both get the first one's record.
        Raises whatever `make` raises (nothing is stored then), and TransientError when the disk is full.
        """
        check_step(step)
        key = record_key(step, version, inputs)
        record = self._read_record(step, key, record_type)
        if record is not None:
            self._count(step, made=0, reused=1)
            logger.info("reused %s %s", step, key[:12])
            return record
        started = time.monotonic()
        made = make()
        if not isinstance(made, record_type):
            raise TypeError(f"{step} made a {type(made).__name__}, not a {record_type.__name__}")
        record = self._write_record(step, version, key, inputs, made)
        self._count(step, made=1, reused=0)
        logger.info("made %s %s in %.1f s", step, key[:12], time.monotonic() - started)
        return record

    def counts(self) -> dict[str, tuple[int, int]]:
        """Per step: (made, reused) by this process in this store."""
        with _lock:
            return {step: (numbers[0], numbers[1]) for (root, step), numbers in _counts.items() if root == str(self.root)}

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A fresh folder on the store's file system, removed at the end. Leftovers of dead processes are swept at a process's first use."""
        with disk_errors("making a scratch folder", self.root):
            folder = self._scratch_path()
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # -- objects

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _scratch_path(self) -> Path:
        folder = self._folder("scratch")
        sweep_dead_scratch(folder)
        return folder / new_scratch_name()

    @contextmanager
    def _temporary_file(self) -> Iterator[Path]:
        with disk_errors("making a temporary file", self.root):
            temporary = self._scratch_path()
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _object_path(self, digest: str) -> Path:
        return self.root / "objects" / digest[:2] / digest

    def _holds(self, artifact: Artifact) -> bool:
        try:
            self.path(artifact)
        except CorruptArtifactError:
            return False
        return True

    def _copy_in(self, path: Path, artifact: Artifact) -> None:
        with self._temporary_file() as temporary:
            digest, _ = copy_hashed(path, temporary)
            if digest != artifact.sha256:
                raise CorruptArtifactError(f"{path} changed while it was being stored.")
            self._publish_object(temporary, artifact)
        path.unlink()

    def _publish_object(self, temporary: Path, artifact: Artifact) -> None:
        os.chmod(temporary, 0o444)
        path = self._object_path(artifact.sha256)
        publish(temporary, path)
        status = path.stat()
        with _lock:
            _verified[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns)

    def _quarantine(self, path: Path) -> Path:
        target = self._folder("quarantine") / f"{path.name}.{new_scratch_name()}"
        try:
            os.replace(path, target)
        except FileNotFoundError:  # another process was faster
            pass
        else:
            logger.warning("quarantined %s as %s", path, target)
        return target

    # -- records: {"step", "version", "inputs", "record", "sha256"}; the digest covers the record, since a flipped digit still parses

    def _record_path(self, step: str, key: str) -> Path:
        return self.root / "records" / step / f"{key}.json"

    def _read_record(self, step: str, key: str, record_type: type[RecordT]) -> RecordT | None:
        path = self._record_path(step, key)
        try:
            envelope = json.loads(path.read_bytes())
            if record_key(envelope["step"], envelope["version"], envelope["inputs"]) != key:
                raise ValueError("it belongs to another key")
            text = canonical_json(envelope["record"])
            if sha256(text.encode()).hexdigest() != envelope["sha256"]:
                raise ValueError("it differs from its digest")
            record = record_type.model_validate_json(text)
            for artifact in artifacts_of(record):
                self.path(artifact)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError, CorruptArtifactError) as error:
            logger.warning("record %s %s counts as absent: %s", step, key[:12], str(error).splitlines()[0] if str(error) else type(error).__name__)
            return None
        return record

    def _write_record(self, step: str, version: int, key: str, inputs: dict, made: RecordT) -> RecordT:
        text = canonical_json(made)
        record = type(made).model_validate_json(text)
        if record != made:
            raise TypeError(f"a {type(made).__name__} of {step} does not survive JSON")
        for artifact in artifacts_of(record):
            self.path(artifact)
        earlier = self._read_record(step, key, type(made))
        if earlier is not None:
            return earlier
        envelope = {"step": step, "version": version, "inputs": inputs, "record": made, "sha256": sha256(text.encode()).hexdigest()}
        with self._temporary_file() as temporary, disk_errors(f"storing the record of {step}", self.root):
            write_synced(temporary, canonical_json(envelope).encode())
            publish(temporary, self._record_path(step, key))
        return record

    def _count(self, step: str, made: int, reused: int) -> None:
        with _lock:
            numbers = _counts.setdefault((str(self.root), step), [0, 0])
            numbers[0] += made
            numbers[1] += reused
