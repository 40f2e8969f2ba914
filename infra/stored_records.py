"""A record as stored: {"step", "version", "inputs", "record", "sha256"}; the digest covers the record, since a flipped digit still parses."""

import json
from hashlib import sha256
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from infra.record_keys import canonical_json, record_key

RecordT = TypeVar("RecordT", bound=BaseModel)
UNREADABLE = (ValueError, KeyError, TypeError, RecursionError, ValidationError)  # what open_record raises for what is no such record


def seal_record(step: str, version: int, inputs: dict, record: BaseModel) -> bytes:
    """The record as it is stored. Raises TypeError when it does not survive JSON."""
    text = canonical_json(record)
    if type(record).model_validate_json(text) != record:
        raise TypeError(f"a {type(record).__name__} of {step} does not survive JSON")
    envelope = {"step": step, "version": version, "inputs": inputs, "record": record, "sha256": sha256(text.encode()).hexdigest()}
    return canonical_json(envelope).encode()


def open_record(data: bytes, key: str, record_type: type[RecordT]) -> RecordT:
    """The record in these bytes. Raises one of UNREADABLE when it is not whole, or not of this key."""
    envelope = json.loads(data)
    if record_key(envelope["step"], envelope["version"], envelope["inputs"]) != key:
        raise ValueError("it belongs to another key")
    text = canonical_json(envelope["record"])
    if sha256(text.encode()).hexdigest() != envelope["sha256"]:
        raise ValueError("it differs from its digest")
    return record_type.model_validate_json(text)


def first_line(error: Exception) -> str:
    """What an error says, short enough for a log."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
