"""The shelf that production is served from: models by digest in a folder or on S3, and the one pointer that says which of them are in use.

A swap takes the next number in history/ (a write that succeeds once) and then moves production.json on, if it is still what was read. Folders and
Amazon S3 decide both races. OpenStack Swift looks at If-None-Match when a write begins, not when it ends, and ignores If-Match: there the number's
owner waits SETTLE_S and reads back who has it; two that begin within that time of each other, and take longer to write one small file, could still
both believe to have won, and the later one has.
"""

import hashlib
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.errors import InputError, OurTroubleError, TransientError
from infra.storage import Storage
from tasks.production import POINTER, ROLE_KINDS, ModelRef, Production, Role, current_production, history_key
from wav2lip_core.checkpoint import CheckpointError, describe

logger = logging.getLogger(__name__)
SETTLE_S = 1.0
_MAX_TRIES = 5


class ProductionMovedError(OurTroubleError):
    """Somebody else has changed production since it was read; nothing was written."""


@dataclass(frozen=True)
class Registry:
    """Models and their history under one storage. Nothing is ever overwritten but production.json, and nothing removed."""

    storage: Storage

    def register(self, weights: Path) -> ModelRef:
        """Copy weights and card in under their digest, once it is sure that they fit one of our networks. Raises InputError when they do not."""
        try:
            facts = describe(weights)
        except CheckpointError as error:
            raise InputError(str(error)) from error
        card = weights.with_suffix(".json")
        if facts.card is None or not card.is_file():
            raise InputError(f"{weights} has no card; a model without one is not registered. dubflow's own training writes it beside the weights.")
        model = ModelRef(name=facts.card.name, kind=facts.kind, sha256=facts.sha256, num_bytes=facts.num_bytes)
        self.storage.put_if_absent(card, model.card_key)  # people may have completed an earlier card: that one stays
        if not self.storage.put_if_absent(weights, model.weights_key):
            raise OurTroubleError(f"{self.storage.describe(model.weights_key)} holds other bytes than its name says. Remove it and try again.")
        return model

    def promote(self, models: Mapping[Role, ModelRef], expected: Production | None, *, reason: str, by: str, record: str | None = None) -> Production:
        """Put these models into production beside the others that are there. Raises ProductionMovedError if `expected` no longer holds."""
        for role, model in models.items():
            if model.kind != ROLE_KINDS[role]:
                raise InputError(f"{model.name} is a {model.kind}; production needs a {ROLE_KINDS[role]} as its {role}.")
        kept = expected.models if expected else {}
        return self._swap(expected, models={**kept, **models}, action="promote", reason=reason, by=by, record=record)

    def rollback(self, *, reason: str, by: str, to: int | None = None) -> Production:
        """Put an earlier generation's models back: the one before, or `to`. It is a new generation: history only grows."""
        now = current_production(self.storage)
        if now is None:
            raise InputError(f"Nothing is in production in {self.storage.describe(POINTER)}, so there is nothing to go back from.")
        past = {generation.generation: generation for generation in self.history()}
        target = to if to is not None else _before(past, now)
        if target not in past or past[target].models == now.models:
            known = ", ".join(str(number) for number, entry in sorted(past.items()) if entry.models != now.models)
            raise InputError(f"Production cannot go back{f' to {to}' if to else ''}: generations with other models are: {known or 'none'}.")
        return self._swap(now, models=past[target].models, action="rollback", restores=target, reason=reason, by=by)

    def history(self) -> list[Production]:
        """Every generation, oldest first. Raises OurTroubleError where one was altered: each names the digest of the one before."""
        entries: list[Production] = []
        previous: str | None = None
        now = current_production(self.storage)
        for generation in range(1, now.generation + 1 if now else 1):
            data = self.storage.read_bytes(history_key(generation))
            entry = Production.model_validate_json(data)
            if entry.generation != generation or entry.previous_sha256 != previous:
                raise OurTroubleError(f"{self.storage.describe(history_key(generation))} or the one before it was altered after it was written.")
            previous = hashlib.sha256(data).hexdigest()
            entries.append(entry)
        return entries

    def put_bytes(self, data: bytes, key: str) -> bool:
        """Write a small file unless something else is there; True if the key now holds these bytes."""
        with file_of(data) as path:
            return self.storage.put_if_absent(path, key)

    def _swap(self, expected: Production | None, **fields) -> Production:
        now = current_production(self.storage)
        if now != expected:
            raise ProductionMovedError(_moved(expected, now))
        previous = None
        if now is not None:
            previous = hashlib.sha256(self.storage.read_bytes(history_key(now.generation))).hexdigest()
            self._point_to(now)  # what a writer left undone that died in between
        new = Production(generation=now.generation + 1 if now else 1, at=datetime.now(UTC), previous_sha256=previous, **fields)
        if not self._take_number(new):
            raise ProductionMovedError(_moved(expected, current_production(self.storage)))
        self._point_to(new)
        logger.info("production is generation %d: %s", new.generation, new.reason)
        return new

    def _take_number(self, new: Production) -> bool:
        key, data = history_key(new.generation), new.as_bytes()
        if not self.put_bytes(data, key):
            return False
        if self.storage.decides_races():
            return True
        time.sleep(SETTLE_S)
        return self.storage.read_bytes(key) == data

    def _point_to(self, generation: Production) -> None:
        """Move production.json on to this generation, never back."""
        with file_of(generation.as_bytes()) as path:
            for _ in range(_MAX_TRIES):
                data = self.storage.read_bytes(POINTER) if self.storage.exists(POINTER) else None
                if data is not None and Production.model_validate_json(data).generation >= generation.generation:
                    return
                if data is None:
                    self.storage.put_if_absent(path, POINTER)
                else:
                    self.storage.put_if_same(path, POINTER, hashlib.sha256(data).hexdigest())
        raise TransientError(f"{self.storage.describe(POINTER)} is being changed by others all the time. The new generation is in history and holds.")


def _before(past: Mapping[int, Production], now: Production) -> int:
    """The generation to go back to; 0 where there is none. Going back twice goes back two steps, not to and fro."""
    target = _effective(past, now.generation) - 1
    while target in past and past[target].models == now.models:
        target = _effective(past, target) - 1
    return target


def _effective(past: Mapping[int, Production], generation: int) -> int:
    while (restored := past[generation].restores) is not None:
        generation = restored
    return generation


def _moved(expected: Production | None, now: Production | None) -> str:
    before, after = (f"generation {entry.generation}" if entry else "nothing" for entry in (expected, now))
    return f"Production was {before} when this began and is {after} now. What was measured against the former says nothing about the latter."


@contextmanager
def file_of(data: bytes) -> Iterator[Path]:
    """A temporary file with these bytes."""
    with tempfile.TemporaryDirectory(prefix="dubflow-") as folder:
        path = Path(folder) / "file.json"
        path.write_bytes(data)
        yield path
