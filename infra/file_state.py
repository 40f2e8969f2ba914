"""Whether a file still holds the bytes that were read: by what the file system tells of it, and by its bytes only where that has changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.sources import pinned_object

_read_again: dict[tuple[str, str], str] = {}  # (path, state) -> digest: a file that was only touched is read once, not at every look


def state_of(path: str | Path) -> str:
    """Differs whenever the file was written, replaced or moved; empty where there is no file. Of an object in a bucket (infra.sources) it is the
    version: reading it never gives another one's bytes."""
    pinned = pinned_object(path)
    if pinned is not None:
        return pinned.version
    try:
        status = Path(path).stat()
    except OSError:
        return ""
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def refuse_changed(path: str | Path, sha256: str, state: str) -> None:
    """Raises InputError when the file has not these bytes any more. state: as state_of() gave it before the bytes were hashed."""
    now = state_of(path)
    if now == state:
        return
    key = (str(path), now)
    try:
        if now and key not in _read_again:
            _read_again[key] = sha256_of_file(Path(path))
    except FileNotFoundError:
        now = ""
    if not now or _read_again[key] != sha256:
        raise changed(path)


def changed(path: object) -> InputError:
    """What to tell of an input that is another one now."""
    return InputError(f"{path} was changed or removed while it was being dubbed; nothing was published. Run the same command again when it is final.")


@contextmanager
def unchanged(path: str | Path, sha256: str, state: str) -> Iterator[None]:
    """What is done within counts only if the file has these bytes at its end, too: else InputError, also in place of an error of what was done."""
    try:
        yield
    except Exception:
        refuse_changed(path, sha256, state)
        raise
    refuse_changed(path, sha256, state)
