"""Runs the work of a command: Prefect's local server, display, log and Ctrl-C around it, and every end as an exit code and one clear message."""

import json
import logging
import os
import shlex
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from pydantic import BaseModel

from infra import settings
from infra.errors import InputError, OurTroubleError
from infra.loading import load_late_modules, loading_modules
from tasks.types import DubRequest, EpisodeRequest, PlanRequest

if TYPE_CHECKING:
    from flows.run.display import Display

ResultT = TypeVar("ResultT", bound=BaseModel)
_unsent = threading.Event()  # Prefect's server went away with task states still to be sent
DONE, OUR_TROUBLE, YOUR_INPUT, INTERRUPTED = 0, 1, 2, 130
logger = logging.getLogger(__name__)


def finish(
    as_json: bool,
    work: Callable[[], ResultT],
    show: Callable[[ResultT], None],
    is_good: Callable[[ResultT], bool] = lambda result: True,
    exit_code_of: Callable[[ResultT], int] | None = None,
) -> NoReturn:
    """Do the work of one command and leave with its exit code. The result goes to stdout, everything else to stderr.

    With as_json exactly one JSON object is printed: the result and `"status": "done"`, or what went wrong. Otherwise `show` prints the result for
    people. A result that is not good makes exit code 1, where exit_code_of does not know better.
    """
    try:
        result = work()
    except InputError as error:
        _fail(as_json, YOUR_INPUT, "input", str(error))
    except OurTroubleError as error:
        _fail(as_json, OUR_TROUBLE, "trouble", str(error))
    except Exception as error:
        _fail(as_json, OUR_TROUBLE, "trouble", f"{type(error).__name__}: {error}. This is a fault in dubflow.")
    except BaseException:  # KeyboardInterrupt, Prefect's TerminationSignal
        _fail(as_json, INTERRUPTED, "interrupted", "Stopped.")
    if as_json:
        print(json.dumps({"status": "done", **result.model_dump(mode="json")}, ensure_ascii=False))
    else:
        show(result)
    _leave(exit_code_of(result) if exit_code_of is not None else DONE if is_good(result) else OUR_TROUBLE)


def run_flow(request: EpisodeRequest) -> BaseModel:
    """Run the request's flow, watched on stderr, logged in the work folder. Raises the flow's errors; KeyboardInterrupt when the user stops it."""
    from flows.run.work_folder import work_folder_of

    settings.apply_environment()

    def check() -> None:
        from flows.episode.request_checks import gather_inputs

        gather_inputs(request)  # the flow does it too; here it spares the user the wait for the server

    name = request.episode_id if isinstance(request, DubRequest) else "plan"
    return watched(name, work_folder_of(request), request.num_workers, check, lambda: _flow_of(request)(request))


def watched(
    name: str,
    work_folder: Path,
    num_workers: int | None,
    check: Callable[[], None],
    work: Callable[[], ResultT],
    display: "Display | None" = None,
) -> ResultT:
    """Do work that runs a flow: with Prefect's server, a display on stderr, and a log named `name`. What cannot be done is told by `check` first."""
    from flows.run import interrupts, progress
    from flows.run.display import open_display
    from flows.run.forecast import Forecast, Rates
    from flows.run.local_server import serving_unless_configured, talking_to

    settings.apply_environment()
    display = display or open_display(Forecast(Rates.load(work_folder), num_workers or settings.get_settings().num_workers), sys.stderr)
    with ExitStack() as stack:
        stack.enter_context(interrupts.stopping_on_signals())
        server = stack.enter_context(serving_unless_configured(work_folder))

        with loading_modules():
            from flows.run.log_file import logging_to_file

            import_flows()
        log = stack.enter_context(logging_to_file(work_folder, name))
        check()
        threading.Thread(target=load_late_modules, name="late-modules").start()  # there is time: the server is not up yet
        stack.callback(lambda: print(f"log: {log}", file=sys.stderr))
        stack.enter_context(display)
        stack.enter_context(progress.listening(display))
        if server is None:
            stack.callback(_send_to_the_users_server)
        else:
            display.hear(progress.Said("starting Prefect's local server"))
            stack.enter_context(talking_to(server.url()))
        return _logged(lambda: _without_server_trouble(work))


def import_flows() -> None:
    """Prefect is to be imported before the log is set up: it sets up logging of its own."""
    import flows.dub_episode
    import flows.plan_episode  # noqa: F401


def _flow_of(request: EpisodeRequest) -> Callable[..., BaseModel]:
    from flows.dub_episode import dub_episode
    from flows.plan_episode import plan_episode

    if isinstance(request, DubRequest):
        return dub_episode
    assert isinstance(request, PlanRequest)
    return plan_episode


def _send_to_the_users_server() -> None:
    from flows.run.local_server import send_what_is_queued

    if not send_what_is_queued():
        _unsent.set()


def _leave(exit_code: int) -> NoReturn:
    """End the command; at once where Prefect would hold the interpreter for as long as it takes to fail to send what its server does not take."""
    if _unsent.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)


def _without_server_trouble(work: Callable[[], ResultT]) -> ResultT:
    """Do work; a Prefect server that is not there any more is told in one sentence."""
    import httpx

    try:
        return work()
    except httpx.HTTPError as error:
        raise OurTroubleError(
            f"Prefect's server does not answer any more ({type(error).__name__}). What was being worked on was finished and is kept, what was "
            "published stays; the server was not told. Start it again, or unset PREFECT_API_URL to use a server of the run's own."
        ) from error


def _logged(work: Callable[[], ResultT]) -> ResultT:
    try:
        result = work()
    except InputError as error:
        logger.info("refused: %s", error)
        raise
    except Exception as error:
        logger.error("failed", exc_info=error)
        raise
    logger.info("done: %s", result.model_dump_json())
    return result


def _fail(as_json: bool, exit_code: int, kind: str, message: str) -> NoReturn:
    go_on = "" if exit_code == YOUR_INPUT else f"Finished work is kept; the same command goes on from there: {shlex.join(['dub', *sys.argv[1:]])}"
    if as_json:
        answer = {"status": "failed", "exit_code": exit_code, "kind": kind, "message": message, "what_next": go_on}
        print(json.dumps(answer, ensure_ascii=False))
    for line in (*message.splitlines(), *([go_on] if go_on else [])):
        print("dub: " + "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line), file=sys.stderr)
    _leave(exit_code)
