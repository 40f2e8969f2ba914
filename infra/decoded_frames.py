"""Counts the pictures that this process decodes, by file: what a run reads more often than it must is seen here."""

import threading
from collections import Counter

_counts: Counter[str] = Counter()
_lock = threading.Lock()


def add(path: str, num_frames: int) -> None:
    with _lock:
        _counts[path] += num_frames


def counts() -> dict[str, int]:
    """Frames decoded since the process began, by path; also those decoded on the way to the first one wanted."""
    with _lock:
        return dict(_counts)
