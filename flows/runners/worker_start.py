"""What a worker process does first, whichever task runner started it; and what every process does once before its first step."""

import gc
import os
import signal
import threading
import time
from dataclasses import dataclass
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

from flows.run.log_file import continue_log

LAST = -100  # of multiprocessing's priorities: after its own queues are flushed


@dataclass(frozen=True)
class WorkerStart:
    """What a worker is told. Calling it, in the worker, settles it in: its share of the processors, the run's log, and an end with its parent.

    `parent_pid` is None where the task runner itself sees to the end of its workers.
    """

    num_threads: int  # of one network call
    log: Path | None
    parent_pid: int | None

    def __call__(self) -> None:
        import torch

        torch.set_num_threads(self.num_threads)
        set_modules_aside()
        if self.log is not None:
            continue_log(self.log)
        if self.parent_pid is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the parent's business
            Finalize(None, os._exit, args=(0,), exitpriority=LAST)  # all is told by then; Prefect's threads would hold the process for seconds
            threading.Thread(target=_end_with, args=(self.parent_pid,), daemon=True).start()


@cache
def set_modules_aside() -> None:
    """Once for each process: what is loaded by now, some 350,000 objects, is there to stay. Looking through it for garbage took a fifth of a call."""
    gc.collect()
    gc.freeze()


def _end_with(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(1)
    os._exit(1)
