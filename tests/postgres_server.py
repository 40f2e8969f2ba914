"""A real PostgreSQL, a real Prefect server on it, and real worker processes: each on a free port, each to be killed and started again."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.flows.command_process import children_of, wait_for_end

START_TIMEOUT_S = 180.0  # making Prefect's tables takes a while on a busy machine
DEBIAN = Path("/usr/lib/postgresql")


class Service(ABC):
    """A process with all it starts, its messages in one log over all its lives."""

    def __init__(self, log: Path, environment: dict[str, str], user: str | None = None) -> None:
        self.log, self.environment, self.user = log, environment, user
        self._process: subprocess.Popen | None = None

    @property
    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_up(self) -> bool: ...

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers."""
        account = {} if self.user is None else {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env=self.environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **account
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_up():
            assert self._process.poll() is None, self.messages()
            assert time.monotonic() < deadline, self.messages()
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9: it and everything it started, at once, as when the machine's plug is pulled; harmless when it has ended."""
        if self._process is None:
            return
        family = {self.pid, *children_of(self.pid)} if self._process.poll() is None else set()
        for pid in family:
            with suppress(ProcessLookupError):  # it has ended by itself this moment
                os.kill(pid, signal.SIGKILL)
        self._process.wait(60)
        wait_for_end(family)

    def messages(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


class Postgres(Service):
    """A cluster of databases in a folder; run by the user `postgres` when we are root, which PostgreSQL refuses to be."""

    def __init__(self, folder: Path, user: str | None) -> None:
        super().__init__(folder / "log", {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}, user)
        self.port = free_port()
        self.data = folder / "data"
        if user is not None:
            shutil.chown(folder, user)
        account = {} if user is None else {"user": user}
        made = [_binary("initdb"), "--pgdata", str(self.data), "--username", "prefect", "--auth", "trust", "--encoding", "UTF8", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, timeout=START_TIMEOUT_S, cwd="/", env=self.environment, **account)

    @property
    def command(self) -> list[str]:
        return [_binary("postgres"), "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/postgres"

    def is_up(self) -> bool:
        """Whether it takes questions; one that is still recovering refuses them."""
        ready = [_binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, env=self.environment, timeout=30).returncode == 0


class PrefectServer(Service):
    """`prefect server start` on a database that outlives it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DUBFLOW_"))}
        own = {"PREFECT_HOME": str(folder), "PREFECT_API_DATABASE_CONNECTION_URL": database_url}
        super().__init__(folder / "server.log", inherited | own | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"})
        self.port = free_port()

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "prefect", "--no-prompt", "server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


class Worker(Service):
    """`prefect worker start`: takes runs from a pool, each in a process of its own."""

    def __init__(self, name: str, pool: str, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(folder / f"{name}.log", environment | {"PREFECT_WORKER_QUERY_SECONDS": "1"})
        self.name, self.pool = name, pool

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--pool", self.pool, "--name", self.name, "--limit", "1"]

    def is_up(self) -> bool:
        return "started!" in self.log.read_text(errors="replace")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL with an empty database. Skips, saying so, where none is installed (tests/install_postgresql.sh does it)."""
    if not _binary("initdb"):
        pytest.skip("no PostgreSQL on this machine: tests/install_postgresql.sh installs it")
    folder = Path(tempfile.mkdtemp(prefix="dubflow-postgres-"))  # pytest's own folders are closed to the user it runs as
    server = Postgres(folder, "postgres" if os.geteuid() == 0 else None)
    with running(server):
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def prefect_server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A running Prefect server whose database is the PostgreSQL."""
    with running(PrefectServer(tmp_path_factory.mktemp("prefect-server"), postgres.url)) as server:
        yield server


@contextmanager
def running(*services: Service) -> Iterator[Service]:
    """Start these; at the end none is left. Gives the first."""
    try:
        for service in services:
            service.start()
        yield services[0]
    finally:
        for service in services:
            service.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return opened.getsockname()[1]


def _binary(name: str) -> str:
    """Its path, or nothing where it is not installed. Debian keeps it out of PATH, a folder for each version."""
    found = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(found[-1]) if found else shutil.which(name) or ""
