"""A real Prefect server and real workers in processes of their own, as a studio has them: schedules, automations and leases at work."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.flows.command_process import children_of, wait_for_end

REPOSITORY = Path(__file__).parents[1]
START_S = 180


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PREFECT_HOME with an empty database, to be copied: to make one takes seconds, so all worker processes share this."""
    own = tmp_path_factory.getbasetemp()
    made = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "prefect-database"
    with open(f"{made}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            half = tmp_path_factory.mktemp("prefect-database-being-made")
            inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            command = [sys.executable, "-m", "prefect", "--no-prompt", "server", "database", "upgrade", "--yes"]
            done = subprocess.run(command, env=inherited | {"PREFECT_HOME": str(half)}, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, done.stdout + done.stderr
            half.rename(made)
    return made


@contextmanager
def prefect_server(folder: Path, database: Path | None = None, **settings: str) -> Iterator[dict[str, str]]:
    """`prefect server start` with a database of its own in `folder`: the one that is there, else a copy of `database`, else a new one.

    Gives the environment of whoever is to talk to it.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    home = folder / "prefect-home"
    if database is not None and not home.exists():
        shutil.copytree(database, home)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DUBFLOW_"))}
    environment = inherited | {
        "PREFECT_HOME": str(home),
        "PYTHONPATH": str(REPOSITORY),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    storage = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
    words = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with in_background(words, environment | storage | {"PREFECT_LOGGING_SERVER_LEVEL": "WARNING"} | settings, folder / "server.log") as process:
        url = f"http://127.0.0.1:{port}/api"
        deadline = time.monotonic() + START_S
        while not _answers(url):
            assert process.poll() is None, (folder / "server.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (folder / "server.log").read_text()[-3000:]
            time.sleep(0.2)
        yield environment | {"PREFECT_API_URL": url}


@contextmanager
def worker(environment: Mapping[str, str], log: Path, *words: str) -> Iterator[subprocess.Popen]:
    """A worker of the pool dubflow that looks for work every second."""
    fast = {"PREFECT_WORKER_QUERY_SECONDS": "1", "OMP_NUM_THREADS": "1"}
    with in_background(["prefect", "worker", "start", "--pool", "dubflow", *words], {**environment, **fast}, log) as process:
        yield process


@contextmanager
def in_background(module_and_words: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """`python -m ...` in a session of its own; it and all that it has started are gone at the end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *module_and_words],
            cwd=log.parent,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            family = {process.pid, *children_of(process.pid)}
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                kill_all(process)
            wait_for_end(family)


def kill_all(process: subprocess.Popen) -> None:
    """kill -9, for it and all that it has started."""
    for pid in (*children_of(process.pid), process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait(30)


def dub(environment: Mapping[str, str], *words: str, timeout_s: float = 600) -> subprocess.CompletedProcess:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "flows.cli", *words]
    return subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=timeout_s)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
