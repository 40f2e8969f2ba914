"""A film in a bucket as a file: read in blocks as they are needed, each kept for a while in memory and on this disk, within bounds."""

import hashlib
import io
import logging
import os
import shutil
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.durable import disk_errors
from infra.errors import DubflowError, TransientError
from infra.scratch import is_scratch_name, new_scratch_name, sweep_dead_scratch
from infra.settings import get_settings
from infra.sources import PinnedObject

logger = logging.getLogger(__name__)
BLOCK_BYTES = 1 << 22
NUM_IN_MEMORY = 16  # blocks, for all films of a process
NUM_TRIES = 3  # a line that breaks while a block comes is not tried again by the client
LOOK_EVERY = 16  # blocks written between two looks at how much the disk holds
_DIGEST_BYTES = 32

_lock = threading.Lock()
_blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()  # (film, block) -> bytes, the least recently used first
_hashing: dict[str, "InOrder"] = {}  # films that are being read from their first byte to their last
_num_fetched: dict[str, int] = defaultdict(int)  # film -> bytes that came over the line to this process
_num_written = 0
_fetching = tuple(threading.Lock() for _ in range(16))


class RangedFile(io.RawIOBase):
    """The object, for reading: seek, tell, read. Raises InputError where it is another version by now, TransientError where the store fails."""

    def __init__(self, film: PinnedObject):
        self.film, self.name, self._at = film, film.key.rpartition("/")[2], 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.film.num_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self.film.num_bytes if size < 0 else min(self._at + size, self.film.num_bytes)
        parts = []
        while self._at < end:
            number, skip = divmod(self._at, BLOCK_BYTES)
            part = read_block(self.film, number)[skip : skip + end - self._at]
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def readinto(self, buffer) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class InOrder:
    """Takes the digest of a film while somebody reads it: blocks that come in order count, the rest is read at the end."""

    def __init__(self, film: PinnedObject):
        self.film, self._digest, self._next = film, hashlib.sha256(), 0

    def hear(self, number: int, data: bytes) -> None:
        with _lock:
            if number == self._next:
                self._digest.update(data)
                self._next += 1

    def finish(self) -> str:
        """The hex sha256 of the whole film."""
        for number in range(self._next, -(-self.film.num_bytes // BLOCK_BYTES)):
            read_block(self.film, number)
        return self._digest.hexdigest()


@contextmanager
def hashed_while_read(film: PinnedObject) -> Iterator[InOrder]:
    """Within, what this process reads of the film goes into its digest."""
    listener = _hashing[str(film)] = InOrder(film)
    try:
        yield listener
    finally:
        del _hashing[str(film)]


def num_bytes_fetched(film: PinnedObject) -> int:
    """How much of a film came over the line to this process."""
    return _num_fetched[str(film)]


def forget_blocks() -> None:
    """Empty the memory, as in a new process."""
    with _lock:
        _blocks.clear()
        _num_fetched.clear()


def read_block(film: PinnedObject, number: int) -> bytes:
    """Bytes [number, number + 1) x BLOCK_BYTES of a film: from memory, this disk, or the bucket."""
    name = str(film)
    with _fetching[number % len(_fetching)]:
        with _lock:
            data = _blocks.pop((name, number), None)
        if data is None:
            path = _folder() / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}-{number:08d}"
            data = _kept(path)
            if data is None:
                data = _fetch(film, number)
                _keep(path, data)
                with _lock:
                    _num_fetched[name] += len(data)
        with _lock:
            _blocks[name, number] = data
            while len(_blocks) > NUM_IN_MEMORY:
                _blocks.popitem(last=False)
    if name in _hashing:
        _hashing[name].hear(number, data)
    return data


def _fetch(film: PinnedObject, number: int) -> bytes:
    first = number * BLOCK_BYTES
    size = min(BLOCK_BYTES, film.num_bytes - first)
    for num_left in reversed(range(NUM_TRIES)):
        try:
            data = film.storage.read_range(film.key, first, size, film.version)
            if len(data) != size:
                raise TransientError(f"{film.uri}: {len(data)} bytes came where {size} were asked for.")
            return data
        except TransientError as error:
            if not num_left:
                raise
            logger.warning("once more: %s", error)
    raise AssertionError


def _folder() -> Path:
    return get_settings().work_folder / "film-blocks"


def _kept(path: Path) -> bytes | None:
    """A block on this disk, if it is whole; it then counts as used just now."""
    try:
        stored = path.read_bytes()
        if hashlib.sha256(stored[_DIGEST_BYTES:]).digest() != stored[:_DIGEST_BYTES]:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
    except OSError:
        return None
    return stored[_DIGEST_BYTES:]


def _keep(path: Path, data: bytes) -> None:
    """Keep a block on this disk. It only saves time: where it cannot be kept, it is read again."""
    global _num_written
    temporary = path.with_name(new_scratch_name())
    try:
        with disk_errors("keeping a piece of a film", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep_dead_scratch(path.parent)
            temporary.write_bytes(hashlib.sha256(data).digest() + data)
            os.replace(temporary, path)
    except DubflowError as error:
        logger.warning("%s", error)
        temporary.unlink(missing_ok=True)
    with _lock:
        _num_written += 1
        is_time = _num_written % LOOK_EVERY == 1
    if is_time:
        drop_old_blocks(path.parent, get_settings().film_cache_gb * 1e9)


def drop_old_blocks(folder: Path, limit_bytes: float) -> None:
    """Keep the blocks on this disk below a size, and below half of what is free: the least recently used go."""
    found = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if not is_scratch_name(path.name):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
    held = sum(size for _, size, _ in found)
    limit_bytes = min(limit_bytes, (held + shutil.disk_usage(folder).free) / 2)
    excess = held + LOOK_EVERY * BLOCK_BYTES - limit_bytes
    for _, size, path in sorted(found):
        if excess <= 0:
            break
        path.unlink(missing_ok=True)
        excess -= size
