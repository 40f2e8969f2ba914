"""Steps for tests of the task runners, to be found by worker processes: they tell where they run, or kill the process they run in."""

import gc
import logging
import os
import signal
import time
from pathlib import Path

import torch

from infra.settings import get_settings


def tell_about_worker(logger_name: str) -> dict[str, str | int]:
    """What the process it runs in knows."""
    from prefect.settings import PREFECT_API_URL

    logging.getLogger(logger_name).info("a worker writes here")
    num_threads, work_folder = torch.get_num_threads(), str(get_settings().work_folder)
    api = str(PREFECT_API_URL.value())
    return {
        "pid": os.getpid(),
        "num_threads": num_threads,
        "api": api,
        "work_folder": work_folder,
        "niceness": os.nice(0),
        "num_aside": gc.get_freeze_count(),
    }


def die(notes: Path, name: str, num_deaths: int, after: str = "") -> str:
    """Note that it ran; its first `num_deaths` runs end with the process, as when the kernel takes its memory back. Gives its name.

    after: name of a call that must have begun before this one dies; else its own death might come while it runs alone.
    """
    for _ in range(600):
        if not after or list(notes.glob(f"{after}-*")):
            break
        time.sleep(0.1)
    (notes / f"{name}-{os.getpid()}").touch()
    if len(list(notes.glob(f"{name}-*"))) <= num_deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return name
