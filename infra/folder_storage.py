"""The folder behind the Storage protocol: temporary name, fsync, read back, rename."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from infra.durable import copy_hashed, disk_errors, publish, sha256_of_file, sync_folder
from infra.errors import InputError, TransientError
from infra.fence import Fence
from infra.scratch import is_scratch_name, new_scratch_name, sweep_dead_scratch
from infra.storage_keys import check_key, is_key, redact
from infra.stored_object import StoredObject


@dataclass(frozen=True)
class FolderStorage:
    """Files under `root` (absolute). Symbolic links that lead out of it are not followed."""

    root: Path

    def put(self, path: Path, key: str) -> None:
        """Copy a file to `key`, replacing what is there. Raises TransientError when the disk is full."""
        target = self._target(key)
        with self._verified_copy(path, target) as (temporary, _):
            publish(temporary, target)

    def put_fenced(self, path: Path, key: str, fence: Fence) -> None:
        """As put(), but the fence is asked at the last moment. Half done, it lies where discard_unfinished finds it: then it never gets its name."""
        target = self._target(key)
        with self._verified_copy(path, self._target(f"{fence.unfinished}/half-done")) as (temporary, _):
            fence.check()
            try:
                publish(temporary, target)
            except FileNotFoundError:
                fence.check()
                raise

    def discard_unfinished(self, unfinished: str, prefix: str) -> None:
        """End all fenced writes that are half done, whoever began them."""
        with disk_errors("deleting", self.root):
            for leftover in self._target(f"{unfinished}/half-done").parent.glob("*"):
                if is_scratch_name(leftover.name):
                    leftover.unlink(missing_ok=True)

    def prune(self, prefix: str) -> None:
        """Remove folders that hold nothing: this one, and those around it short of the root."""
        folder = self._target(f"{prefix}/any").parent
        with suppress(OSError):
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent

    def put_if_absent(self, path: Path, key: str) -> bool:
        """Copy a file to `key` unless something else is there. True: the key now holds these bytes (also if it did before)."""
        target = self._target(key)
        with self._verified_copy(path, target) as (temporary, digest):
            try:
                os.link(temporary, target)
            except FileExistsError:
                return target.is_file() and sha256_of_file(target) == digest
            sync_folder(target.parent)
            return True

    def put_if_same(self, path: Path, key: str, sha256: str) -> bool:
        """Replace `key` by a file if it still holds the bytes of this digest. True: the key now holds the file's bytes. One at a time."""
        target = self._target(key)
        with self._verified_copy(path, target) as (temporary, digest), _alone_in(target.parent):
            there = sha256_of_file(target) if target.is_file() else ""
            if there == sha256:
                publish(temporary, target)
                there = digest
            return there == digest

    def decides_races(self) -> bool:
        """Whether of several conditional writes at once exactly one wins: always, by hard links and a lock on the folder."""
        return True

    def get(self, key: str, path: Path) -> None:
        """Copy `key` to a local file. Raises InputError if it is not there."""
        source = self._source(key)
        with self._verified_copy(source, path) as (temporary, _):
            publish(temporary, path)

    def read_bytes(self, key: str) -> bytes:
        """The bytes of `key`. Raises InputError if it is not there."""
        with disk_errors("reading", self.root):
            return self._source(key).read_bytes()

    def exists(self, key: str) -> bool:
        """Whether `key` is a file."""
        return self._inside(key).is_file()

    def size(self, key: str) -> int:
        """Bytes of `key`. Raises InputError if it is not there."""
        return self._source(key).stat().st_size

    def find(self, key: str) -> StoredObject | None:
        """What the file system tells of `key`; None if it is not there."""
        path = self._inside(key)
        return _stored(key, path) if path.is_file() else None

    def read_range(self, key: str, first: int, num_bytes: int, version: str) -> bytes:
        """num_bytes of `key` from byte `first` on, fewer at its end. Raises InputError when it is not this version (see find) any more."""
        with disk_errors("reading", self.root), open(self._source(key), "rb") as file:
            file.seek(first)
            data = file.read(num_bytes)
        now = self.find(key)
        if now is None or now.version != version:
            raise InputError(f"{self.describe(key)} was replaced while it was being used. Run the same command again when it is final.")
        return data

    def walk(self, prefix: str = "") -> Iterator[StoredObject]:
        """All files whose keys begin with this text, sorted by key; one that goes meanwhile is left out."""
        for key in self.list(prefix):
            with suppress(FileNotFoundError):
                yield _stored(key, self.root / key)

    def link(self, key: str, valid_s: float) -> None:
        """A folder's files have no address but their path."""

    def unfinished(self, older_than_s: float) -> dict[str, str]:
        """Nothing: what a process that died left is swept by the next that writes there."""
        return {}

    def abort(self, upload_id: str, key: str) -> None:
        """Nothing to end: see unfinished()."""

    def list(self, prefix: str = "") -> list[str]:
        """All keys that begin with this text, sorted. Unfinished files are not among them."""
        if prefix:
            check_key(prefix.removesuffix("/"))
        keys = []
        for folder, _, names in os.walk(self.root / prefix.rpartition("/")[0], followlinks=False):
            for name in names:
                key = (Path(folder) / name).relative_to(self.root).as_posix()
                if not is_scratch_name(name) and key.startswith(prefix) and is_key(key) and self._is_inside(key):
                    keys.append(key)
        return sorted(keys)

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens if it is not there."""
        with disk_errors("deleting", self.root):
            self._target(key).unlink(missing_ok=True)

    def describe(self, key: str) -> str:
        """The path, for people."""
        return str(self.root / check_key(key))

    def _inside(self, key: str) -> Path:
        path = self.root / check_key(key)
        if not self._is_inside(key):
            raise InputError(f"{redact(key)}: a symbolic link in {self.root} leads out of it.")
        return path

    def _is_inside(self, key: str) -> bool:
        return (self.root / key).resolve().is_relative_to(self.root.resolve())

    def _target(self, key: str) -> Path:
        path = self.root / check_key(key)
        if not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise InputError(f"{redact(key)}: a symbolic link in {self.root} leads out of it.")
        return path

    def _source(self, key: str) -> Path:
        path = self._inside(key)
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
        return path

    @contextmanager
    def _verified_copy(self, source: Path, target: Path) -> Iterator[tuple[Path, str]]:
        with disk_errors("writing", target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep_dead_scratch(target.parent)
            temporary = target.parent / new_scratch_name()
            try:
                digest, num_bytes = copy_hashed(source, temporary)
                if temporary.stat().st_size != num_bytes or sha256_of_file(temporary) != digest:
                    raise TransientError(f"{target} did not keep what was written to it.")
                yield temporary, digest
            finally:
                temporary.unlink(missing_ok=True)


def _stored(key: str, path: Path) -> StoredObject:
    status = path.stat()
    return StoredObject(key, status.st_size, status.st_mtime, f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Nobody else is in here for this folder meanwhile; a process that dies lets go."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
