"""Runs programs, above all the one ffmpeg: argument lists only, no shell, a deadline, the whole process group ended, the reason in the error."""

import os
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from infra.container import FORMATS
from infra.errors import InputError, OurTroubleError

STDERR_TAIL_CHARS = 2000


@cache
def binary() -> str:
    """Path of the ffmpeg executable (the one inside the imageio-ffmpeg wheel, unless IMAGEIO_FFMPEG_EXE names another)."""
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise InputError(f"No ffmpeg found: {error} Install the imageio-ffmpeg wheel for this platform, or set IMAGEIO_FFMPEG_EXE.") from error


@cache
def version() -> str:
    """FFmpeg's own version text, e.g. `9.0.2`."""
    return imageio_ffmpeg.get_ffmpeg_version()


def input_options(path: str | Path) -> list[str]:
    """Arguments that open one local file and nothing it may point to: put them where `-i FILE` would stand."""
    return ["-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-i", "file:" + str(Path(path).absolute())]


def run(args: list[str], *, timeout_s: float) -> None:
    """Run ffmpeg with `args` (a list from hand or from ffmpeg-python's `get_args()`), stop at the first error.

    Raises OurTroubleError with the end of ffmpeg's messages when it fails or is not done within timeout_s seconds. Exit code 0 is not success:
    the caller re-opens what was written and counts.
    """
    _run("ffmpeg", [binary(), "-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", *args], timeout_s)


def run_program(name: str, args: list[str], *, timeout_s: float) -> None:
    """Run another program of this machine (the demo's espeak-ng). Raises InputError when it is not installed, else as run()."""
    path = shutil.which(name)
    if path is None:
        raise InputError(f"{name} is not installed. On Debian: apt-get install {name}.")
    _run(name, [path, *args], timeout_s)


def _run(name: str, command: list[str], timeout_s: float) -> None:
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages, start_new_session=True)
        try:
            code: Any = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = f"none: not done after {timeout_s:g} s"
        finally:
            _end_group(process)
        if code != 0:
            raise OurTroubleError(f"{name} failed (exit code {code}): {_tail(messages) or 'no message'}\ncommand: {' '.join(command)}")


def _end_group(process: subprocess.Popen) -> None:
    """Kill the program and all it started, unless it has ended by itself; always reap it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(messages) -> str:
    size = messages.seek(0, os.SEEK_END)
    messages.seek(max(0, size - STDERR_TAIL_CHARS))
    return messages.read().decode("utf-8", "replace").strip()
