"""Memory that was freed is kept for the next frame: glibc would hand it back to the system, and every page asked for anew costs more than filling it."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # glibc's numbers, malloc.h
KEPT_BYTES = 1 << 30  # at the end of the heap
MAPPED_BYTES = 256 << 20  # blocks of this size and more are mapped for themselves, and go back when they are freed
STEP_BYTES = 16 << 20  # that the heap grows by


def keep_freed_memory() -> bool:
    """For this process, until it ends. Returns whether it could be arranged; with another C library nothing is changed."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    answers = [mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES), mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES), mallopt(_M_TOP_PAD, STEP_BYTES)]
    return all(answers)
