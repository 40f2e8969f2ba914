"""One process or several that train as one: who takes part, what they share, on what device. torch.distributed: gloo on CPUs, NCCL on GPUs."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from infra.errors import InputError
from infra.scratch import new_scratch_name


@dataclass(frozen=True)
class Machine:
    """What a run may use. num_threads: of each process, for torch; None leaves it as it is."""

    device: str = "auto"  # cpu, cuda, or auto: cuda where there is one
    num_processes: int = 1
    num_threads: int | None = None
    num_loaders: int = 1  # threads that make batches

    @property
    def kind(self) -> str:
        """cpu or cuda. Raises InputError for a GPU that is not there."""
        kind = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        if kind not in ("cpu", "cuda"):
            raise InputError(f"There is no device {kind!r}; use cpu, cuda or auto.")
        if kind == "cuda" and not torch.cuda.is_available():
            raise InputError("There is no CUDA device here. Use cpu.")
        return kind

    def describe(self) -> str:
        """For people and for the model card."""
        name = torch.cuda.get_device_name() if self.kind == "cuda" else str(torch.cpu.get_capabilities().get("cpu_name", "CPU"))
        return f"{self.num_processes} x {name}" if self.num_processes > 1 else name


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def share_of(self, num_slices: int) -> range:
        """The slices of a step that are this process's."""
        return range(self.rank, num_slices, self.size)

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes."""
        return DistributedDataParallel(module, broadcast_buffers=False) if self.size > 1 else module

    def without_exchange(self, module: nn.Module) -> AbstractContextManager:
        """Gradients add up here and are not averaged yet."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, mean in zip(tensors, (flat / self.size).split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def agreed(self, value: float) -> float:
        """The leader's value."""
        if self.size == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(box, 0)
        return float(box)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """bf16 where it was asked for, or where the processor multiplies it in hardware."""
    wanted = precision == "bf16" or (precision == "auto" and _has_fast_bf16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def launch(machine: Machine, work: Callable[[World], None], folder: Path) -> None:
    """Do the work in as many processes as the machine says and come back when all are done. `work` must be picklable if there are several.

    Several processes meet through a file in `folder`.
    """
    if machine.num_processes == 1:
        _with_threads(machine)
        work(World(0, 1, torch.device(machine.kind)))
    else:
        meeting = folder.absolute() / new_scratch_name()
        try:
            spawn(_take_part, (machine, work, meeting), machine.num_processes)
        finally:
            meeting.unlink(missing_ok=True)


def _take_part(rank: int, machine: Machine, work: Callable[[World], None], meeting: Path) -> None:
    _with_threads(machine)
    backend = "nccl" if machine.kind == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=machine.num_processes)
    try:
        device = torch.device("cuda", rank % torch.cuda.device_count()) if machine.kind == "cuda" else torch.device("cpu")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        work(World(rank, machine.num_processes, device))
    finally:
        distributed.destroy_process_group()


def _with_threads(machine: Machine) -> None:
    if machine.num_threads is not None:
        torch.set_num_threads(machine.num_threads)
