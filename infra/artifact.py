"""The only way pixels, sound and models are named between steps: by digest."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Artifact(BaseModel):
    """Bytes in the artifact store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    num_bytes: int = Field(ge=0)
    media_type: str


def artifacts_of(value: object) -> Iterator[Artifact]:
    """Every Artifact that a record names, at any depth."""
    if isinstance(value, Artifact):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from artifacts_of(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from artifacts_of(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from artifacts_of(item)


def object_key(sha256: str) -> str:
    """Where an artifact's bytes lie, from the store's root."""
    return f"objects/{sha256[:2]}/{sha256}"


def record_place(step: str, key: str) -> str:
    """Where a record lies, from the store's root."""
    return f"records/{step}/{key}.json"
