"""A run that waits for people: published, then paused in Prefect until decisions arrive, in its UI or as a decisions.json beside the report."""

import contextvars
import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from uuid import UUID

import httpx
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout, NotPausedError, PrefectException
from prefect.flow_runs import pause_flow_run, resume_flow_run
from prefect.input import RunInput
from pydantic import Field

from flows.episode.manifest import read_recorded
from flows.episode.study import begin
from flows.redo_shots import DECISIONS, recorded_now, redo, request_of
from flows.run import progress
from flows.studio import notify
from infra.errors import DubflowError, InputError
from infra.storage import Storage, open_storage
from tasks.decisions import MOST_BYTES, decisions_of_bytes
from tasks.types import Decision, Decisions, DubRequest, DubResult, RedoRequest, RedoResult

logger = logging.getLogger(__name__)
WAIT_S = 7 * 24 * 3600
POLL_S = 2


class Review(RunInput):
    """What the paused run asks for: the content of a decisions.json, and what is to come after."""

    format: Literal[1] = 1
    episode_id: str
    reviewer: str = Field(default="", max_length=200)
    decisions: list[Decision]
    then: Literal["finish", "pause again"] = "finish"


def review_until_done(request: DubRequest, published: DubResult) -> DubResult:
    """Pause until decisions arrive, apply them, and pause again if the reviewer says so. A review that cannot be applied is said, and waited out.

    Raises InputError when nobody decided within WAIT_S; the episode stays as published.
    """
    while True:
        review = _wait_for_review(request, published)
        try:
            published = _apply(request, review)
        except InputError as error:
            progress.tell(progress.Said(f"this review was not applied: {error}", is_warning=True))
            continue
        if review.then == "finish":
            return published


def _wait_for_review(request: DubRequest, published: DubResult) -> Review:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    storage, key = open_storage(request.out), f"{request.episode_id}/{DECISIONS}"
    where = storage.describe(key)
    progress.tell(progress.Said(f"waiting for review of {published.report}: save decisions as {where}, or resume the run in Prefect's UI"))
    asked = Review.with_initial_data(
        description=f"The report is at `{published.report}`. Paste the decisions of its `decisions.json`.", episode_id=request.episode_id
    )
    notify.tell_waiting(published)
    with _watching(storage, key, context.flow_run.id):
        try:
            review = pause_flow_run(wait_for_input=asked, timeout=WAIT_S, poll_interval=POLL_S)
        except FlowPauseTimeout:
            raise InputError(f"Nobody decided within {WAIT_S // 86400} days. The episode stays as published; apply a review with: dub redo") from None
    progress.tell(progress.Said(f"{len(review.decisions)} decisions have come in; going on"))
    return review


def _apply(request: DubRequest, review: Review) -> RedoResult:
    storage = open_storage(request.out)
    before = read_recorded(storage, request.episode_id)
    asked = RedoRequest(out=request.out, episode_id=request.episode_id, work=request.work)
    decisions = Decisions(episode_id=review.episode_id, reviewer=review.reviewer, decisions=tuple(review.decisions))
    with begin(request_of(before, asked)) as run:
        return redo(run, recorded_now(storage, before, asked), (decisions, (), "the review"), asked)


@contextmanager
def _watching(storage: Storage, key: str, flow_run_id: UUID) -> Iterator[None]:
    """Within, a decisions.json that is saved beside the report resumes the run."""
    ended, before = threading.Event(), _digest(storage, key)

    def watch() -> None:
        seen = before
        while not ended.wait(POLL_S):
            try:
                if (now := _digest(storage, key)) not in (seen, ""):
                    resume_flow_run(flow_run_id, run_input=_input_of(storage, key))
                    seen = now
            except NotPausedError:
                continue  # not paused yet, or somebody was quicker
            except InputError as error:
                seen = now
                progress.tell(progress.Said(f"this review was not taken: {error}", is_warning=True))
            except (DubflowError, PrefectException, httpx.HTTPError, RuntimeError) as error:
                logger.warning("could not look for decisions: %s", error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(watch), name="decisions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _input_of(storage: Storage, key: str) -> dict:
    decisions, wrong = decisions_of_bytes(storage.read_bytes(key), storage.describe(key))
    for text in wrong:
        progress.tell(progress.Said(text, is_warning=True))
    return decisions.model_dump(mode="json")


def _digest(storage: Storage, key: str) -> str:
    """Of what lies there now; empty where nothing does that could be a review."""
    if not storage.exists(key) or storage.size(key) > MOST_BYTES:
        return ""
    return hashlib.sha256(storage.read_bytes(key)).hexdigest()
