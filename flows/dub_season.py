"""The flow `dub-season`: a table in, every episode dubbed or its reason told, the most urgent first; run again for what is left."""

import flows.environment  # noqa: F401  # isort: skip
import logging
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass
from typing import Protocol

from prefect import flow

from flows.commands.review_command import INDEX, write_index
from flows.run import interrupts, progress
from flows.season.board import SeasonBoard
from flows.season.costs import Prices
from flows.season.digests import InputDigests
from flows.season.here import Here
from flows.season.jobs import Job
from flows.season.lives import Lives
from flows.season.published import find_finished, read_published
from flows.season.read import Season, read_season
from flows.season.workers import WORKERS, StoppedError, Workers
from flows.studio import notify
from infra.errors import DubflowError, InputError, OurTroubleError
from tasks.types import SeasonRequest, SeasonResult

logger = logging.getLogger(__name__)
AT_ONCE_WITH_WORKERS = 32  # episodes handed over: more than there are workers, so that none has to wait for the season


class Place(Protocol):
    """Where episodes are run. run: its seconds, and its error if it failed; raises only when the season was stopped."""

    def run(self, job: Job) -> tuple[float, Exception | None]: ...
    def stop(self) -> str: ...


@dataclass(frozen=True)
class Means:
    """What all episodes of a season share."""

    season: Season
    board: SeasonBoard
    digests: InputDigests
    place: Place
    stop: threading.Event


@flow(
    name="dub-season",
    flow_run_name="season {request.season_id}",
    persist_result=False,
    validate_parameters=True,
    on_completion=[notify.tell_finished],
    on_failure=[notify.tell_failed],
    on_crashed=[notify.tell_failed],
)
def dub_season(request: SeasonRequest) -> SeasonResult:
    """Dub a season. Raises InputError for a table that cannot be used; then nothing was started. Episodes that fail are told in the result."""
    season, stop = read_season(request), threading.Event()
    board = SeasonBoard(request, season.storage, season.jobs, Prices.of(request))
    here = request.on == "here"
    place: Place = Here(board, progress.listener(), stop)
    if not here:
        place = Workers(WORKERS if request.on == "workers" else request.on, board, Lives(season.storage), stop)
    means = Means(season, board, InputDigests(season.work_folder), place, stop)
    board.write("running")
    progress.tell(progress.Said(f"season {request.season_id}: {len(season.jobs)} episodes, {sum(len(job.rows) for job in season.jobs)} rows"))
    try:
        work_through(means, request.at_once or (1 if here else AT_ONCE_WITH_WORKERS))
    except BaseException:
        if left := place.stop():
            board.warn(left)
        board.write("stopped")
        raise
    finally:
        means.digests.files.save()
    has_failed = any(row.state == "failed" for row in board.result("done").rows)
    return board.write("failed" if has_failed else "done", _refresh_index(means))


def work_through(means: Means, num_at_once: int) -> None:
    """Every episode in its turn. Interrupted, those under way end between two steps and the rest is left waiting."""
    jobs = [job for job in means.season.jobs if job.request is not None]
    pool = ThreadPoolExecutor(num_at_once, thread_name_prefix="episode")
    with interrupts.ending_in_time(pool):
        try:
            futures = [pool.submit(copy_context().run, do_episode, means, job) for job in jobs]
            for future in as_completed(futures):
                future.result()
        except BaseException:
            means.stop.set()
            raise


def do_episode(means: Means, job: Job) -> None:
    """Find the episode finished, or have it dubbed; whatever goes wrong is its own affair and told in its rows."""
    assert job.request is not None
    if means.stop.is_set():
        return
    seconds = 0.0
    try:
        job = job.with_digest(means.digests.digest_of(job.request))
        finished = find_finished(means.season.storage, job)
        if finished is not None:
            means.board.finish(job, finished, None)
            return
        seconds, error = means.place.run(job)
        if error is not None:
            raise error
        published = read_published(means.season.storage, job)
        if published is None:
            raise OurTroubleError("It was dubbed, but it is not in OUT now as it was asked for: did something else write there?")
        means.board.finish(job, published, seconds)
    except InputError as error:
        _refuse_closed_store(means, job)
        _note_failure(means, job, "input", str(error), seconds)
    except StoppedError:
        means.board.leave(job, "the season was stopped while it was with the workers")
    except Exception as error:
        logger.error("%s failed", job.episode_id, exc_info=error)
        _note_failure(means, job, "ours", str(error) if isinstance(error, DubflowError) else f"{type(error).__name__}: {error}", seconds)
    except BaseException:
        means.board.leave(job, "the season was stopped while it was being dubbed; finished steps are kept")
        raise


def _refuse_closed_store(means: Means, job: Job) -> None:
    """Raises InputError where OUT is closed to everybody by now, as when credentials expire: told once for the season, not by every episode."""
    try:
        means.season.storage.exists(means.board.key("json"))
    except InputError:
        means.stop.set()  # before this thread's next episode
        means.board.leave(job, "the store that it goes to was closed; finished steps are kept")
        raise
    except DubflowError as error:
        logger.warning("whether OUT is open is not known: %s", error)


def _note_failure(means: Means, job: Job, trouble: str, reason: str, seconds: float) -> None:
    logger.warning("%s failed: %s", job.episode_id, reason)
    means.board.fail(job, trouble, reason, seconds)


def _refresh_index(means: Means) -> str:
    """Bring the page over all episodes up to date where something was published in this run; where it lies."""
    storage, board = means.season.storage, means.board
    has_news = any(episode.how == "ran" for episode in board.result("done").episodes)
    try:
        if has_news or not storage.exists(INDEX):
            return write_index(board.request.out).page
        return storage.describe(INDEX)
    except InputError:  # no episode has a report yet
        return ""
    except DubflowError as error:
        board.warn(f"the page over all episodes was not written: {error}")
        return ""
