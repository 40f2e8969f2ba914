"""The `dub` command as a process of its own: how to start it, watch it, and see that nothing of it is left."""

import subprocess
import sys
import time
from pathlib import Path


def command_line(small, out: Path, *words: str) -> list[str]:
    """`dub episode` for the small film, with the random model."""
    given = [sys.executable, "-m", "flows.cli", "episode", str(small.film), "--audio", f"fr={small.dub}", "--out", str(out)]
    return [*given, "--model", "tiny", "--speaker", "only-face", *words]


def wait_for_text(path: Path, text: str, process: subprocess.Popen, limit_s: float = 300) -> None:
    """Until the file holds the text; the process must live."""
    deadline = time.monotonic() + limit_s
    while text not in path.read_text():
        assert process.poll() is None, path.read_text()
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.05)


def children_of(pid: int) -> set[int]:
    """Process ids of all that a process has started, at any depth."""
    found = {int(text) for task in Path(f"/proc/{pid}/task").iterdir() for text in (task / "children").read_text().split()}
    return found.union(*(children_of(child) for child in found))


def wait_for_end(pids: set[int], limit_s: float = 60) -> None:
    """Until none of these processes lives; a zombie does not."""
    deadline = time.monotonic() + limit_s
    while alive := {pid for pid in pids if _lives(pid)}:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
