"""Using a store and tidying it exclude each other: what has just been looked up is not removed under its finder's hands. Who takes turns waits."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.durable import disk_errors


@contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Within, nothing is removed from the store. Many may be in here at once."""
    with _locked(root, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Within, nobody looks anything up in the store, nor adds a record; on this host, and where the file system's locks reach further."""
    with _locked(root, fcntl.LOCK_EX):
        yield


@contextmanager
def in_turn(root: Path, what: str) -> Iterator[None]:
    """Within, no other thread or process of this host is in turn for the same thing: who comes second finds what the first has stored."""
    folder = root / "turns"
    with disk_errors("taking turns", root):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / hashlib.sha256(what.encode()).hexdigest()[:2], os.O_RDWR | os.O_CREAT, 0o666)  # never more than 256 files
    with _holding(handle, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(root: Path, kind: int) -> Iterator[None]:
    try:
        handle = os.open(root, os.O_RDONLY)
    except OSError:  # no folder yet: then nothing is tidied there either
        yield
        return
    with _holding(handle, kind):
        yield


@contextmanager
def _holding(handle: int, kind: int) -> Iterator[None]:
    try:
        fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)
