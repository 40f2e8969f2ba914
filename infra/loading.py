"""Loading of modules without a search for garbage among them, which took a fifth of a command's start; and of those that it does not wait for."""

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager

LATE_MODULES = ("librosa.filters", "librosa.core.spectrum", "pandas", "pyarrow.parquet")  # a third of the seconds that all modules take


def load_late_modules() -> None:
    """Load what dubflow imports where it is used, so that it is there when it is: for a thread beside one that has work already."""
    for name in LATE_MODULES:
        importlib.import_module(name)


@contextmanager
def loading_modules() -> Iterator[None]:
    """For imports only: nothing is collected within, and what was there at the end, some 350,000 objects, is never looked through again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
