"""Names of scratch files that tell whose they are, and the sweep that removes what dead processes left."""

import os
import re
import shutil
import socket
import threading
import uuid
from pathlib import Path

_NAME = re.compile(r"(?P<host>[A-Za-z0-9_.-]+)~(?P<pid>[0-9]{1,10})~[0-9a-f]{32}")
_HOST = re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname()) or "host"
_lock = threading.Lock()
_swept: set[tuple[int, int, int]] = set()  # (device, inode, pid): a folder may have several names


def new_scratch_name() -> str:
    """A name nobody else has: HOST~PID~RANDOM."""
    return f"{_HOST}~{os.getpid()}~{uuid.uuid4().hex}"


def is_scratch_name(name: str) -> bool:
    """Whether new_scratch_name() made it."""
    return _NAME.fullmatch(name) is not None


def sweep_dead_scratch(folder: Path) -> None:
    """Once per process and folder: remove what processes of this host that no longer live left there. Other hosts' work stays."""
    status = folder.stat()
    this_use = (status.st_dev, status.st_ino, os.getpid())
    with _lock:
        if this_use in _swept:
            return
        _swept.add(this_use)
        for leftover in folder.iterdir():
            owner = _NAME.fullmatch(leftover.name)
            if owner and owner["host"] == _HOST and not _is_alive(int(owner["pid"])):
                _remove(leftover)


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():  # nothing of ours is there yet: an earlier process had our number (in a container it always has)
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _remove(leftover: Path) -> None:
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        leftover.unlink(missing_ok=True)
