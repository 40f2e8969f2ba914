"""The characters of a film: whose face is whose, and whose dubbed voice drives which lips."""

from typing import Annotated

from pydantic import Field, StringConstraints

from tasks.types.faces import SpeakingSpan
from tasks.types.film import Stem
from tasks.types.record import Record

CharacterName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^=\x00-\x1f\x7f]+$")]


class Character(Record):
    """An entry of a cast file: what is known of a character's face."""

    name: CharacterName
    pictures: tuple[str, ...] = ()  # as written in the file: relative to it
    tracks: dict[int, tuple[int, ...]] = Field(default_factory=dict)  # shot index -> the face's tracks there


class FaceIdentity(Record):
    """Whose face a track shows, or that nobody can tell."""

    track_id: int
    character: str | None = None  # None: unknown
    likeness: float | None = None  # to the character, or to the likeliest where unknown; None: the cast file names the track, or nothing to compare
    evidence: str = ""  # a few plain words


class Voice(Record):
    """Whose dubbed voice drives the lips of one track of one shot."""

    track_id: int
    character: str
    stem: Stem
    spoke: tuple[SpeakingSpan, ...] = ()  # where this face speaks in the original
