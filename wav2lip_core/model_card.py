"""The card that travels with every model: what it is, what it was made of, under which licence, and how good it was found to be."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, field_validator

from wav2lip_core.container import CheckpointError, safetensors_metadata, sha256_of

HEADER_ENTRY = "dubflow_card"  # in the safetensors header: the card without the digest of the file it is part of
_MAX_CARD_BYTES = 1024**2

Kind = Literal["generator", "sync_expert", "discriminator", "vgg_syncnet"]


class ModelCard(BaseModel):
    """Written as NAME.json beside NAME.safetensors and, all but the digest, into the weights file's own header."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    kind: Kind
    weights_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")  # empty until saved
    config: dict[str, int | float | str] = {}  # the network's config dataclass, field by field; filled in when saved
    data: str  # what it was trained on
    licence: str
    attribution: str
    evaluation: dict[str, JsonValue] = {}  # figure by name, and on what it was measured
    parent: str | None = None  # digest of the weights it was trained on from
    trained_by: tuple[str, ...] = ()  # digests of the experts whose opinion it was trained towards: they cannot judge it
    run: dict[str, JsonValue] = {}  # recipe and its digest, steps, minutes, device, people, digest of the data
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    @field_validator("evaluation")
    @classmethod
    def _figures_are_finite(cls, evaluation: dict[str, JsonValue]) -> dict[str, JsonValue]:
        json.dumps(evaluation, allow_nan=False)  # raises ValueError for NaN and infinity at any depth
        return evaluation


def card_of(path: Path) -> ModelCard | None:
    """The card of a recognised safetensors file: NAME.json beside it (people may complete it), else the one in its header, else None.

    Raises CheckpointError if the card is damaged, or was written for other weights.
    """
    beside = path.with_suffix(".json")
    digest = sha256_of(path)
    if beside.is_file():
        card = _parsed(path, beside.name, _read(beside))
    else:
        embedded = safetensors_metadata(path).get(HEADER_ENTRY)
        card = _parsed(path, "its header", embedded).model_copy(update={"weights_sha256": digest}) if embedded is not None else None
    if card and card.weights_sha256 != digest:
        raise CheckpointError(f"{path} does not match {beside.name}: that card is for weights {card.weights_sha256[:12]}…, these are {digest[:12]}…")
    return card


def _read(beside: Path) -> str:
    with beside.open(encoding="utf-8", errors="replace") as file:
        return file.read(_MAX_CARD_BYTES)


def _parsed(path: Path, where: str, text: str) -> ModelCard:
    try:
        return ModelCard.model_validate_json(text)
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be used: the model card in {where} is damaged: {str(error)[:300]}") from error
