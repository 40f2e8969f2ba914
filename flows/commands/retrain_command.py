"""Runs `dub retrain`: Prefect's server, the log and Ctrl-C around the flow; its result in words."""

import logging
import sys
from collections.abc import Mapping
from contextlib import ExitStack

from flows.run import interrupts
from infra.errors import InputError
from infra.settings import apply_environment, get_settings
from infra.storage_keys import redact
from tasks.types import Record

logger = logging.getLogger(__name__)


def parse_changes(texts: list[str]) -> dict[str, str]:
    """FIELD=VALUE texts as a table. Raises InputError."""
    changes = {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not (field and equals and value):
            raise InputError(f"--set {redact(text)}: write FIELD=VALUE, as in num_steps=400.")
        changes[field] = value
    return changes


def run_retrain(**parameters: object) -> Record:
    """Run the flow on the user's Prefect server, or one of the command's own. Raises the flow's errors."""
    from flows.run.local_server import serving_unless_configured, talking_to

    apply_environment()
    work_folder = get_settings().work_folder
    with ExitStack() as stack:
        stack.enter_context(interrupts.stopping_on_signals())
        server = stack.enter_context(serving_unless_configured(work_folder))

        from flows.retrain import retrain
        from flows.run.log_file import logging_to_file

        log = stack.enter_context(logging_to_file(work_folder, "retrain"))
        stack.callback(lambda: print(f"log: {log}", file=sys.stderr))
        if server is not None:
            stack.enter_context(talking_to(server.url()))
        result = retrain(**parameters)  # type: ignore[arg-type]
        logger.info("done: %s", result.model_dump_json())
        return result


def show_retrained(result) -> None:
    """The decision, its reasons with the numbers, and what was done again."""
    decision = result.decision
    when = "" if result.is_new else f", decided before ({decision.decided:%Y-%m-%d %H:%M}): the same champion, drops, recipe and golden set"
    print(f"{decision.outcome}: {decision.recipe} against {decision.champion.name} {decision.champion.sha256[:12]}{when}")
    for reason in decision.reasons:
        print(f"  {reason}")
    if decision.generation is not None:
        print(f"  production is generation {decision.generation}: {decision.role} {decision.challenger_sha256}")
    _print_table(decision.verdict.comparisons if decision.verdict else ())
    for drop, why in result.left_out.items():
        print(f"  left out: drop {drop[:12]}: {why}")
    for redone in result.redone:
        print(f"  {redone.episode}: {redone.outcome}")
    print(f"  kept as {result.record}")


def _print_table(comparisons) -> None:
    for found in comparisons:
        old, new = ("none" if value is None else f"{value:.4g}" for value in (found.champion, found.challenger))
        print(f"  {found.role:>8}  {found.key:<24} {old:>9} -> {new:>9}  {found.finding}")


def as_parameters(drop: str | None, recipe: str, changes: Mapping[str, str], golden: str, sync_check: str, episodes: list[str]) -> dict[str, object]:
    """The flow's parameters as the deployment has them too."""
    return {"drop": drop, "recipe": recipe, "changes": dict(changes), "golden": golden, "sync_check": sync_check, "episodes": episodes}
