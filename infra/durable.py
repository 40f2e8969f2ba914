"""Files that survive a crash: write under a temporary name, fsync, rename. And one place that says what a disk error means."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import InputError, TransientError

_CHUNK_BYTES = 1 << 20
_MAY_PASS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.EAGAIN, errno.ENOMEM}
_YOURS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR}


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces: memory is flat."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def copy_hashed(source: Path, target: Path) -> tuple[str, int]:
    """Copy bytes to a new file, down to the disk. Returns (sha256, num_bytes) of what was read."""
    digest, num_bytes = hashlib.sha256(), 0
    with open(source, "rb") as reader, open(target, "xb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest(), num_bytes


def write_synced(target: Path, data: bytes) -> None:
    """Write a new file, down to the disk."""
    with open(target, "xb") as writer:
        writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())


def sync_file(path: Path) -> None:
    """Push a file's bytes down to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Push a folder's names down to the disk; without it a rename may be lost with the power."""
    sync_file(folder)


def publish(temporary: Path, final: Path) -> None:
    """Give a finished, synced file its name in one step. Readers see the old file or the new one, never half of one."""
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, final)
    sync_folder(final.parent)


@contextmanager
def disk_errors(doing: str, where: Path) -> Iterator[None]:
    """Turn an OSError into TransientError (disk full, I/O) or InputError (no permission), saying what and where; other errors pass."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TransientError(f"Disk full while {doing} in {where}. Free some space and run it again: finished work is kept.") from error
        if error.errno in _MAY_PASS:
            raise TransientError(f"{reason} while {doing} in {where}.") from error
        if error.errno in _YOURS:
            raise InputError(f"{reason} while {doing} in {where}. Choose a folder that you may write to.") from error
        raise
