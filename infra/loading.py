"""Loading of modules without a search for garbage among them: it took about a fifth of the processor seconds in which a command starts."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
