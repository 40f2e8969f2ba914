"""Ctrl-C and its kin: the first ends a run cleanly within a grace period, the second at once. Finished work is in the store either way."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from flows.run import progress

GRACE_S = 20.0  # for steps under way, which cannot be stopped in the middle
EXIT_CODE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_announced = threading.Event()


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Within (main thread only): the first signal is announced and raises KeyboardInterrupt, the next ends the process."""
    _announced.clear()
    seen: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            end_at_once()
        _announce()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ending_in_time(workers: AbstractContextManager) -> Iterator[None]:
    """Use `workers`; when the run is interrupted, wait for their calls under way no longer than GRACE_S, then end the process."""
    timer = threading.Timer(GRACE_S, end_at_once)
    timer.daemon = True
    try:
        with workers:
            try:
                yield
            except Exception:
                raise
            except BaseException:  # KeyboardInterrupt, Prefect's TerminationSignal
                _announce()
                timer.start()
                raise
    finally:
        timer.cancel()


def end_at_once() -> None:
    """Leave without waiting for anything. Children notice: the local server by its pipe, workers by their parent."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # a live display had hidden the cursor
    sys.stderr.write("\ndub: Stopped at once. Finished steps are kept: the same command goes on from there.\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


def _announce() -> None:
    if not _announced.is_set():
        _announced.set()
        progress.tell(progress.Said(f"Stopping: steps under way have {GRACE_S:.0f} s to finish. Ctrl-C again stops at once."))
