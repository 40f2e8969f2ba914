"""Where the log goes: a file per run in the work folder, with every step made or reused; the terminal is kept for people."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

_OURS = ("flows", "tasks", "infra", "wav2lip_core", "training")
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


@contextmanager
def logging_to_file(work_folder: Path, name: str) -> Iterator[Path]:
    """Within, all logging goes to WORK/logs/NAME-TIME.log, Prefect's too, which is to be imported before. Gives its path."""
    folder = work_folder / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{datetime.now():%Y%m%d-%H%M%S-%f}.log"
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    continue_log(path)
    try:
        yield path
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:], root.level = handlers, level


def continue_log(path: Path) -> None:
    """Send this process's logging to the end of a log that logging_to_file started."""
    handler = LogFile(path, encoding="utf-8")
    handler.setFormatter(_OneLine(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)


class LogFile(logging.FileHandler):
    """The handler of a log that logging_to_file started."""


def current_log() -> Path | None:
    """Where this process logs to, for the workers that it starts; None outside logging_to_file."""
    return next((Path(handler.baseFilename) for handler in logging.getLogger().handlers if isinstance(handler, LogFile)), None)


class _OneLine(logging.Formatter):
    """Control characters of a message, which may come from a file's metadata, do not reach the log; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return "".join(char if char.isprintable() else " " for char in super().formatMessage(record))
