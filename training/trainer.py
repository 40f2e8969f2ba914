"""The loop: steps of slices, saved and resumed to the step. What is learnt is the task's business."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from infra.errors import OurTroubleError
from training.processes import Machine, World, autocast
from training.recipes import Schedule
from training.run_folder import RunFolder, Saved
from training.slice_norm import SliceNorm

Batch = dict[str, Tensor]
STEADY = "steady"  # a parameter group with this entry keeps its rate
NUM_AHEAD = 2  # batches made in advance, per loader


class DivergedError(OurTroubleError):
    """The loss or a gradient is no longer a number: the data or the recipe is at fault."""


@dataclass(frozen=True)
class Moment:
    """Where in the run a batch is used. progress: 0 at the start, 1 at the end; seed: for chance inside the objective."""

    step: int
    progress: float
    is_logged: bool
    seed: tuple[int, ...]


@dataclass
class Part:
    """A network in training: objective(batch, moment) -> (loss, figures); the batch may be added to for the parts after it."""

    name: str
    objective: nn.Module
    optimiser: torch.optim.Optimizer


class Task(Protocol):
    """What is learnt. parts[0] trains `model`, which is averaged over the steps and handed over in the end."""

    model: nn.Module
    parts: list[Part]

    def batch(self, step: int, slice_index: int) -> Batch: ...
    def validate(self, average: nn.Module, moment: Moment) -> dict: ...


class Trainer:
    """Runs a task to its end, from its last saved state if there is one. Equal in every process count that divides num_slices."""

    def __init__(self, task: Task, schedule: Schedule, run: RunFolder, world: World, machine: Machine, watch: Callable[[dict], None]) -> None:
        self.task, self.schedule, self.run, self.world, self.machine, self.watch = task, schedule, run, world, machine, watch
        for part in task.parts:
            part.objective.to(world.device)
            for group in part.optimiser.param_groups:
                group["initial_lr"] = group["lr"]
        self.average = torch.optim.swa_utils.AveragedModel(
            task.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(schedule.ema_decay), use_buffers=True
        )
        self.norm = SliceNorm(task.model)
        self.step, self.seconds_before, self.started = 0, 0.0, time.monotonic()

    def train(self) -> nn.Module:
        """The averaged model, in eval mode. Raises DivergedError, TransientError (disk full); what is saved stays good."""
        saved = self.run.load()
        if saved is not None:
            self._restore(saved)
        self.world.agreed(0)  # all have read before the leader tidies up
        if self.world.leads:
            self.run.rewind(self.step)
        self.wrapped = [self.world.wrapped(part.objective) for part in self.task.parts]
        self.started = time.monotonic()
        last_saved = self.step
        with ThreadPoolExecutor(self.machine.num_loaders, "loader") as pool:
            for batches in self._batches(pool):
                progress = self._progress()
                if progress >= 1 and self.step > 0:
                    break
                self._learn(batches, progress)
                if self.step % self.schedule.save_every == 0 and self.step < self.schedule.num_steps:
                    self._save()
                    last_saved = self.step
        if last_saved != self.step or saved is None:
            self._save()
        return self.average.module.eval()

    def _batches(self, pool: ThreadPoolExecutor) -> Iterator[list[Batch]]:
        """The slices of each step that are this process's, made ahead by the pool's threads."""
        share = self.world.share_of(self.schedule.num_slices)
        ahead, coming = deque(), self.step
        try:
            while self.step < self.schedule.num_steps:
                while coming < min(self.schedule.num_steps, self.step + 1 + NUM_AHEAD * self.machine.num_loaders):
                    ahead.append([pool.submit(self.task.batch, coming, index) for index in share])
                    coming += 1
                yield [{name: tensor.to(self.world.device) for name, tensor in future.result().items()} for future in ahead.popleft()]
        finally:
            for future in (future for futures in ahead for future in futures):
                future.cancel()

    def _progress(self) -> float:
        by_steps = self.step / self.schedule.num_steps
        if self.schedule.max_minutes is None:
            return by_steps
        return self.world.agreed(max(by_steps, self.seconds() / 60 / self.schedule.max_minutes))

    def seconds(self) -> float:
        """Spent on this run, over all its sittings."""
        return self.seconds_before + time.monotonic() - self.started

    def _learn(self, batches: list[Batch], progress: float) -> None:
        is_last = self.step + 1 == self.schedule.num_steps
        is_logged = (self.step + 1) % self.schedule.log_every == 0 or is_last
        figures: dict[str, float] = {}
        rate = self._rate(progress)
        for index, part in enumerate(self.task.parts):
            figures |= self._learn_part(index, part, batches, progress, is_logged)
        self.average.update_parameters(self.task.model)
        self.step += 1
        row: dict = {"step": self.step, "progress": round(progress, 6), **figures, "rate": rate}
        is_evaluated = self.step % self.schedule.evaluate_every == 0 or is_last
        if is_evaluated and self.world.leads:
            row |= self._validated(progress)
        if (is_logged or is_evaluated) and self.world.leads:
            self.run.add_row(row)
            self.watch(row | {"seconds": self.seconds()})

    def _learn_part(self, index: int, part: Part, batches: list[Batch], progress: float, is_logged: bool) -> dict[str, float]:
        share = self.world.share_of(self.schedule.num_slices)
        part.objective.train()
        part.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        if index == 0:
            self.norm.begin()
        for batch, slice_index in zip(batches, share, strict=True):
            moment = Moment(self.step, progress, is_logged, (self.schedule.seed, self.step, slice_index, index))
            torch.manual_seed(_seed_of(moment.seed))
            with self.world.without_exchange(self.wrapped[index]) if slice_index != share[-1] else nullcontext():
                with autocast(self.world.device, self.schedule.precision):
                    loss, figures = self.wrapped[index](batch, moment)
                (loss / len(share)).backward()
            for name, value in figures.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.world.device)) + value.detach().float() / len(share)
            if index == 0:
                self.norm.slice_done()
        if index == 0:
            self.norm.end(self.world)
        self.world.average(list(sums.values()))
        self._move(part, sums, progress)
        return {name: value.item() for name, value in sums.items()}

    def _move(self, part: Part, figures: dict[str, Tensor], progress: float) -> None:
        parameters = [parameter for parameter in part.objective.parameters() if parameter.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.schedule.max_gradient)
        broken = [name for name, value in figures.items() if not value.isfinite()]
        if broken or not norm.isfinite():
            what = f"{', '.join(broken)} of the {part.name}" if broken else f"the gradient of the {part.name}"
            raise DivergedError(
                f"Training failed at step {self.step + 1}: {what} is no longer a number. Look at the clips, or lower the learning rate."
            )
        for group in part.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * (1 if group.get(STEADY) else self._rate(progress))
        part.optimiser.step()

    def _rate(self, progress: float) -> float:
        """Share of the learning rate: up over the first steps, then down a cosine."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return min(1.0, (self.step + 1) / max(1, self.schedule.num_warmup_steps)) * max(self.schedule.final_rate, cosine)

    def _validated(self, progress: float) -> dict:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), autocast(self.world.device, self.schedule.precision):
            moment = Moment(self.step, progress, True, (self.schedule.seed,))
            return self.task.validate(self.average.module.eval(), moment)

    def _save(self) -> None:
        if not self.world.leads:
            return
        tensors = {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for part in self.task.parts:
            tensors |= {f"{part.name}.objective.{name}": tensor for name, tensor in part.objective.state_dict().items()}
            for index, state in part.optimiser.state_dict()["state"].items():
                tensors |= {f"{part.name}.optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        self.run.save(self.step, tensors, {"seconds": self.seconds()})

    def _restore(self, saved: Saved) -> None:
        self.average.load_state_dict(_under("average.", saved.tensors))
        for part in self.task.parts:
            part.objective.load_state_dict(_under(f"{part.name}.objective.", saved.tensors))
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _under(f"{part.name}.optimiser.", saved.tensors).items():
                index, _, entry = name.partition(".")
                state.setdefault(int(index), {})[entry] = tensor
            part.optimiser.load_state_dict({"state": state, "param_groups": part.optimiser.state_dict()["param_groups"]})
        self.step, self.seconds_before = saved.step, saved.facts["seconds"]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _seed_of(numbers: tuple[int, ...]) -> int:
    """One seed for torch out of several numbers, well mixed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, "uint64")[0] >> 1)
