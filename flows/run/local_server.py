"""Prefect's own ephemeral server, on SQLite, as a child that never outlives us: it ends when our end of a pipe closes, however we die."""

import multiprocessing
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from infra import settings
from infra.errors import OurTroubleError
from infra.loading import loading_modules
from infra.storage_keys import redact

if TYPE_CHECKING:
    from fastapi import APIRouter

START_TIMEOUT_S = 120.0  # the first start makes the database; on a busy machine it takes a while
STOP_TIMEOUT_S = 8.0
QUEUE_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 5.0  # of a server that is said to be running
_POLL_S = 0.1
ASKED_PREFIXES = ("/csrf-token", "/admin", "/flows", "/flow_runs", "/logs", "/events", "/artifacts")


@dataclass
class LocalServer:
    """A starting or running server; `url` waits until it answers."""

    process: BaseProcess
    lifeline: Connection  # the child reads the other end: closed means that nobody needs it any more
    log: Path
    api_url: str = ""

    def url(self) -> str:
        """Its API's address. Raises OurTroubleError when it does not answer within START_TIMEOUT_S."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.is_alive():
            if not self.api_url and self.lifeline.poll(_POLL_S):
                self.api_url = f"http://127.0.0.1:{self._port()}/api"
            if self.api_url and _answers(self.api_url):
                return self.api_url
        raise OurTroubleError(
            f"Prefect's local server did not start; its messages are in {self.log}. "
            "Another database may help (set PREFECT_HOME to an empty folder), or a server of your own (set PREFECT_API_URL)."
        )

    def stop(self) -> None:
        """End it and wait; harmless when it has ended."""
        self.lifeline.close()
        self.process.join(STOP_TIMEOUT_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _port(self) -> int:
        try:
            return int(self.lifeline.recv())
        except (EOFError, OSError):
            return 0


@contextmanager
def serving(work_folder: Path, unless_configured: bool = False) -> Iterator[LocalServer]:
    """Start the server without waiting for it; it is stopped at the end. Its messages go to WORK/logs/prefect-server.log.

    unless_configured: it ends by itself, before it opens a database, where the user names a server of their own.
    """
    log = work_folder / "logs" / "prefect-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, str(log), unless_configured), name="prefect-server", daemon=True)
    process.start()
    theirs.close()
    server = LocalServer(process, ours, log)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serving_unless_configured(work_folder: Path) -> Iterator[LocalServer | None]:
    """As serving(), but nothing is started where the user names a server of their own (PREFECT_API_URL or a Prefect profile).

    Raises OurTroubleError at once where that one does not answer: Prefect itself would try for minutes.
    """
    with serving(work_folder, unless_configured=True) as server:
        where = _configured_api()  # while the server starts: Prefect takes as long to be loaded here
        if not where:
            yield server
            return
    _refuse_silent(where)
    yield None


@contextmanager
def talking_to(api_url: str) -> Iterator[None]:
    """Within, all of Prefect in this process talks to this server: also in threads that Prefect starts without our context, which would else
    start servers of their own."""
    from prefect.context import _temporary_global_settings_context, get_settings_context
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api_url}), _temporary_global_settings_context(get_settings_context()):
        try:
            yield
        finally:
            send_what_is_queued()


def send_what_is_queued() -> bool:
    """Give Prefect's queued task states and logs to the server. False: it did not take them in time."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    ends = [worker.drain_all(timeout=QUEUE_TIMEOUT_S) for worker in (EventsWorker, APILogWorker)]
    return not any(isinstance(end, tuple) and end[1] for end in ends)


def _configured_api() -> str | None:
    """The server that the user names."""
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value()


def _refuse_silent(api_url: str) -> None:
    """Whether anything answers; who we are, and whether it is wanted, comes later."""
    import httpx

    try:
        httpx.get(f"{api_url.rstrip('/')}/health", timeout=ANSWER_TIMEOUT_S, verify=False)
    except httpx.HTTPError as error:
        raise OurTroubleError(
            f"Prefect's server at {redact(api_url)} does not answer ({type(error).__name__}). Is it running, and is PREFECT_API_URL right? "
            "Without PREFECT_API_URL a run starts a server of its own."
        ) from None


def _answers(api_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        time.sleep(_POLL_S)
        return False


def _serve(lifeline: Connection, log: str, unless_configured: bool) -> None:
    """The child: a session of its own, so that Ctrl-C in the terminal is not for it."""
    os.setsid()
    _write_messages_to(log)
    settings.apply_environment(**settings.local_server_environment())
    listener = socket.create_server(("127.0.0.1", 0))
    lifeline.send(listener.getsockname()[1])
    servers: list = []
    threading.Thread(target=_end_with, args=(lifeline, servers), daemon=True).start()

    with loading_modules():
        if unless_configured and _configured_api():
            os._exit(0)
        import uvicorn
        from prefect.server.api import server

    server.API_ROUTERS = asked_first(server.API_ROUTERS)
    config = uvicorn.Config(server.create_app(ephemeral=True, final=True), log_level="error", lifespan="on", timeout_graceful_shutdown=2)
    servers.append(uvicorn.Server(config))
    servers[0].run(sockets=[listener])
    os._exit(0)  # all is written and closed; threads of Prefect's would hold the interpreter for seconds


def asked_first(routers: Sequence["APIRouter"]) -> tuple["APIRouter", ...]:
    """The same parts of Prefect's API, those that a run asks in front: FastAPI looks through them in order, and builds each that it comes to."""
    order = {prefix: place for place, prefix in enumerate(ASKED_PREFIXES)}
    return tuple(sorted(routers, key=lambda router: order.get(router.prefix, len(order))))


def _end_with(lifeline: Connection, servers: list) -> None:
    """Wait until the other end is closed, then end the server: politely if it has begun to serve."""
    with suppress(EOFError, OSError):
        lifeline.recv()
    if servers:
        servers[0].should_exit = True
        time.sleep(STOP_TIMEOUT_S / 2)
    os._exit(0)


def _write_messages_to(log: str) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
