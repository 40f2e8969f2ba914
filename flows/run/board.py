"""What a run shows in Prefect's UI beside its task runs: how far it is, the QA table, and where everything lies."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from flows.run import progress
from tasks.types import DubRequest, DubResult, EpisodeRequest, QaReport

logger = logging.getLogger(__name__)

QUIET_S = 300.0

# Percent of a run that lies behind once a stage is over; rough, for one language.
PERCENT_AFTER = {"inspect": 25, "shots": 26, "faces": 30, "casting": 40, "sync": 65, "judge": 80, "reels": 92, "assemble": 97, "manifest": 100}


class ProgressBoard:
    """The run's artifacts. Outside a flow run, or when the server does not answer, nothing is shown and nothing is lost."""

    def __init__(self, request: EpisodeRequest) -> None:
        self._name = request.episode_id if isinstance(request, DubRequest) else "plan"
        self._progress: UUID | None = None
        self._quiet_until = float("-inf")
        if FlowRunContext.get() is None:
            return
        try:
            self._progress = _progress_of_this_run(f"progress-{self._name}") or self._new_progress()
        except (httpx.HTTPError, PrefectException) as error:
            logger.warning("no progress artifact: %s", error)

    def _new_progress(self) -> UUID | None:
        made = create_progress_artifact(progress=0.0, key=f"progress-{self._name}", description=f"How far {self._name} is")
        return made if isinstance(made, UUID) else None

    def finish(self, stage: str) -> None:
        """A stage is over."""
        if self._progress is None or stage not in PERCENT_AFTER or time.monotonic() < self._quiet_until:
            return
        try:
            update_progress_artifact(artifact_id=self._progress, progress=float(PERCENT_AFTER[stage]))
        except (httpx.HTTPError, PrefectException) as error:
            self._leave_alone(error)

    def show_result(self, result: DubResult, reports: Sequence[QaReport]) -> None:
        """The QA table, a link to the report, and a page that says where the episode lies."""
        if self._progress is None or time.monotonic() < self._quiet_until:
            return
        rows = [
            {
                "shot": report.shot.index,
                "language": report.language,
                "verdict": report.verdict,
                "severity": report.severity,
                "reason": report.reason,
                "LSE-C before": report.before.confidence,
                "LSE-C undubbed": report.undubbed.confidence,
                "LSE-C after": report.after.confidence,
                "offset after": report.after.offset_frames,
                "tries": report.num_tries,
                "take": (report.take_sha256 or "original")[:12],
            }
            for report in reports
        ]
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in result.verdicts.items())
        lines = [f"# {result.episode_id}", "", f"{result.num_shots} shots: {verdicts}", ""]
        lines += [f"- {language}: `{where}`" for language, where in result.outputs.items()]
        lines += [f"- frames rendered in this run: {result.num_rendered_frames}"]
        lines += [f"- report: `{result.report}`", *(f"- warning: {text}" for text in result.warnings)]
        try:
            create_table_artifact(table=rows, key=f"shots-{self._name}", description=f"QA of {self._name}, shot by shot")
            create_link_artifact(link=_link_to(result.report), link_text="report", key=f"report-{self._name}", description=f"Report of {self._name}")
            create_markdown_artifact(markdown="\n".join(lines), key=f"episode-{self._name}", description=f"Where {self._name} lies")
        except (httpx.HTTPError, PrefectException) as error:
            logger.warning("no artifacts of the result: %s", error)

    def _leave_alone(self, error: Exception) -> None:
        """The server is not asked again for a while: it costs a minute of Prefect's retries each time, and the work does not need it."""
        if self._quiet_until == float("-inf"):
            progress.tell(progress.Said("Prefect's server does not answer any more; work goes on without it, and counts", is_warning=True))
        self._quiet_until = time.monotonic() + QUIET_S
        logger.warning("the progress artifact was not updated: %s", error)


def _progress_of_this_run(key: str) -> UUID | None:
    """What an earlier turn of the same flow run began: after a pause there is still one bar, not one for every review."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    mine = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[context.flow_run.id]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=mine, limit=1)
    return found[0].id if found else None


def _link_to(where: str) -> str:
    """A URI: what describes a file for people may be a path."""
    return where if "://" in where else Path(where).absolute().as_uri()
