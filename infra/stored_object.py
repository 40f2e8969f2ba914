"""What a store tells of one of its objects without giving its bytes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StoredObject:
    """version changes whenever the bytes do (an ETag; a folder's inode, size and time). modified_s: Unix time by the store's own clock."""

    key: str
    num_bytes: int
    modified_s: float
    version: str
    sha256: str | None = None  # as put by us; None where that would have to be read or is not known
