"""Using a store and tidying it exclude each other: what has just been looked up is not removed under its finder's hands."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
def _locked(root: Path, kind: int) -> Iterator[None]:
    try:
        handle = os.open(root, os.O_RDONLY)
    except OSError:  # no folder yet: then nothing is tidied there either
        yield
        return
    try:
        fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)
