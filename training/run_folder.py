"""A training run on disk: what it is (run.json), its rows (log.jsonl) and its last states, each whole or not there."""

import fcntl
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from infra.durable import disk_errors, publish, sha256_of_file, sync_file, write_synced
from infra.errors import InputError
from infra.scratch import new_scratch_name, sweep_dead_scratch

logger = logging.getLogger(__name__)

NUM_KEPT = 2  # states: the last one and the one before
_STATE = re.compile(r"state-(?P<step>[0-9]{8})-(?P<digest>[0-9a-f]{16})[.]safetensors")
_FACTS = "facts"  # entry of the safetensors header


@dataclass(frozen=True)
class Saved:
    """Everything a run needs to go on after `step` steps as if nothing had happened."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. States carry step and digest in their names: one that was cut short is known, and the one before it is used."""

    path: Path

    @property
    def log_path(self) -> Path:
        return self.path / "log.jsonl"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else trains here meanwhile. Raises InputError if somebody does, or if the folder cannot be made."""
        with disk_errors("opening the run", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "a")  # noqa: SIM115 - held open: that is the lock
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"Another training is running in {self.path}. Wait for it, or choose another folder.") from None
            sweep_dead_scratch(self.path)
            yield

    def claim(self, identity: dict) -> None:
        """Write down what is trained here, or see that it is what was trained here before. Raises InputError, naming what differs, if it is not."""
        record = self.path / "run.json"
        if not record.is_file():
            self._write(record, json.dumps(identity, indent=1, ensure_ascii=False).encode())
            return
        try:
            before = json.loads(record.read_bytes())
        except ValueError as error:
            raise InputError(f"{record} is damaged ({error}). Train into another folder.") from error
        differences = list(_differences(before, json.loads(json.dumps(identity))))
        if differences:
            raise InputError(
                f"{self.path} holds another training: {'; '.join(differences[:6])}. Choose another folder, or repeat what was asked before."
            )

    def save(self, step: int, tensors: dict[str, Tensor], facts: dict) -> None:
        """Keep this state and the one before. Raises TransientError when the disk is full: what was saved before is untouched."""
        data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, {_FACTS: json.dumps(facts)})
        if self.log_path.is_file():
            sync_file(self.log_path)
        self._write(self.path / f"state-{step:08d}-{sha256(data).hexdigest()[:16]}.safetensors", data)
        for _, path in self._states()[NUM_KEPT:]:
            path.unlink(missing_ok=True)

    def load(self) -> Saved | None:
        """The last state that is whole; None where there is none."""
        for step, path in self._states():
            if sha256_of_file(path)[:16] != _STATE.fullmatch(path.name)["digest"]:  # type: ignore[index]
                logger.warning("%s is damaged, perhaps cut short: the state before it is used", path)
                continue
            with safetensors.safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()[_FACTS])
                return Saved(step, {name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118 - not a dict
        return None

    def add_row(self, row: dict) -> None:
        """One line of the log."""
        with disk_errors("writing the log", self.path), self.log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict]:
        """All whole lines of the log."""
        if not self.log_path.is_file():
            return []
        return [row for row in map(_parsed, self.log_path.read_text(encoding="utf-8").splitlines()) if row is not None]

    def rewind(self, step: int) -> None:
        """Forget the rows and (damaged) states after `step`: they will be written again."""
        for saved_step, path in self._states():
            if saved_step > step:
                path.unlink()
        rows = [row for row in self.rows() if row["step"] <= step]
        self._write(self.log_path, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _states(self) -> list[tuple[int, Path]]:
        """Newest first."""
        found = [(int(match["step"]), path) for path in self.path.iterdir() if (match := _STATE.fullmatch(path.name))]
        return sorted(found, reverse=True)

    def _write(self, target: Path, data: bytes) -> None:
        temporary = self.path / new_scratch_name()
        with disk_errors("saving the run", self.path):
            try:
                write_synced(temporary, data)
                publish(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)


def _parsed(line: str) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:  # the last line of a process that was killed while writing it
        return None


def _differences(before: object, now: object, where: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
    elif before != now:
        yield f"{where} was {_short(before)}, now {_short(now)}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
