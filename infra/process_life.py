"""Which process of which machine this is, and whether another one of this very machine still lives. Linux only; elsewhere nothing is claimed."""

import os
from pathlib import Path
from typing import Literal

_PROC = Path("/proc")
_GONE = ("Z", "X")  # states of a process that has ended and is not yet taken away
_HELD_UP = ("T", "t")  # stopped by a signal or a debugger


def identity(pid: int | None = None) -> str:
    """A name that no other process ever had: boot, process namespace, number, start time. Empty where it cannot be told."""
    pid = os.getpid() if pid is None else pid
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')} {pid} {_facts(pid)[1]}"
    except (OSError, IndexError):
        return ""


def fate(name: str) -> Literal["runs", "stopped", "gone", "unknown"]:
    """What became of the process with this identity; unknown for one of another machine or container."""
    here, there = identity().rsplit(" ", 2), name.rsplit(" ", 2)
    if len(here) != 3 or len(there) != 3 or here[0] != there[0] or not there[1].isdecimal():
        return "unknown"
    try:
        state, start = _facts(int(there[1]))
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    except (OSError, IndexError):
        return "unknown"
    if start != there[2] or state in _GONE:
        return "gone"
    return "stopped" if state in _HELD_UP else "runs"


def _facts(pid: int) -> tuple[str, str]:
    """(state, start time in ticks since boot)"""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]
