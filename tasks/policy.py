"""The verdict policy: thresholds, severities and the retry ladder, read from a small versioned TOML file that a studio can change."""

import tomllib
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from infra.errors import InputError
from infra.record_keys import canonical_json
from tasks.types import Record, Severity, TakeSettings

PACKAGE_POLICY = Path(__file__).parent / "policies" / "dubflow.toml"
MOST_BYTES = 1_000_000
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Code = Literal[
    "failed", "worse_than_undubbed", "offset", "no_better_take", "takes_rejected", "scorer_untrusted", "not_scored", "far_below_original",
    "left_though_dub_speaks", "identity", "seam", "flicker", "leak", "soft", "upscaled", "pooled",
]  # fmt: skip
KeptReason = Literal["no_face", "off_screen", "listener", "too_small", "profile", "occluded", "silent", "refused", "too_short", "ambiguous"]


class SyncRules(Record):
    max_offset_frames: Annotated[int, Field(ge=0, le=15)]
    min_share_of_original: Share
    min_offset_agreement: Share
    pool_under_windows: Annotated[int, Field(ge=0)]
    pool_neighbours: Annotated[int, Field(ge=0, le=100)]
    pool_of_anybody: Annotated[int, Field(ge=0, le=100)]


class SelfTestRules(Record):
    min_shots: Annotated[int, Field(ge=1)]
    min_found_share: Share


class PictureRules(Record):
    max_leak_share: Amount
    max_seam_error: Amount
    min_sharpness_ratio: Amount
    min_generated_per_face_pixel: Amount
    max_flicker_ratio: Amount
    min_identity: Annotated[float, Field(ge=-1, le=1)]


class KeptRules(Record):
    min_dub_share: Share
    looked_at: tuple[KeptReason, ...]


class Rung(Record):
    """What one try changes in the best take so far; None changes nothing."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    when: tuple[Code, ...]
    sound_shift: Literal["measured"] | Annotated[float, Field(ge=-15, le=15)] | None = None  # frames of 40 ms
    padding: Annotated[float, Field(ge=0, le=0.5)] | None = None
    smoothing: Literal["centred", "none"] | None = None
    reference: Literal["auto", "same_frame", "middle_frame"] | None = None
    model: str | None = None


class FirstTake(Record):
    """How the first take is made; the defaults are the generator's own ways."""

    sound_shift: Annotated[float, Field(ge=-15, le=15)] = 0.0
    padding: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    smoothing: Literal["centred", "none"] = "centred"
    reference: Literal["auto", "same_frame", "middle_frame"] = "auto"

    def settings(self) -> TakeSettings:
        return TakeSettings(sound_shift_frames=self.sound_shift, padding=self.padding, smoothing=self.smoothing, reference=self.reference)


class Ladder(Record):
    max_tries: Annotated[int, Field(ge=1, le=50)]
    max_seconds: Amount
    keep_original_when: tuple[Code, ...]
    first: FirstTake
    rungs: tuple[Rung, ...]

    @model_validator(mode="after")
    def _names_differ(self) -> "Ladder":
        names = [rung.name for rung in self.rungs]
        for name in names:
            if name == "first" or names.count(name) > 1:
                raise ValueError(f"two rungs are named {name!r}")
        return self


class Policy(Record):
    """A whole policy. The meaning of every field is told in policies/dubflow.toml."""

    format: Literal[1]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    version: Annotated[int, Field(ge=1)]
    sync: SyncRules
    self_test: SelfTestRules
    picture: PictureRules
    kept: KeptRules
    severity: dict[Code, Severity]
    ladder: Ladder

    @property
    def sha256(self) -> str:
        """Names the policy by what it says, not by its file's comments."""
        return sha256(canonical_json(self).encode()).hexdigest()

    @property
    def model_names(self) -> tuple[str, ...]:
        """Models that the ladder may ask for."""
        return tuple(dict.fromkeys(rung.model for rung in self.ladder.rungs if rung.model is not None))


@lru_cache(maxsize=1)
def package_policy() -> Policy:
    """dubflow's own policy."""
    return Policy.model_validate(tomllib.loads(PACKAGE_POLICY.read_text(encoding="utf-8")))


def read_policy(path: str | Path | None) -> Policy:
    """The package's policy with a studio's file laid over it; None: the package's alone.

    Raises InputError that names file, key and line for what cannot be read, unknown keys, values out of range, and a missing name or version.
    """
    if path is None:
        return package_policy()
    path = Path(path)
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise InputError(f"The policy {path} has {len(data)} bytes; a policy is a short TOML file.")
        text = data.decode("utf-8-sig")
        given = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"The policy {path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"The policy {path} is no TOML file: {error}.") from error
    own = tomllib.loads(PACKAGE_POLICY.read_text(encoding="utf-8"))
    for key in ("name", "version"):
        if key not in given:
            raise InputError(f"The policy {path} lacks the key {key!r}: reports name the policy they were judged by.")
    try:
        return Policy.model_validate(_laid_over(own, given))
    except ValidationError as error:
        raise InputError(_in_words(path, text, error)) from error


def _laid_over(base: dict, given: dict) -> dict:
    """Tables are merged key by key, with the given keys' order after the base's; everything else is replaced."""
    merged = dict(base)
    for key, value in given.items():
        merged[key] = _laid_over(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged


def _in_words(path: Path, text: str, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False)[:10]:
        place = [str(part) for part in problem["loc"] if not str(part).startswith(("literal[", "float", "constrained"))]
        line = _line_of(text, [part for part in problem["loc"] if isinstance(part, (str, int))])
        where = f"line {line}, " if line is not None else ""
        lines.append(f"{where}{'.'.join(place) or 'the whole'}: {problem['msg']}")
    return f"The policy {path} cannot be used. " + "; ".join(dict.fromkeys(lines)) + ". Every key is explained in tasks/policies/dubflow.toml."


def _line_of(text: str, place: list[str | int]) -> int | None:
    """The line (from 1) that most likely holds the key at this place of the file: tomllib keeps no positions."""
    names = [part for part in place if isinstance(part, str)]
    number = next((part for part in place if isinstance(part, int)), 0)
    table, num_seen, best = "", -1, None
    for count, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("["):
            is_list = line.startswith("[[")
            table = line.strip("[] ").split("]")[0].strip()
            num_seen = num_seen + 1 if is_list else num_seen
            if table and table == ".".join(names[: len(table.split("."))]) and (not is_list or num_seen == number):
                best = count
            continue
        key = line.split("=")[0].strip().strip("\"'")
        full = f"{table}.{key}" if table else key
        is_here = not (table.endswith("rungs") and num_seen != number)
        if key and is_here and full == ".".join(names[: len(full.split("."))]) and not line.startswith("#"):
            return count
    return best
