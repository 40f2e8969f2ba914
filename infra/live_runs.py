"""Who is at work on a store: a small mark per run, kept fresh while the run lives, so that nothing it uses is tidied away."""

import json
import logging
import os
import re
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.errors import DubflowError
from infra.storage import Storage

logger = logging.getLogger(__name__)
HEARTBEAT_S = 60.0
DEAD_AFTER_S = 30 * 60.0  # a mark that nobody freshened for so long is nobody's
STOPPED_AFTER_S = 7 * 24 * 3600.0  # a process that was stopped (a laptop asleep) is waited for this long
_FOLDER = "live/"
_HOST = re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname()) or "host"


@dataclass(frozen=True)
class LiveRun:
    """One run at work. started_s: Unix time by the store's clock, a little early rather than late."""

    host: str
    pid: int
    started_s: float


@contextmanager
def at_work(*stores: Storage) -> Iterator[None]:
    """Within, these stores know of a live run. Raises what the stores raise when the marks cannot be made; later trouble with them is only logged."""
    run, key = LiveRun(_HOST, os.getpid(), time.time()), f"{_FOLDER}{_HOST}-{os.getpid()}-{uuid.uuid4().hex}.json"
    ended = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "mark.json"
        mark.write_text(json.dumps(asdict(run)))
        for store in stores:
            store.put(mark, key)
        thread = threading.Thread(target=_freshen, args=(stores, mark, key, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            for store in stores:
                _tried(lambda store=store: store.delete(key))


def live_runs(store: Storage) -> list[LiveRun]:
    """The runs at work on a store now, as far as their marks tell. A mark that cannot be read counts as a run that began when it was made."""
    found = []
    for mark in store.walk(_FOLDER):
        age_s = time.time() - mark.modified_s
        try:
            run = LiveRun(**json.loads(store.read_bytes(mark.key)))
        except (DubflowError, ValueError, TypeError):
            run = LiveRun("unknown", 0, mark.modified_s)
        here_and_alive = run.host == _HOST and _is_alive(run.pid)
        if age_s < DEAD_AFTER_S or (here_and_alive and age_s < STOPPED_AFTER_S):
            found.append(run)
    return found


def _freshen(stores: tuple[Storage, ...], mark: Path, key: str, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_S):
        for store in stores:
            _tried(lambda store=store: store.put(mark, key))


def _tried(action) -> None:
    try:
        action()
    except DubflowError as error:
        logger.warning("the mark of a live run: %s", error)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0
