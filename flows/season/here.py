"""Runs a season's episode in this process, as a run of dub-episode of its own below the season's."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.dub_episode import dub_episode
from flows.run import progress
from flows.run.board import PERCENT_AFTER
from flows.run.progress import Ended, Event, Listener, Said, StageBegan, StageEnded
from flows.season.board import SeasonBoard
from flows.season.jobs import Job


class EpisodeListener:
    """Hears one episode's events: its rows advance, its words are passed on with its name, and it stops between two steps when the season does."""

    def __init__(self, board: SeasonBoard, job: Job, outer: Listener | None, stop: threading.Event) -> None:
        self._board, self._job, self._outer, self._stop = board, job, outer, stop
        self._thread = threading.get_ident()
        self._behind = self._shown = 0.0  # percent that stages over have brought, and that was told
        self._num_calls: dict[str, int] = {}  # of each stage that has begun: some go on side by side
        self._num_ended: Counter[str] = Counter()

    def hear(self, event: Event) -> None:
        """Raises KeyboardInterrupt in the episode's own thread once the season is stopped; steps under way are not disturbed."""
        if self._stop.is_set() and threading.get_ident() == self._thread:
            raise KeyboardInterrupt
        if isinstance(event, Said) and self._outer is not None:
            self._outer.hear(Said(f"{self._job.episode_id}: {event.text}", event.is_warning))
        elif isinstance(event, StageBegan):
            self._num_calls[event.stage] = event.num_calls
            self._num_ended[event.stage] = 0
        elif isinstance(event, Ended | StageEnded):
            if isinstance(event, Ended):
                self._num_ended[event.stage] += 1
            ahead = PERCENT_AFTER.get(event.stage)
            if ahead is None:
                return
            share = 1.0 if isinstance(event, StageEnded) else min(1.0, self._num_ended[event.stage] / max(1, self._num_calls.get(event.stage, 1)))
            percent = self._behind + share * max(0.0, ahead - self._behind)
            if isinstance(event, StageEnded):
                self._behind = max(self._behind, percent)
            self._shown = max(self._shown, percent)
            self._board.advance(self._job, self._shown / 100)


class Here:
    """Episodes in threads of this process. Each is begun alone, since Prefect numbers a run's children without a lock."""

    def __init__(self, board: SeasonBoard, outer: Listener | None, stop: threading.Event) -> None:
        self._board, self._outer, self._stop = board, outer, stop
        self._starting = threading.Lock()

    def run(self, job: Job) -> tuple[float, Exception | None]:
        """Dub the episode: its seconds, and its error if it failed."""
        assert job.request is not None
        self._board.begin(job)
        started, failure = time.monotonic(), None
        try:
            listener = EpisodeListener(self._board, job, self._outer, self._stop)
            with self._starting_alone() as has_begun, progress.listening(listener):
                dub_episode.with_options(on_running=[has_begun])(job.request)
        except Exception as error:
            failure = error
        return time.monotonic() - started, failure

    def stop(self) -> str:
        """What is still to be said when the season was stopped: nothing goes on."""
        return ""

    @contextmanager
    def _starting_alone(self) -> Iterator["_RunBegan"]:
        """Within, no other episode begins until this one's run exists: then the hook that this gives is to be called."""
        self._starting.acquire()
        has_begun = _RunBegan(self._starting)
        try:
            yield has_begun
        finally:
            has_begun()


class _RunBegan:
    """A hook of an episode's run: the first call lets the next episode begin. Worker processes get it with their run, and there it does nothing."""

    def __init__(self, starting: "threading.Lock | None") -> None:
        self._starting = starting
        self.__name__ = "has_begun"  # what Prefect calls a hook by

    def __call__(self, flow: Any = None, flow_run: Any = None, state: Any = None) -> None:
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.release()

    def __reduce__(self) -> tuple[type["_RunBegan"], tuple[None]]:
        return _RunBegan, (None,)
