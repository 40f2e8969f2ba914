"""One at a time: who publishes an episode holds its turn, so that films, report and manifest of two runs never mix."""

import json
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from flows import progress
from infra.errors import DubflowError
from infra.storage import Storage

logger = logging.getLogger(__name__)
ABANDONED_S = 900.0  # a turn that stays the same for so long is nobody's: its run was killed
POLL_S = 1.0


@contextmanager
def publishing_turn(storage: Storage, episode_id: str, abandoned_s: float = ABANDONED_S) -> Iterator[None]:
    """Within, nobody else publishes this episode. Waits for whoever does, and takes over from a run that died."""
    key = f"{episode_id}/publishing.json"
    mine = json.dumps({"id": uuid4().hex, "at": datetime.now(UTC).isoformat(timespec="seconds")}).encode()
    with tempfile.TemporaryDirectory() as folder:
        claim = Path(folder) / "claim.json"
        claim.write_bytes(mine)
        seen, since = b"", time.monotonic()
        while not storage.put_if_absent(claim, key):
            now = _read(storage, key)
            if now != seen:
                if not seen:
                    progress.tell(progress.Said(f"somebody else publishes {episode_id} at this moment; waiting"))
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > abandoned_s:
                logger.warning("the turn to publish %s was left behind: %s", episode_id, seen.decode(errors="replace"))
                storage.delete(key)
            time.sleep(POLL_S)
    try:
        yield
    finally:
        if _read(storage, key) == mine:
            storage.delete(key)


def _read(storage: Storage, key: str) -> bytes:
    try:
        return storage.read_bytes(key)
    except DubflowError:
        return b""  # given back between two looks
