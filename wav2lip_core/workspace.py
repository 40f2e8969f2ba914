"""Arrays that are used again and again: work on every frame need not ask the system for memory, whose pages cost more than the sums done in them."""

import math
import threading

import numpy as np


class Workspace(threading.local):
    """Float32 arrays by name, each thread its own; memory is that of the largest asked for so far."""

    def __init__(self) -> None:
        self._flat: dict[str, np.ndarray] = {}

    def take(self, name: str, *shape: int) -> np.ndarray:
        """A contiguous float32 array of this shape. What it holds means nothing, and it is good until the thread asks for this name again."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size:
            flat = self._flat[name] = np.empty(size, np.float32)
        return flat[:size].reshape(shape)
