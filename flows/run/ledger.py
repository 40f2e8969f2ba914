"""Keeps account of a run: what each step made or found, and what it cost on this machine."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from flows.episode.steps import Outcome
from flows.run.forecast import Rates, Work
from tasks.types import Reel, StepCount


class Ledger:
    """Takes the outcomes of a run's stages."""

    def __init__(self) -> None:
        self._tally: Counter[tuple[str, str]] = Counter()
        self._work: dict[str, list[Work]] = {}
        self.num_rendered_frames = 0  # pasted and encoded in this run; those found finished do not count

    def add(self, stage: str, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.done is None:
                continue
            self._tally.update(outcome.done.tally)
            if not outcome.done.was_reused:
                self._work.setdefault(stage, []).append(Work(seconds=outcome.done.seconds, num_units=outcome.call.num_units))

    def measure(self, stage: str, num_units: float) -> None:
        """How much work the one call of a stage was, where that is only known when it is done."""
        done = self._work.get(stage)
        if done:
            done[-1] = Work(seconds=done[-1].seconds, num_units=num_units)

    def add_rendered(self, reels: Iterable[Reel]) -> None:
        self.num_rendered_frames += sum(reel.end_frame - reel.first_frame for reel in reels)

    def steps(self) -> dict[str, StepCount]:
        """Per step of the store: how many records were made in this run and how many were found."""
        names = sorted({step for step, _ in self._tally})
        return {step: StepCount(made=self._tally[step, "made"], reused=self._tally[step, "reused"]) for step in names}

    def seconds(self) -> dict[str, float]:
        """Per stage: seconds spent on what was made in this run, all workers together."""
        return {stage: sum(work.seconds for work in done) for stage, done in self._work.items()}

    def remember(self, work_folder: Path) -> None:
        """Add what this run measured to the work folder's rates."""
        rates = Rates.load(work_folder)
        for stage, work in self._work.items():
            rates = rates.learn(stage, work)
        rates.save(work_folder)
