"""Batch norm over slices: each slice is normalised by itself, and the running statistics move as if all slices of a step had been seen at once.

So one process that takes the slices one after another and several that share them end with the same numbers, on CPUs too, where
synchronised batch norm does not exist. (Known as ghost batch norm: Hoffer, Hubara, Soudry, NeurIPS 2017.)
"""

import torch
from torch import Tensor, nn

from training.processes import World


class SliceNorm:
    """The buffers of a model during one step."""

    def __init__(self, model: nn.Module) -> None:
        self._floats = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._counters = [buffer for buffer in model.buffers() if not buffer.is_floating_point()]
        self._before: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._num_slices = 0

    def begin(self) -> None:
        """Before the first slice of a step."""
        self._before = [buffer.clone() for buffer in self._floats]
        self._counts = [counter.clone() for counter in self._counters]
        self._sums = [torch.zeros_like(buffer) for buffer in self._floats]
        self._num_slices = 0

    def slice_done(self) -> None:
        """After each slice: its statistics are put aside, the next one starts where this one did."""
        for buffer, before, total in zip(self._floats, self._before, self._sums, strict=True):
            total += buffer
            buffer.copy_(before)
        self._num_slices += 1

    def end(self, world: World) -> None:
        """After the last slice: the mean over all slices of all processes."""
        for buffer, total in zip(self._floats, self._sums, strict=True):
            buffer.copy_(total / self._num_slices)
        world.average(self._floats)
        for counter, count in zip(self._counters, self._counts, strict=True):
            counter.copy_(count + 1)
