"""Bytes by their digest in a folder: put whole, checked at first use, brought from the tier that machines share where they are not here."""

import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from infra.array_headers import read_header_safely
from infra.artifact import Artifact, object_key
from infra.durable import copy_hashed, disk_errors, publish, sha256_of_file, sync_file, write_synced
from infra.errors import CorruptArtifactError
from infra.remote_artifacts import RemoteTier
from infra.scratch import new_scratch_name, sweep_dead_scratch

logger = logging.getLogger(__name__)

_lock = threading.Lock()  # guards the table below; it is per process on purpose
_verified: dict[str, tuple[int, int, int]] = {}  # object path -> (inode, size, mtime_ns) when its digest was last right
_fetching = tuple(threading.Lock() for _ in range(64))  # by digest: two threads do not fetch the same bytes


@dataclass(frozen=True)
class ArtifactObjects:
    """The part of an artifact store that holds bytes: objects/AA/SHA256 (read-only), quarantine/, scratch/."""

    root: Path
    remote: str | None = None  # folder or s3:// URI that other machines share

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
            return {name: read_header_safely(partial(arrays.__getitem__, name)) for name in arrays.files}

    def load_array(self, artifact: Artifact) -> np.ndarray:
        """The array of put_array, read-only and mapped into memory rather than read. Raises CorruptArtifactError."""
        path = self.path(artifact)
        try:
            return read_header_safely(partial(np.load, path, mmap_mode="r", allow_pickle=False))
        except ValueError:  # an empty array cannot be mapped
            return read_header_safely(partial(np.load, path, allow_pickle=False))

    def path(self, artifact: Artifact) -> Path:
        """Where the bytes lie (read-only). The digest is checked at the first use in a process.

        What is only on the tier that machines share is fetched. Raises CorruptArtifactError when the bytes are missing or differ; differing bytes
        are first moved to quarantine/, never deleted.
        """
        try:
            return self._local_path(artifact)
        except CorruptArtifactError:
            if self.tier is None:
                raise
        return self._fetch(self.tier, artifact)

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

    # -- inside

    @property
    def tier(self) -> RemoteTier | None:
        """What this store shares with other machines' stores."""
        return None if self.remote is None else RemoteTier(self.remote)

    def _local_path(self, artifact: Artifact) -> Path:
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

    def _fetch(self, tier: RemoteTier, artifact: Artifact) -> Path:
        with _fetching[int(artifact.sha256[:2], 16) % len(_fetching)]:
            try:
                return self._local_path(artifact)
            except CorruptArtifactError:
                pass
            with self._temporary_file() as temporary:
                tier.fetch(artifact, temporary)
                with disk_errors("storing what was fetched", self.root):
                    self._publish_object(temporary, artifact)
            logger.info("fetched %s (%d bytes)", artifact.sha256[:12], artifact.num_bytes)
            return self._object_path(artifact.sha256)

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
        return self.root / object_key(digest)

    def _holds(self, artifact: Artifact) -> bool:
        """Whether the bytes are in the folder; then they count as just put there."""
        try:
            path = self._local_path(artifact)
            os.utime(path)
            self._note_verified(path)
        except (CorruptArtifactError, FileNotFoundError):
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
        self._note_verified(path)

    @staticmethod
    def _note_verified(path: Path) -> None:
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
