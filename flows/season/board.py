"""How a season stands: a table of episode x language that everybody may look at, in OUT, in Prefect's UI and on the screen."""

import json
import logging
import tempfile
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pandas as pd
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from pydantic import ValidationError

from flows.run import progress
from flows.season.costs import Prices
from flows.season.jobs import Job
from flows.season.published import Published
from infra.errors import DubflowError
from infra.storage import Storage
from tasks.shot_table import defused
from tasks.types import SeasonEpisode, SeasonRequest, SeasonResult, SeasonRow

logger = logging.getLogger(__name__)
WRITE_EVERY_S = 5.0
MOST_ROWS_IN_PREFECT = 1000
Key = tuple[str, str]  # episode, language
CSV_COLUMNS = {
    "episode_id": "episode",
    "language": "language",
    "state": "state",
    "progress": "progress",
    "seconds": "seconds",
    "cost": "cost",
    "num_pass": "pass",
    "num_review": "review",
    "num_kept_original": "kept_original",
    "air_date": "air_date",
    "priority": "priority",
    "reason": "reason",
    "output": "output",
    "report": "report",
}


class SeasonBoard:
    """Safe among threads. What it cannot write now it writes later; a season never fails for its table."""

    def __init__(self, request: SeasonRequest, storage: Storage, jobs: Iterable[Job], prices: Prices) -> None:
        self.request, self._storage, self._prices = request, storage, prices
        self._rows: dict[Key, SeasonRow] = {}
        self._episodes: dict[str, SeasonEpisode] = {}
        self._spent: dict[str, float | None] = {}  # in this run, by episode
        self._warnings: list[str] = []
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._started, self._written = time.monotonic(), 0.0
        self._in_prefect: UUID | None = None
        self._before = {(row.episode_id, row.language): row for row in _read_rows(storage, self.key("json"))}
        for job in jobs:
            for row in job.rows:
                self._rows[job.episode_id, row.language] = SeasonRow(
                    episode_id=job.episode_id, language=row.language, air_date=row.air_date, priority=row.priority
                )
                if row.missing:
                    self._change(job.episode_id, row.language, state="skipped", reason=row.missing)

    def key(self, ending: str) -> str:
        return f"season-{self.request.season_id}.{ending}"

    # -- what happens to an episode

    def begin(self, job: Job) -> None:
        """It is being worked on, or waits at a worker's door."""
        self._tell([self._change(job.episode_id, language, state="running", progress=0.0, reason="") for language in job.languages])

    def advance(self, job: Job, share: float) -> None:
        """It is so far (0 to 1)."""
        rows = [self._change(job.episode_id, language, progress=min(max(share, 0.0), 1.0)) for language in job.languages]
        self._tell(rows)

    def finish(self, job: Job, published: Published, seconds: float | None) -> None:
        """It lies in the store. seconds: of its run; None where it was found finished."""
        changed, num_languages = [], len(job.languages)
        cost = None if seconds is None else self._prices.cost(seconds, published.gpu_seconds)
        self._spent[job.episode_id] = cost
        for language in job.languages:
            before = self._before.get((job.episode_id, language))
            spent: dict[str, Any] = {} if before is None else {"seconds": before.seconds, "cost": before.cost}
            if seconds is not None:
                spent = {"seconds": seconds / num_languages, "cost": None if cost is None else cost / num_languages}
            if language in published.left_out:
                fields = {"state": "failed", "trouble": "input", "reason": published.left_out[language]}
            else:
                qa = published.qa[language]
                fields = {f"num_{verdict}": qa.get(verdict, 0) for verdict in ("pass", "review", "kept_original")}
                fields |= {"state": "done", "progress": 1.0, "reason": "", "output": published.films[language], "report": published.report}
            changed.append(self._change(job.episode_id, language, **fields, **spent))
        self._episodes[job.episode_id] = SeasonEpisode(
            episode_id=job.episode_id,
            how="found" if seconds is None else "ran",
            seconds=seconds or 0.0,
            steps={} if seconds is None else published.steps,
            num_rendered_frames=0 if seconds is None else published.num_rendered_frames,
        )
        self._tell(changed)

    def fail(self, job: Job, trouble: str, reason: str, seconds: float) -> None:
        """It failed, in all its languages."""
        share, self._spent[job.episode_id] = seconds / len(job.languages), self._prices.cost(seconds)
        fields = {"state": "failed", "trouble": trouble, "reason": reason, "seconds": share, "cost": self._prices.cost(share)}
        self._episodes[job.episode_id] = SeasonEpisode(episode_id=job.episode_id, how="failed", seconds=seconds)
        self._tell([self._change(job.episode_id, language, **fields) for language in job.languages])

    def leave(self, job: Job, reason: str) -> None:
        """It was not done in this run."""
        self._episodes[job.episode_id] = SeasonEpisode(episode_id=job.episode_id, how="skipped")
        self._tell([self._change(job.episode_id, language, state="waiting", reason=reason) for language in job.languages])

    def warn(self, text: str) -> None:
        with self._lock:
            self._warnings.append(text)
        progress.tell(progress.Said(text, is_warning=True))

    # -- what others see

    def result(self, status: Any, index: str = "") -> SeasonResult:
        with self._lock:
            rows, episodes, warnings = tuple(self._rows.values()), tuple(self._episodes.values()), tuple(self._warnings)
        return SeasonResult(
            season_id=self.request.season_id,
            status=status,
            rows=rows,
            episodes=episodes,
            seconds=time.monotonic() - self._started,
            cost=None if self._prices.cost(0.0) is None else sum(cost or 0.0 for cost in list(self._spent.values())),
            currency=self._prices.currency,
            table=self._storage.describe(self.key("json")),
            index=index,
            warnings=warnings,
            updated=datetime.now(UTC),
        )

    def write(self, status: Any, index: str = "") -> SeasonResult:
        """Write the table as it is now."""
        with self._writing:
            result = self.result(status, index)
            self._write(result)
            return result

    def _change(self, episode_id: str, language: str, **fields: Any) -> SeasonRow:
        with self._lock:
            row = self._rows[episode_id, language].model_copy(update=fields)
            self._rows[episode_id, language] = row
            return row

    def _tell(self, rows: list[SeasonRow]) -> None:
        progress.tell(progress.RowsChanged(tuple(rows)))
        if time.monotonic() - self._written > WRITE_EVERY_S and self._writing.acquire(blocking=False):
            try:
                self._write(self.result("running"))
            finally:
                self._writing.release()

    def _write(self, result: SeasonResult) -> None:
        self._written = time.monotonic()
        try:
            with tempfile.TemporaryDirectory() as folder:
                for ending, text in (("json", result.model_dump_json(indent=1) + "\n"), ("csv", csv_of(result))):
                    path = Path(folder) / f"table.{ending}"
                    path.write_text(text, encoding="utf-8")
                    self._storage.put(path, self.key(ending))
        except (DubflowError, OSError) as error:
            logger.warning("the season's table was not written: %s", error)
        self._show_in_prefect(result)

    def _show_in_prefect(self, result: SeasonResult) -> None:
        if FlowRunContext.get() is None and self._in_prefect is None:
            return
        rows = [row.model_dump(mode="json", include=set(CSV_COLUMNS)) for row in result.rows[:MOST_ROWS_IN_PREFECT]]
        try:
            if self._in_prefect is None:
                about = f"Season {self.request.season_id}, as it stands"
                made = create_table_artifact(table=rows, key=f"season-{self.request.season_id}", description=about)
                self._in_prefect = made if isinstance(made, UUID) else None
            else:
                with get_client(sync_client=True) as client:
                    client.update_artifact(self._in_prefect, ArtifactUpdate(data=json.dumps(rows)))
        except (httpx.HTTPError, PrefectException) as error:
            logger.warning("the season's table in Prefect was not updated: %s", error)


def csv_of(result: SeasonResult) -> str:
    """The table for spreadsheets; no text begins like a formula."""
    rows = [row.model_dump(mode="json") for row in result.rows]
    frame = pd.DataFrame([{name: row[field] for field, name in CSV_COLUMNS.items()} for row in rows], columns=list(CSV_COLUMNS.values()))
    for name in ("reason", "output", "report"):
        frame[name] = frame[name].map(defused)
    for name in ("pass", "review", "kept_original"):
        frame[name] = frame[name].astype("Int64")
    for name in ("progress", "seconds", "cost"):
        frame[name] = frame[name].astype(float).round(3)
    return frame.to_csv(index=False, lineterminator="\n")


def _read_rows(storage: Storage, key: str) -> tuple[SeasonRow, ...]:
    """An earlier run's table, for what finished episodes took; empty where there is none that can be read."""
    try:
        return SeasonResult.model_validate_json(storage.read_bytes(key)).rows if storage.exists(key) else ()
    except (DubflowError, ValidationError):
        return ()
