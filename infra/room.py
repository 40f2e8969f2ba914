"""Room in memory for work that goes on side by side in this process: what does not fit beside the rest waits, and what fits nowhere goes alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """So many bytes, shared by the threads of this process."""

    def __init__(self, num_bytes: int) -> None:
        self._num_bytes, self._num_taken = num_bytes, 0
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, num_bytes: int) -> Iterator[None]:
        """Hold so many bytes; waits until they are free, or until nobody holds any."""
        with self._changed:
            self._changed.wait_for(lambda: self._num_taken == 0 or self._num_taken + num_bytes <= self._num_bytes)
            self._num_taken += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._num_taken -= num_bytes
                self._changed.notify_all()
