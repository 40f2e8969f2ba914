"""Tells people how runs end and what waits for them, through Prefect's notification blocks. What cannot be told never harms a run."""

import flows.environment  # noqa: F401  # isort: skip
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import BlockDocument, FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.utilities.asyncutils import run_coro_as_sync

from infra.errors import InputError
from infra.settings import get_settings
from tasks.types import DubResult, SeasonResult

LONGEST = 1500  # characters of a message: chat services cut or refuse more
logger = logging.getLogger(__name__)
for _chatty in ("httpx", "httpcore"):  # at INFO they write every address into the log, and a webhook's address is its secret
    logging.getLogger(_chatty).setLevel(logging.WARNING)


def blocks_named(text: str | None) -> tuple[str, ...]:
    """The TYPE/NAME parts of the setting. Raises InputError."""
    names = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    for name in names:
        if name.count("/") != 1 or not all(name.split("/")):
            raise InputError(f"DUBFLOW_NOTIFY={text}: write TYPE/NAME of a Prefect block, as in slack-webhook/studio; several with commas between.")
    return names


def find_block(client: SyncPrefectClient, name: str) -> BlockDocument:
    """A saved block on the server. Raises InputError where there is none."""
    kind, _, own = name.partition("/")
    try:
        return client.read_block_document_by_name(own, kind, include_secrets=False)
    except ObjectNotFound:
        raise InputError(f"DUBFLOW_NOTIFY names {name}, but Prefect's server has no such block. See: prefect block ls") from None


def tell(subject: str, body: str) -> None:
    """Send a message through every block of DUBFLOW_NOTIFY. What fails is logged by block and kind of error: an address may hold a secret."""
    for name in _names():
        try:
            _send(name, subject, body[:LONGEST])
        except Exception as error:  # whatever a foreign service or block does
            logger.warning("%s could not be told %r: %s", name, subject, type(error).__name__)


def _names() -> tuple[str, ...]:
    try:
        return blocks_named(get_settings().notify)
    except InputError as error:
        logger.warning("nobody is told of anything: %s", error)
        return ()


def _send(name: str, subject: str, body: str) -> None:
    import prefect.blocks.notifications  # noqa: F401  # a block can be loaded once its module is imported
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block
    from prefect.blocks.webhook import Webhook

    block: Any = Block.load(name)
    if isinstance(block, Webhook):
        answer = run_coro_as_sync(block.call({"subject": subject, "body": body}))
        assert answer is not None
        answer.raise_for_status()
    elif isinstance(block, NotificationBlock):
        notify: Callable[[str, str], None] = block.notify  # pyright: ignore[reportAssignmentType]  # awaitable only within an event loop
        with block.raise_on_failure():
            notify(body, subject)
    else:
        raise TypeError(f"{type(block).__name__} notifies nobody")


def tell_finished(flow: Any, flow_run: FlowRun, state: State) -> None:
    """A hook of flows: the run is done. Runs that another run has started leave it to that one to tell."""
    if _names() and flow_run.parent_task_run_id is None:
        tell(*finished(flow_run.name, state.result(raise_on_failure=False)))


def tell_failed(flow: Any, flow_run: FlowRun, state: State) -> None:
    """A hook of flows: the run failed or was broken off."""
    if _names() and flow_run.parent_task_run_id is None:
        tell(f"dubflow: {flow_run.name} {'was broken off' if state.is_crashed() else 'failed'}", state.message or "It gave no reason.")


def tell_waiting(result: DubResult) -> None:
    """A run pauses for review."""
    if _names():
        tell(*finished(result.episode_id, result))


def finished(name: str, result: object) -> tuple[str, str]:
    """(subject, body) of what a flow came to."""
    if isinstance(result, DubResult):
        return _dubbed(result)
    decision = getattr(result, "decision", None)
    if decision is not None:
        return f"dubflow: {name}: {decision.outcome}", "\n".join(decision.reasons)
    if isinstance(result, SeasonResult):
        return _season(name, result)
    return f"dubflow: {name} is done", ""


def _season(name: str, result: SeasonResult) -> tuple[str, str]:
    states = Counter(row.state for row in result.rows)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    waiting = _waiting(sum(row.num_review or 0 for row in result.rows))
    lines = [f"{row.episode_id} {row.language} failed: {row.reason}" for row in result.rows if row.state == "failed"]
    return f"dubflow: {name}: {counts}{waiting}", "\n".join([f"table: {result.table}", *lines, *result.warnings])


def _waiting(num_review: int) -> str:
    if not num_review:
        return ""
    return "; 1 shot waits for review" if num_review == 1 else f"; {num_review} shots wait for review"


def _dubbed(result: DubResult) -> tuple[str, str]:
    waiting = _waiting(result.verdicts.get("review", 0))
    counts = ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in result.verdicts.items())
    lines = [f"{language}: {where}" for language, where in result.outputs.items()]
    lines += [f"report: {result.report}", f"shots: {counts}", *result.warnings]
    return f"dubflow: {result.episode_id} is dubbed into {', '.join(result.outputs)}{waiting}", "\n".join(lines)
