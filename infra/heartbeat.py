"""Keeps a lease alive from a thread beside the work, and says when it was lost."""

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra.errors import DubflowError
from infra.lease import Lease, LostLeaseError

logger = logging.getLogger(__name__)
BEATS_PER_LIFE = 4
JOIN_S = 10.0  # a beat under way may wait long for a store that does not answer; the end of a run does not


class Heartbeat:
    """A lease that is kept. `raise_if_lost` costs nothing: it asks no storage."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.lost: LostLeaseError | None = None

    def raise_if_lost(self) -> None:
        """Raises LostLeaseError once a heartbeat has found the lease in other hands."""
        if self.lost is not None:
            raise LostLeaseError(str(self.lost))


@contextmanager
def beating(heart: Heartbeat, on_trouble: Callable[[Exception], None]) -> Iterator[None]:
    """Within, the lease is renewed four times in its life. on_trouble: hears of the first heartbeat in a row that the storage did not take."""
    lease, ended = heart.lease, threading.Event()

    def beat() -> None:
        is_told = False
        while not ended.wait(lease.ttl_s / BEATS_PER_LIFE):
            try:
                lease.renew()
                is_told = False
            except LostLeaseError as error:
                heart.lost = error
                logger.error("%s", error)
                return
            except (DubflowError, OSError) as error:
                logger.warning("no heartbeat: %s", error)
                if not is_told:
                    on_trouble(error)
                is_told = True

    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(beat), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(JOIN_S)
