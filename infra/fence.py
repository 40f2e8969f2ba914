"""What a write of a lease's holder has to pass, so that one who overslept overwrites nothing."""

from typing import Protocol


class Fence(Protocol):
    """Asked when all bytes of a write are there, the moment before they become visible."""

    @property
    def unfinished(self) -> str:
        """Prefix of keys where a folder keeps the holder's half-done writes, apart from everybody else's."""
        ...

    def check(self) -> None:
        """Raises an error when the lease is another's by now."""
        ...
