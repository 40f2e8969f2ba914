"""How this process gets its memory: in large pages, and kept when it is freed. Every small page asked for anew costs more than filling it."""

import ctypes
import os
import sys
from pathlib import Path

from infra.settings import ask_for_large_pages, num_cpus

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # glibc's numbers, malloc.h
KEPT_BYTES = 64 << 20  # at the end of each heap
MAPPED_BYTES = 4 << 20  # blocks of this size and more are mapped for themselves, and go back when they are freed: frames of 4K, not of 720p
STEP_BYTES = 16 << 20  # that the heap grows by
FEWEST_HEAPS = 2  # else one per processor, where glibc would have eight: each keeps what was freed in it

_KERNEL_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def keep_freed_memory() -> bool:
    """For this process, until it ends. Returns whether it could be arranged; with another C library nothing is changed."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {
        _M_MMAP_THRESHOLD: MAPPED_BYTES,
        _M_TRIM_THRESHOLD: KEPT_BYTES,
        _M_TOP_PAD: STEP_BYTES,
        _M_ARENA_MAX: max(FEWEST_HEAPS, num_cpus()),
    }
    answers = [mallopt(name, value) for name, value in wanted.items()]
    return all(answers)


def give_back_freed_memory() -> None:
    """To the system, once: after work whose memory nothing later will want again in that shape."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def has_large_pages() -> bool:
    """Whether the kernel gives pages of 2 MB to who asks for them."""
    return _KERNEL_SETTING.is_file() and "[never]" not in _KERNEL_SETTING.read_text()


def start_again_in_large_pages() -> None:
    """Replace this program by itself, in large pages; the same process and words. Returns where they are not to be had, or are there."""
    if has_large_pages() and ask_for_large_pages():
        os.execv(sys.executable, sys.orig_argv)
