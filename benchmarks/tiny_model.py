"""The model `tiny`, for benchmarks of everything but the networks: a small generator and expert of random numbers."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.model_shelf import import_model
from tests.small_film import make_random_weights

TINY = "tiny"


@contextmanager
def on_the_shelf(model: str) -> Iterator[None]:
    """Within, runs that are started find `tiny` on a shelf of its own; for every other model nothing is done."""
    if model != TINY:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="dubflow-tiny-") as folder:
        for weights in make_random_weights(Path(folder) / "weights", TINY):
            import_model(Path(folder) / "models", weights)
        os.environ["DUBFLOW_MODELS_FOLDER"] = f"{folder}/models"  # of the processes that are started from now on
        try:
            yield
        finally:
            del os.environ["DUBFLOW_MODELS_FOLDER"]
