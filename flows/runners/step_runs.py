"""One run of a step, observed: what it gave, how long it took, and what it made or found in the store."""

import functools
import inspect
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from typing import Any, Self

from flows.run import progress
from flows.runners.gpu_slot import gpu_slot
from infra.artifacts import ArtifactStore
from infra.file_state import unchanged
from tasks.types import Film

GPU_STEPS = ("sync", "judge", "retry")


@dataclass(frozen=True)
class TallyStore(ArtifactStore):
    """An artifact store that notes, for one step run, what was made and what was found."""

    tally: Counter = field(default_factory=Counter, compare=False)
    making: list[str] = field(default_factory=list, compare=False)  # what is being made now; a step may make another within
    needs_gpu: bool = False
    film: Film | None = None

    @classmethod
    def of(cls, store: ArtifactStore, step: str, film: Film | None) -> Self:
        return cls(**{each.name: getattr(store, each.name) for each in fields(ArtifactStore)}, needs_gpu=step in GPU_STEPS, film=film)

    @property
    def source(self) -> AbstractContextManager[None]:
        """Nothing is kept under the name of a film that was replaced while it was made."""
        return nullcontext() if self.film is None else unchanged(self.film.path, self.film.sha256, self.film.state)

    def get_or_make(self, step, version, inputs, record_type, make):
        made = []

        def make_and_note():
            made.append(step)
            slot = gpu_slot() if self.needs_gpu and not self.making else nullcontext()  # what is found needs none
            self.making.append(step)
            try:
                with slot, self.source:
                    return make()
            finally:
                self.making.pop()

        record = super().get_or_make(step, version, inputs, record_type, make_and_note)
        self.tally[step, "made" if made else "reused"] += 1
        return record


@dataclass(frozen=True)
class Done:
    """What one step run gave: its result, how long it took, and what it made or found in the store."""

    result: Any
    seconds: float
    tally: Counter

    @property
    def was_reused(self) -> bool:
        return bool(self.tally) and not any(kind == "made" for _, kind in self.tally)


def observed(step: Callable[..., Any], name: str) -> Callable[..., Done]:
    """The step, giving a Done; what listens in this context hears it begin."""

    @functools.wraps(step)
    def run(*args, **kwargs):
        bound = inspect.signature(step).bind(*args, **kwargs)
        store = bound.arguments.get("store")
        watched = TallyStore.of(store, name, bound.arguments.get("film")) if isinstance(store, ArtifactStore) else None
        if watched is not None:
            bound.arguments["store"] = watched
        progress.tell(progress.Began(name, progress.describe_call(bound.arguments)))
        started = time.monotonic()
        result = step(*bound.args, **bound.kwargs)
        return Done(result, time.monotonic() - started, watched.tally if watched else Counter())

    return run
