"""What a record is filed under: the sha256 of canonical JSON, so that equal inputs give equal keys in every process and every year."""

import json
import math
import re
from fractions import Fraction
from hashlib import sha256

from pydantic import BaseModel

_STEP = re.compile(r"[a-z][a-z0-9_]{0,63}")


def check_step(step: str) -> None:
    """Raise ValueError unless `step` is a plain lower-case name: it becomes a folder."""
    if not _STEP.fullmatch(step):
        raise ValueError(f"step {step!r} must match {_STEP.pattern}")


def record_key(step: str, version: int, inputs: dict) -> str:
    """Hex sha256 of (step, version, inputs). Raises TypeError or ValueError for what has no one JSON form."""
    return sha256(canonical_json([step, version, inputs]).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """One text per value: sorted keys, no spaces, ASCII. Raises TypeError (set, path, bytes, ...) or ValueError (NaN, infinity)."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"))
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("only text keys have one JSON form")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no JSON form")
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"a {type(value).__name__} has no one JSON form; name files by digest, numbers as Python numbers")
