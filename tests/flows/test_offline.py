"""A run needs no internet and asks for none: nobody but this machine is ever looked up or connected to, and Prefect's telemetry is off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.command_process import command_line

# Loaded by every Python process that finds it on its path, before anything else.
GUARD = """
import os, socket

HERE = ("127.", "::1", "localhost", "0.0.0.0", "::")


def is_here(host):
    return host in (None, "", socket.gethostname()) or str(host).startswith(HERE)


def refuse(what):
    with open(os.environ["GUARD_LOG"], "a") as log:
        log.write(f"{what}\\n")
    raise OSError(101, f"this machine has no network: {what}")


def connecting(real):
    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not is_here(address[0]):
            refuse(f"connect {address}")
        return real(self, address)

    return connect


def resolving(real):
    def resolve(host, *words, **more):
        if not is_here(host):
            refuse(f"look up {host}")
        return real(host, *words, **more)

    return resolve


socket.socket.connect = connecting(socket.socket.connect)
socket.socket.connect_ex = connecting(socket.socket.connect_ex)
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    setattr(socket, name, resolving(getattr(socket, name)))
with open(os.environ["GUARD_LOG"] + ".loaded", "a") as log:
    log.write(f"{os.getpid()}\\n")
"""


@pytest.fixture
def cut_off(environment: dict[str, str], warm_work: Path, tmp_path: Path) -> tuple[dict[str, str], Path]:
    """An environment in which Python reaches this machine alone, and the log of what it tried."""
    folder, log = tmp_path / "guard", tmp_path / "tried"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(GUARD)
    log.touch()
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    return environment | {"PYTHONPATH": path, "GUARD_LOG": str(log), "DUBFLOW_WORK_FOLDER": str(warm_work)}, log


def test_an_episode_is_dubbed_without_internet_and_nobody_is_asked(small, cut_off, tmp_path):
    environment, log = cut_off
    done = subprocess.run(command_line(small, tmp_path / "out", "--id", "small"), env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/small/manifest.json").is_file()
    assert len(set(Path(f"{log}.loaded").read_text().split())) >= 2  # the command and its Prefect server
    assert log.read_text() == ""


def test_the_guard_would_notice(cut_off):
    environment, log = cut_off
    code = "import urllib.request; urllib.request.urlopen('http://api.prefect.io/')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "look up api.prefect.io" in log.read_text()


def test_telemetry_is_off_unless_the_user_says_otherwise():
    from infra.settings import prefect_environment

    assert prefect_environment()["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert prefect_environment()["DO_NOT_TRACK"] == "1"
