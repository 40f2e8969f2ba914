"""What review has said of an episode so far: entries that are only ever added, each vouching for the one before."""

from typing import Literal

from pydantic import Field

from tasks.types.record import EpisodeId, Record
from tasks.types.review import Decision

NO_ENTRY = "0" * 64  # what the first entry names as the one before it


class Remake(Record):
    """A shot that is to be made again in one language."""

    shot: int = Field(ge=0)
    language: str
    take_sha256: str | None  # what was in the film when this was asked
    model: str | None = None  # make it with this model; None: with any take but the one it has


class InputDigests(Record):
    """What a decision was about: it holds for these bytes only."""

    film: str
    audio: dict[str, str]  # language -> sha256 of its dub


class HistoryEntry(Record):
    """One act of review: who decided what, when, on which digests; or which film came of it."""

    format: Literal[1] = 1
    number: int = Field(ge=1)
    previous: str  # sha256 of the entry before
    id: str  # no two entries are the same bytes
    at: str  # ISO 8601, UTC
    episode_id: EpisodeId
    kind: Literal["decided", "published"]
    reviewer: str = ""
    source: str = ""  # where it came from: decisions.json, command line, Prefect
    inputs: InputDigests
    decisions: tuple[Decision, ...] = ()
    remakes: tuple[Remake, ...] = ()
    outputs: dict[str, str] = Field(default_factory=dict)  # of `published`: key under OUT/ID -> sha256
    sha256: str  # of this entry without this field, as canonical JSON
