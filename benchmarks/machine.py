"""What the benchmarks share: the machine in words, and the memory of a process and everything it started."""

import os
import platform
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

SAMPLE_EVERY_S = 0.25
PROC = Path("/proc")


def describe_machine() -> dict[str, str | int | float]:
    """Processor, cores this process may use, memory, load, versions: what a figure means nothing without."""
    import numpy
    import torch

    return {
        "processor": _processor(),
        "num_cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _processor() -> str:
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


class MemoryWatch:
    """Samples a process and all its descendants until stopped. Linux only.

    peak_tree_mib: proportional set sizes (shared pages counted once) summed over the processes, the highest sum seen; peak_process_mib: the
    process's own high-water mark of resident memory, which misses no moment.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_tree_mib = self.peak_process_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            total_mib = sum(_field_mib(pid, "smaps_rollup", "Pss:") for pid in _family(self.pid))
            self.peak_tree_mib = max(self.peak_tree_mib, total_mib)
            self.peak_process_mib = max(self.peak_process_mib, _field_mib(self.pid, "status", "VmHWM:"))


def _family(pid: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    family, waiting = [], [pid]
    while waiting:
        family.append(waiting.pop())
        waiting += children.get(family[-1], [])
    return family


def _field_mib(pid: int, file: str, name: str) -> float:
    with suppress(OSError):
        for line in (PROC / str(pid) / file).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return 0.0
