"""Reads numpy's files from several threads at once."""

import time
from collections.abc import Callable
from typing import TypeVar

LoadedT = TypeVar("LoadedT")
NUM_TRIES, PAUSE_S = 5, 0.01


def read_header_safely(read: Callable[[], LoadedT]) -> LoadedT:
    """What read() gives; it is called again where Python got its own threads mixed up.

    numpy reads headers with ast.literal_eval, and CPython 3.11 counts the depth of syntax trees for all threads together: two that build one at the
    same moment may get a SystemError (python/cpython issue 106905), for which no shot should lose its new lips.
    """
    for _ in range(NUM_TRIES - 1):
        try:
            return read()
        except SystemError:
            time.sleep(PAUSE_S)
    return read()
