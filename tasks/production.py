"""What production.json says: the weights in use, by digest, in numbered generations that never change. Read here; training.registry writes it.

A generation is first written to history/, where a number can be taken once, and then to production.json. Readers look one number further, so that
a writer that died in between has still done its work, and a late one cannot turn production back.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.storage import Storage
from tasks.types import Record

POINTER = "production.json"
NAME = "production"  # as in --model production
Role = Literal["generator", "sync_expert", "judge"]
ROLE_KINDS: dict[Role, str] = {"generator": "generator", "sync_expert": "sync_expert", "judge": "sync_expert"}
_NAMED = re.compile(rf"{NAME}(?:@([1-9][0-9]{{0,7}}))?")


class ModelRef(Record):
    """Weights in the registry: models/SHA256.safetensors with their card beside them."""

    name: str
    kind: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    num_bytes: int

    @property
    def weights_key(self) -> str:
        return f"models/{self.sha256}.safetensors"

    @property
    def card_key(self) -> str:
        return f"models/{self.sha256}.json"


class Production(Record):
    """One generation. The judge scores generators and trains none."""

    format: Literal[1] = 1
    generation: int = Field(ge=1)
    models: dict[Role, ModelRef]
    action: Literal["promote", "rollback"]
    restores: int | None = None  # a rollback: the generation whose models these are
    reason: str  # in plain words, with the numbers
    by: str  # a person, or the flow
    record: str | None = None  # key of the retraining that led to it
    at: AwareDatetime
    previous_sha256: str | None  # of the generation before, as it is stored: a chain

    def as_bytes(self) -> bytes:
        """As it is stored, in production.json and in history/."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def history_key(generation: int) -> str:
    return f"history/{generation:08d}.json"


def is_production(name: str) -> bool:
    """Whether a model's name means the registry: `production`, or `production@7` for generation 7 whatever came later."""
    return _NAMED.fullmatch(name) is not None


def current_production(storage: Storage) -> Production | None:
    """The generation that holds now; None where nothing was ever promoted. Raises InputError for a registry that is damaged."""
    found = _read(storage, POINTER)
    while (later := _read(storage, history_key(found.generation + 1 if found else 1))) is not None:
        found = later
    return found


def production_named(storage: Storage, name: str) -> Production:
    """The generation that `production` or `production@N` means now. Raises InputError where there is none."""
    match = _NAMED.fullmatch(name)
    assert match is not None
    found = current_production(storage) if match[1] is None else _read(storage, history_key(int(match[1])))
    if found is None:
        missing = "No model is in production" if match[1] is None else f"There was never a generation {match[1]} of production"
        raise InputError(f"{missing} in {storage.describe(POINTER)}. Put one there with: dub models promote FILE")
    return found


def fetch_model(storage: Storage, model: ModelRef, folder: Path) -> Path:
    """The weights as a local file in `folder`, named after their digest and checked against it. Raises InputError for damaged ones."""
    weights = folder / f"{model.sha256}.safetensors"
    if not (weights.is_file() and sha256_of_file(weights) == model.sha256):
        weights.unlink(missing_ok=True)
        storage.get(model.card_key, weights.with_suffix(".json"))
        storage.get(model.weights_key, weights)
        if sha256_of_file(weights) != model.sha256:
            weights.unlink()
            raise InputError(f"{storage.describe(model.weights_key)} is damaged: these are not the bytes that were promoted. Roll back.")
    return weights


def _read(storage: Storage, key: str) -> Production | None:
    if not storage.exists(key):
        return None
    try:
        return Production.model_validate_json(storage.read_bytes(key))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            f"{storage.describe(key)} cannot be read ({'.'.join(map(str, first['loc']))}: {first['msg']}). Restore it from {history_key(1)[:8]}."
        ) from None
