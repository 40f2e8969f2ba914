"""What a run tells while it goes on: small events to whoever listens in this context. No listener, no cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from tasks.types import SeasonRow

STAGES = (
    "inspect",
    "original",
    "stems",
    "shots",
    "mix",
    "faces",
    "casting",
    "who",
    "sync",
    "judge",
    "check",
    "self-test",
    "retry",
    "verdicts",
    "reels",
    "assemble",
    "previews",
    "report",
    "media",
    "publish",
    "manifest",
)


@dataclass(frozen=True)
class Foreseen:
    """How much work a stage will have, as far as is known by now."""

    stage: str
    num_calls: int
    num_units: float


@dataclass(frozen=True)
class StageBegan:
    stage: str
    num_calls: int
    num_units: float


@dataclass(frozen=True)
class Began:
    """One call of a stage has begun. Heard from threads only: workers in other processes tell nothing."""

    stage: str
    about: str


@dataclass(frozen=True)
class Ended:
    """One call has ended; `trouble` is empty when it went well."""

    stage: str
    about: str
    num_units: float
    seconds: float
    was_reused: bool
    trouble: str = ""


@dataclass(frozen=True)
class StageEnded:
    stage: str


@dataclass(frozen=True)
class Said:
    """A sentence for the user; warnings are `is_warning`."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class RowsChanged:
    """Rows of a season's table stand otherwise now."""

    rows: tuple[SeasonRow, ...]


Event = Foreseen | StageBegan | Began | Ended | StageEnded | Said | RowsChanged


class Listener(Protocol):
    def hear(self, event: Event) -> None:
        """Take note of an event; called from any thread, must be quick."""
        ...


_listener: ContextVar[Listener | None] = ContextVar("dubflow_listener", default=None)


def tell(event: Event) -> None:
    """Pass an event to the listener of this context, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener.hear(event)


def listener() -> Listener | None:
    """Who listens in this context."""
    return _listener.get()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within, `listener` hears what is told here and in the threads started from here."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def describe_call(arguments: dict[str, Any]) -> str:
    """Whom a step run is about, in a few words: `shot-00003 fr`, `frames 0-1500 fr`, or nothing."""
    if "key" in arguments:
        return str(arguments["key"])
    parts = []
    if "shot" in arguments:
        parts.append(arguments["shot"].name)
    elif "first" in arguments:
        parts.append(f"frames {arguments['first']}-{arguments['end']}")
    dub = arguments.get("dub")
    language = arguments.get("language") or (dub.language if dub is not None else None)
    return " ".join([*parts, language] if language else parts)
