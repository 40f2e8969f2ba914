"""What a retraining shows in Prefect's UI: the verdict in words and the figures of both models side by side."""

import logging

import httpx
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from training.challenge import Decision

logger = logging.getLogger(__name__)


def show_decision(decision: Decision, record: str) -> None:
    """A page and a table. Outside a flow run, or when the server does not answer, nothing is shown and nothing is lost."""
    if FlowRunContext.get() is None:
        return
    lines = [f"# {decision.outcome}: {decision.recipe}", "", *(f"- {reason}" for reason in decision.reasons), "", f"Kept as `{record}`."]
    rows = [comparison.model_dump() for comparison in (decision.verdict.comparisons if decision.verdict else ())]
    try:
        create_markdown_artifact(markdown="\n".join(lines), key="retraining", description=f"Why the challenger was {decision.outcome}")
        if rows:
            create_table_artifact(table=rows, key="retraining-figures", description="Champion and challenger on the golden set")
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("no artifacts of the decision: %s", error)
