"""What a retraining is made of: which drops, which champion, which recipe; and what of it must not be trained on at all."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args, get_type_hints

from pydantic import AwareDatetime

from infra.errors import InputError
from infra.storage import Storage
from infra.storage_keys import redact
from tasks.production import ModelRef, Role
from tasks.types import Record
from training import shards
from training.drops import Drop
from training.golden import GoldenSet
from training.leakage import refuse_shared
from training.promotion import PromotionVerdict
from training.recipes import GeneratorRecipe, Recipe, digest_of, recipe_named

MIN_PEOPLE = 2  # in a training set; with one, a model learns that person and nothing of people
ONE_PERSON_RECIPES = frozenset({"finetune_character"})  # meant for it


class Decision(Record):
    """What came of one retraining, kept for good under retrainings/KEY.json."""

    format: int = 1
    key: str
    outcome: Literal["promoted", "refused"]
    role: Role
    recipe: str
    recipe_sha256: str
    reasons: tuple[str, ...]  # in words, with the numbers
    champion: ModelRef
    judge_sha256: str | None
    challenger_sha256: str | None  # None: no weights came out of the training
    golden: str
    golden_sha256: str
    drops: tuple[str, ...]  # ids, that is digests of their clips
    people: dict[str, int]  # who was trained on -> number of clips
    verdict: PromotionVerdict | None = None
    generation: int | None = None  # of production, where promoted
    decided: AwareDatetime


def changed_recipe(name: str, changes: Mapping[str, str]) -> Recipe:
    """The recipe of this name with some of its plain fields set, as in {"num_steps": "400"}. Raises InputError for what it does not have."""
    recipe = recipe_named(name)
    values: dict[str, object] = {}
    for field, text in changes.items():
        current = getattr(recipe, field, None) if field in {known.name for known in dataclasses.fields(recipe)} else None
        if field == "name" or not isinstance(current, (int, float, str)) or isinstance(current, bool):
            plain = [known.name for known in dataclasses.fields(recipe) if isinstance(getattr(recipe, known.name), (int, float, str))]
            raise InputError(f"{redact(field)} is nothing that can be set in {name}. These can: {', '.join(sorted(set(plain) - {'name'}))}.")
        values[field] = _value_of(recipe, field, type(current), text)
    return dataclasses.replace(recipe, **values)  # type: ignore[arg-type]


def _value_of(recipe: Recipe, field: str, kind: type, text: str) -> object:
    choices = get_args(get_type_hints(type(recipe))[field]) if kind is str else ()
    if choices and text not in choices:
        raise InputError(f"{field}={redact(text)}: one of {', '.join(choices)} is needed.")
    try:
        value = kind(text)
    except ValueError:
        raise InputError(f"{field}={redact(text)}: a {kind.__name__} is needed.") from None
    if isinstance(value, (int, float)) and not (math.isfinite(value) and value >= 0):
        raise InputError(f"{field}={redact(text)}: a number from 0 on is needed.")
    return value


def role_of(recipe: Recipe) -> Role:
    return "generator" if isinstance(recipe, GeneratorRecipe) else "sync_expert"


def key_of(recipe: Recipe, champion: ModelRef, others: Sequence[str], golden: GoldenSet, drops: tuple[Drop, ...], sync_check: str) -> str:
    """Equal for retrainings that would come to the same. others: digests of the judge and of the experts that have a say in the training."""
    parts = [digest_of(recipe), champion.sha256, list(others), golden.sha256, sorted(drop.id for drop in drops), sync_check]
    return sha256(json.dumps(parts).encode()).hexdigest()


def decision_key(key: str) -> str:
    return f"retrainings/{key}.json"


def read_decision(storage: Storage, key: str) -> Decision | None:
    """What was decided before on the same question, or None."""
    return Decision.model_validate_json(storage.read_bytes(decision_key(key))) if storage.exists(decision_key(key)) else None


def join_prepared(folders: Mapping[str, Path], into: Path) -> Path:
    """Prepared drops, by id, as one prepared set in the folder `into`: links to their shards and one index; no clip twice."""
    into.mkdir(parents=True, exist_ok=True)
    lines: dict[str, str] = {}
    for drop_id, folder in sorted(folders.items()):
        for entry in shards.list_entries(folder):
            name = f"{drop_id[:16]}-{entry.shard}"
            link = into / name
            if not link.is_symlink():
                os.symlink((folder / entry.shard).resolve(), link)
            lines.setdefault(entry.key, entry.model_copy(update={"shard": name}).model_dump_json())
    index = into / f"{shards.INDEX}.new"
    index.write_text("".join(f"{line}\n" for line in lines.values()), encoding="utf-8")
    index.replace(into / shards.INDEX)
    return into


def refuse_training_set(data: Path, golden_data: Path, recipe: Recipe) -> dict[str, int]:
    """People and their numbers of clips. Raises InputError for a set of one person only, and for one that shares anything with the golden set."""
    entries = list(shards.list_entries(data))
    people: dict[str, int] = {}
    for entry in entries:
        people[entry.person] = people.get(entry.person, 0) + 1
    if len(people) < MIN_PEOPLE and recipe.name not in ONE_PERSON_RECIPES:
        raise InputError(
            f"The training set shows one person only ({', '.join(people)}, {len(entries)} clips). {recipe.name} needs {MIN_PEOPLE} or more; "
            f"add clips of others, or use {', '.join(sorted(ONE_PERSON_RECIPES))}."
        )
    refuse_shared(list(shards.list_entries(golden_data)), entries)
    return dict(sorted(people.items()))
