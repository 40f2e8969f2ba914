"""A season on machines that are not there: a discrete-event model (simpy) of dubflow's stages, fed with the times that a real run measured.

What is modelled: an episode's stages come one after another, each begins when the one before is over (the flow does so); a stage's calls are
shared out among workers; calls on one machine share its processors; some calls hold the machine's one card for a while; task runs pass through one
Prefect server; films, patches and finished episodes pass through the store. Nothing fails, nobody waits for review.
"""

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import simpy

GROUPS = {
    "orchestration": ("start", "between"),
    "store": ("fetch", "media", "publish", "manifest"),
    "decode": ("inspect", "original", "stems", "shots", "mix"),
    "detect": ("faces",),
    "cast": ("casting", "who"),
    "sync": ("sync", "retry"),
    "judge": ("judge", "check", "self-test", "verdicts"),
    "encode": ("reels", "assemble", "previews"),
    "report": ("report", "hand-over"),
}
LEAST_SHARE = 0.01
GROUP_OF = {stage: group for group, stages in GROUPS.items() for stage in stages}


@dataclass(frozen=True)
class Call:
    """One call of a step: processor seconds, how many processors it can keep busy, seconds on the card, seconds on the wire."""

    cpu_s: float = 0.0
    width: float = 1.0
    gpu_s: float = 0.0
    store_s: float = 0.0


Episode = Sequence[tuple[str, Sequence[Call]]]  # stages in order, each with its calls


@dataclass(frozen=True)
class Machines:
    """What works. spread: False, an episode stays on one machine (a work pool with a worker per machine); True, its calls go to all (Dask, Ray)."""

    num_machines: int
    num_cores: int
    num_workers: int  # calls at a time on one machine
    store_streams: float = math.inf  # machines that can use their whole line to the store at the same time
    server_s: float = 0.0  # one task run's share of the one Prefect server
    spread: bool = False

    @property
    def num_streams(self) -> int:
        return self.num_machines if math.isinf(self.store_streams) else max(1, int(self.store_streams))


@dataclass
class Account:
    """What came of it. stage_s: seconds that episodes spent in each stage, summed over the episodes; busy: share of the time that each was in use."""

    total_s: float = 0.0
    episodes_s: list[float] = field(default_factory=list)
    stage_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    store_s: float = 0.0
    server_s: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)


class _Line:
    """Something that serves few at a time, first come first served: a card, the server, the store."""

    def __init__(self, num_at_once: int) -> None:
        self._free_at = [0.0] * num_at_once

    def turn_s(self, now: float, seconds: float) -> float:
        """Seconds from now until one who comes now and needs it for so long is through."""
        end = max(now, self._free_at[0]) + seconds
        heapq.heapreplace(self._free_at, end)
        return end - now


class _Machine:
    def __init__(self) -> None:
        self.card = _Line(1)
        self.num_busy = 0


class _Queue:
    """Calls that wait for workers, or workers that wait for calls."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self.jobs: deque = deque()
        self._idle: deque = deque()

    def put(self, job: Any) -> None:
        if self._idle:
            self._idle.popleft().succeed(job)
        else:
            self.jobs.append(job)

    def get(self) -> simpy.Event:
        event = self._env.event()
        if self.jobs:
            event.succeed(self.jobs.popleft())
        else:
            self._idle.append(event)
        return event


@dataclass(frozen=True)
class _Job:
    call: Call
    over: simpy.Event
    left: list[int]  # calls of the stage that are not over: one number, shared


def simulate(episodes: Sequence[Episode], machines: Machines) -> Account:
    """Run them all, first come first served; seconds of model time."""
    env, account = simpy.Environment(), Account()
    world = _World(env, machines, account)
    env.process(world.season(episodes))
    env.run()
    account.total_s = max(account.episodes_s, default=0.0)
    return _with_shares(account, machines)


class _World:
    def __init__(self, env: simpy.Environment, machines: Machines, account: Account) -> None:
        self.env, self.of, self.account = env, machines, account
        self.server, self.store = _Line(1), _Line(machines.num_streams)
        self.slowness = max(1.0, 1.0 / machines.store_streams)  # a store slower than one machine's line
        self.queues = [_Queue(env) for _ in range(1 if machines.spread else machines.num_machines)]
        for number in range(machines.num_machines):
            machine, queue = _Machine(), self.queues[0 if machines.spread else number]
            for _ in range(machines.num_workers):
                env.process(self._worker(machine, queue))

    def season(self, episodes: Sequence[Episode]) -> Generator:
        """A place for an episode is a machine; where calls are spread over all machines, there is no reason to hold any back."""
        places = _Queue(self.env)
        for queue in self.queues * (len(episodes) if self.of.spread else 1):
            places.put(queue)
        running = []
        for episode in episodes:
            queue = yield places.get()
            running.append(self.env.process(self._dub(episode, queue, places)))
        yield simpy.AllOf(self.env, running)

    def _dub(self, episode: Episode, queue: _Queue, places: _Queue) -> Generator:
        for stage, calls in episode:
            if not calls:
                continue
            began, over, left = self.env.now, self.env.event(), [len(calls)]
            for call in calls:
                queue.put(_Job(call, over, left))
            yield over
            self.account.stage_s[stage] += self.env.now - began
        self.account.episodes_s.append(self.env.now)
        places.put(queue)

    def _worker(self, machine: _Machine, queue: _Queue) -> Generator:
        while True:
            job: _Job = yield queue.get()
            yield from self._held(self.server, self.of.server_s, "server_s")
            yield from self._held(self.store, job.call.store_s * self.slowness, "store_s")
            if job.call.cpu_s:
                machine.num_busy += 1
                self.account.cpu_s += job.call.cpu_s
                yield self.env.timeout(job.call.cpu_s / self._cores(machine, queue, job.call))
                machine.num_busy -= 1
            yield from self._held(machine.card, job.call.gpu_s, "gpu_s")
            job.left[0] -= 1
            if not job.left[0]:
                job.over.succeed()

    def _cores(self, machine: _Machine, queue: _Queue, call: Call) -> float:
        """Processors that a call gets: an equal share among those at work on its machine, those included that are about to begin."""
        coming = math.ceil(len(queue.jobs) / (self.of.num_machines if self.of.spread else 1))
        at_work = min(self.of.num_workers, machine.num_busy + coming)
        return min(call.width, self.of.num_cores / at_work)

    def _held(self, line: _Line, seconds: float, what: str) -> Iterator[simpy.Event]:
        if seconds:
            setattr(self.account, what, getattr(self.account, what) + seconds)
            yield self.env.timeout(line.turn_s(self.env.now, seconds))


def _with_shares(account: Account, machines: Machines) -> Account:
    time = account.total_s or 1.0
    account.busy = {
        "processors": account.cpu_s / (time * machines.num_machines * machines.num_cores),
        "cards": account.gpu_s / (time * machines.num_machines),
        "store": account.store_s / (time * machines.num_streams),
        "server": account.server_s / time,
    }
    return account


def twice_as_fast(episodes: Sequence[Episode], group: str) -> list[Episode]:
    """The same season if everything of this group took half as long."""
    return [[(stage, [_half(call) for call in calls] if GROUP_OF.get(stage) == group else calls) for stage, calls in one] for one in episodes]


def _half(call: Call) -> Call:
    return replace(call, cpu_s=call.cpu_s / 2, gpu_s=call.gpu_s / 2, store_s=call.store_s / 2)


def bottlenecks(episodes: Sequence[Episode], machines: Machines) -> dict[str, float]:
    """Group -> share of the season's time that is saved if it were twice as fast; the greatest first. What limits a season is what this says."""
    account = simulate(episodes, machines)
    before, saved = account.total_s, dict.fromkeys(GROUPS, 0.0)
    for group, stages in GROUPS.items():
        in_it_s = sum(account.stage_s[stage] for stage in stages) + (account.server_s if group == "orchestration" else 0.0)
        if in_it_s < LEAST_SHARE * sum(account.stage_s.values()):
            continue  # it cannot save more than that
        faster = replace(machines, server_s=machines.server_s / 2) if group == "orchestration" else machines
        saved[group] = 1 - simulate(twice_as_fast(episodes, group), faster).total_s / before
    return dict(sorted(saved.items(), key=lambda item: -item[1]))
