"""The clips a run learns from: all of a small set in memory, a large one streamed through a buffer of a fixed number of clips.

What the buffer holds at a step depends on the seed and the step alone, so a resumed run and every process of a run see the same.
"""

import itertools
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np

from infra.errors import InputError
from training import shards
from training.dataset import Clip

NUM_BUFFERS = 2  # the one in use, and the next, while threads work ahead


class ClipSource:
    """People's clips out of prepared data: a folder or S3 prefix of shards, or a folder of .npz files. Safe to use from threads; picklable."""

    def __init__(self, data: str | Path, *, num_in_memory: int, refill_every: int, seed: int, min_windows: int, without: frozenset[str]) -> None:
        self.data, self.num_in_memory, self.refill_every, self.seed = data, num_in_memory, refill_every, seed
        self.min_windows, self.without = min_windows, without
        self.entries = [entry for entry in shards.list_entries(data) if entry.person not in without and entry.num_windows >= min_windows]
        if not self.entries:
            raise InputError(f"{data} holds no prepared clip of {min_windows + 4} frames or more for these people. Run `dub data prepare` first.")
        self._open()

    def _open(self) -> None:
        self._lock, self._buffers = threading.Lock(), {}

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._open()

    @property
    def people(self) -> dict[str, int]:
        """Number of clips by person."""
        counts: dict[str, int] = {}
        for entry in self.entries:
            counts[entry.person] = counts.get(entry.person, 0) + 1
        return dict(sorted(counts.items()))

    @property
    def digest(self) -> str:
        """sha256 over the digests of all clips."""
        return sha256("\n".join(sorted(entry.sha256 for entry in self.entries)).encode()).hexdigest()

    def at(self, step: int) -> list[Clip]:
        """The clips to draw from at this step."""
        number = 0 if len(self.entries) <= self.num_in_memory else step // self.refill_every
        with self._lock:
            if number not in self._buffers:
                while len(self._buffers) >= NUM_BUFFERS:
                    self._buffers.pop(min(self._buffers))
                self._buffers[number] = self._filled(number)
            return self._buffers[number]

    def _filled(self, number: int) -> list[Clip]:
        if len(self.entries) <= self.num_in_memory:
            return list(self._clips(sorted({entry.shard for entry in self.entries})))
        names, num_seen = self._order(number)
        return list(itertools.islice(self._clips(names), num_seen, num_seen + self.num_in_memory))

    def _order(self, number: int) -> tuple[list[str], int]:
        """The shards that fill this buffer, and how many clips of the first were in the one before: fillings follow each other through
        shuffled rounds over all shards, so that every clip has its turn."""
        names = sorted({entry.shard for entry in self.entries})
        sizes = {name: sum(entry.shard == name for entry in self.entries) for name in names}
        first, rounds = number * self.num_in_memory, []
        skipped = first // len(self.entries)  # whole rounds
        place = first - skipped * len(self.entries)
        for turn in (skipped, skipped + 1):
            rounds += [names[i] for i in np.random.default_rng([self.seed, turn]).permutation(len(names))]
        while place >= sizes[rounds[0]]:
            place -= sizes[rounds.pop(0)]
        return rounds, place

    def _clips(self, names: list[str]) -> Iterator[Clip]:
        people = {entry.key: entry.person for entry in self.entries}
        for name in names:
            yield from shards.read_shard(self.data, name, people)


def held_out_clips(data: str | Path, people: frozenset[str]) -> list[Clip]:
    """All clips of these people, in memory. Raises InputError for a person the data does not hold."""
    if not people:
        return []
    entries = shards.list_entries(data)
    unknown = sorted(people - {entry.person for entry in entries})
    if unknown:
        raise InputError(f"{data} holds nobody called {', '.join(unknown)}. It holds: {', '.join(sorted({entry.person for entry in entries}))}.")
    wanted = {entry.key: entry.person for entry in entries if entry.person in people}
    names = sorted({entry.shard for entry in entries if entry.person in people})
    return [clip for name in names for clip in shards.read_shard(data, name, wanted)]
