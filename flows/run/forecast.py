"""How long it will take: seconds per unit of work, learned from this machine's runs, and what is left of the present one."""

import threading
import time
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.run.progress import Began, Ended, Event, Foreseen, StageBegan, StageEnded
from infra.durable import publish, write_synced
from infra.scratch import new_scratch_name

# Seconds per unit on two slow cores, for a machine that has measured nothing yet. Units: megapixels of frames, or frames of faces.
FIRST_GUESS = {
    "inspect": 0.07,
    "original": 0.005,
    "stems": 0.005,
    "shots": 0.008,  # this and the next: of what inspecting the film has not found already
    "faces": 0.06,
    "casting": 0.01,
    "mix": 0.01,
    "who": 0.02,
    "sync": 0.06,
    "judge": 0.02,
    "check": 0.02,
    "self-test": 0.0,
    "retry": 0.0,
    "verdicts": 0.0,
    "reels": 0.08,
    "assemble": 0.006,
    "previews": 0.05,
    "report": 0.0,
    "media": 0.0,
    "publish": 0.0,
    "manifest": 0.0,
}
MEMORY_SHARE = 0.5  # what earlier runs count beside the latest


class Work(BaseModel):
    """Seconds spent on units of work."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seconds: float = 0.0
    num_units: float = 0.0


class Rates(BaseModel):
    """What each stage cost here, newest runs counting most. Kept in WORK/rates.json; a file that cannot be read counts as absent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    work: dict[str, Work] = {}

    @classmethod
    def load(cls, work_folder: Path) -> "Rates":
        try:
            return cls.model_validate_json((work_folder / "rates.json").read_bytes())
        except (OSError, ValidationError):
            return cls()

    def save(self, work_folder: Path) -> None:
        temporary = work_folder / new_scratch_name()
        write_synced(temporary, self.model_dump_json(indent=1).encode())
        publish(temporary, work_folder / "rates.json")

    def seconds_per_unit(self, stage: str) -> float:
        known = self.work.get(stage)
        return known.seconds / known.num_units if known and known.num_units > 0 else FIRST_GUESS.get(stage, 0.0)

    def is_measured(self, stage: str) -> bool:
        return stage in self.work or FIRST_GUESS.get(stage, 0.0) == 0.0

    def learn(self, stage: str, work: Iterable[Work]) -> "Rates":
        """With what a run measured; work that was found in the store must not be among it."""
        seconds, num_units = 0.0, 0.0
        for item in work:
            seconds, num_units = seconds + item.seconds, num_units + item.num_units
        if num_units <= 0:
            return self
        old = self.work.get(stage, Work())
        merged = Work(seconds=MEMORY_SHARE * old.seconds + seconds, num_units=MEMORY_SHARE * old.num_units + num_units)
        return Rates(work={**self.work, stage: merged})


class _Stage:
    def __init__(self) -> None:
        self.num_calls, self.num_units, self.num_ended, self.units_ended = 0, 0.0, 0, 0.0
        self.made = Work()
        self.running: dict[str, float] = {}  # about -> monotonic start
        self.is_over = False


class Forecast:
    """Hears a run's events and says what is left. Rates of this very run come before those of earlier ones."""

    def __init__(self, rates: Rates, num_workers: int) -> None:
        self._rates, self._num_workers = rates, num_workers
        self._stages: dict[str, _Stage] = {}
        self._lock = threading.Lock()

    def hear(self, event: Event) -> None:
        stage_name = getattr(event, "stage", None)
        if stage_name is None:
            return
        with self._lock:
            stage = self._stages.setdefault(stage_name, _Stage())
            if isinstance(event, Foreseen | StageBegan):
                stage.num_calls, stage.num_units = event.num_calls, event.num_units
            elif isinstance(event, Began):
                stage.running[event.about] = time.monotonic()
            elif isinstance(event, Ended):
                stage.running.pop(event.about, None)
                stage.num_ended, stage.units_ended = stage.num_ended + 1, stage.units_ended + event.num_units
                if not event.was_reused and not event.trouble:
                    stage.made = Work(seconds=stage.made.seconds + event.seconds, num_units=stage.made.num_units + event.num_units)
            elif isinstance(event, StageEnded):
                stage.is_over = True

    def remaining_s(self) -> tuple[float, bool] | None:
        """(seconds, whether every rate behind them was measured on this machine); None before the amount of work is known."""
        now, seconds, all_measured = time.monotonic(), 0.0, True
        with self._lock:
            if "faces" not in self._stages:
                return None
            for name, stage in self._stages.items():
                calls_left = stage.num_calls - stage.num_ended
                if stage.is_over or calls_left <= 0:
                    continue
                spent = sum(now - start for start in stage.running.values())
                left = max(0.0, (stage.num_units - stage.units_ended) * self._seconds_per_unit(name, stage) - spent)
                seconds += left / min(self._num_workers, calls_left)
                all_measured = all_measured and (stage.made.num_units > 0 or self._rates.is_measured(name))
        return seconds, all_measured

    def running(self) -> list[tuple[str, str, float]]:
        """(stage, about, seconds so far) of the calls under way, the longest first."""
        now = time.monotonic()
        with self._lock:
            calls = [(name, about, now - start) for name, stage in self._stages.items() for about, start in stage.running.items()]
        return sorted(calls, key=lambda call: -call[2])

    def _seconds_per_unit(self, name: str, stage: _Stage) -> float:
        if stage.made.num_units > 0:
            return stage.made.seconds / stage.made.num_units
        return self._rates.seconds_per_unit(name)


def in_words(seconds: float) -> str:
    """A duration for people: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
