"""The flow `retrain`: new clips in; a challenger trained from the champion, both measured on the golden set; promoted only if it is really better."""

import flows.environment  # noqa: F401  # isort: skip
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from prefect import Task, flow
from pydantic import Field

from flows.learning.promotion_board import show_decision
from flows.learning.retrain_steps import GOLDEN, MEASURE, PREPARE, TRAIN
from flows.review.redo_after import Redone, redo_episodes
from flows.run import progress
from flows.studio import notify
from infra.artifacts import ArtifactStore
from infra.errors import InputError
from infra.settings import get_settings, user_name
from infra.storage import Storage, open_storage
from tasks.model_shelf import BUNDLED_EXPERT
from tasks.production import ModelRef, Production, Role, current_production, fetch_model
from tasks.types import Record
from training.challenge import (
    Decision,
    changed_recipe,
    decision_key,
    join_prepared,
    key_of,
    read_decision,
    refuse_training_set,
    role_of,
)
from training.drops import Drop, list_drops, read_drop
from training.evaluate import bundled_judge
from training.golden import GoldenSet, read_golden
from training.promotion import PromotionVerdict, judge_promotion
from training.recipes import Recipe, digest_of
from training.registry import ProductionMovedError, Registry, file_of
from training.train import TrainResult
from training.trainer import DivergedError
from wav2lip_core.checkpoint import CheckpointError, describe
from wav2lip_core.lip_syncer import BUNDLED_GENERATOR

logger = logging.getLogger(__name__)
SyncCheck = Literal["expert", "none"]


class RetrainResult(Record):
    """What a retraining came to. is_new: decided in this run; otherwise it was asked before and this is the answer of then."""

    decision: Decision
    is_new: bool
    record: str  # where the decision is kept
    left_out: dict[str, str] = Field(default_factory=dict)  # drops that were not trained on -> why
    redone: tuple[Redone, ...] = ()


@dataclass(frozen=True)
class Question:
    """One retraining, everything in it pinned by digest at the start."""

    key: str
    storage: Storage
    work_folder: Path
    role: Role
    recipe: Recipe
    before: Production | None
    champion: ModelRef
    champion_weights: Path
    judge: Path | None  # of generators
    checker: Path | None  # looks whether lips and sound of new clips agree
    experts: tuple[Path, ...]  # a generator is trained towards their opinion
    golden: GoldenSet
    drops: tuple[Drop, ...]


@flow(
    name="retrain",
    flow_run_name="retrain {recipe}",
    persist_result=False,
    validate_parameters=True,
    on_completion=[notify.tell_finished],
    on_failure=[notify.tell_failed],
    on_crashed=[notify.tell_failed],
)
def retrain(
    drop: str | None = None,
    recipe: str = "generator_lite",
    changes: dict[str, str] | None = None,
    golden: str = "golden",
    sync_check: SyncCheck = "expert",
    episodes: list[str] | None = None,
    registry: str | None = None,
    work: str | None = None,
) -> RetrainResult:
    """Train a challenger on the stored drops and promote it if it is better.

    drop: the new one, which must be fit to learn from; without it, all that are. changes: fields of the recipe, as in {"num_steps": "400"}.
    sync_check: whether the sync expert looks through new clips. episodes: OUT/ID; where promoted, their shots made by another model are made again.
    Raises InputError for data that must not be trained on and for whatever else the user must change; production is then as it was.
    """
    question = ask(drop, recipe, changes or {}, golden, sync_check, registry, work)
    record = question.storage.describe(decision_key(question.key))
    known = read_decision(question.storage, question.key)
    if known is not None:
        return RetrainResult(decision=known, is_new=False, record=record)
    data, golden_data, people, left_out = prepare(question, must_have=drop)
    decision = decide(question, data, golden_data, people)
    with file_of((decision.model_dump_json(indent=1) + "\n").encode()) as path:
        question.storage.put_if_absent(path, decision_key(question.key))
    show_decision(decision, record)
    redone = redo_episodes(episodes or [], decision) if decision.outcome == "promoted" else ()
    return RetrainResult(decision=decision, is_new=True, record=record, left_out=left_out, redone=redone)


def ask(drop: str | None, recipe: str, changes: Mapping[str, str], golden: str, sync_check: str, registry: str | None, work: str | None) -> Question:
    """Read and pin everything. Raises InputError where something is missing."""
    settings = get_settings()
    storage = open_storage(registry or settings.registry_place)
    work_folder = (Path(work).expanduser().absolute() if work else settings.work_folder) / "retrain"
    chosen, golden_set = changed_recipe(recipe, changes), read_golden(storage, golden)
    drops = list_drops(storage)
    if drop is not None:
        read_drop(storage, drop)
    if not drops:
        raise InputError(f"There is no data drop in {storage.describe('drops/none')[:-5]}. Add one: dub data add FOLDER --licence ... --consent ...")
    role, before = role_of(chosen), current_production(storage)
    pinned = {name: fetch_model(storage, model, work_folder / "models") for name, model in (before.models if before else {}).items()}
    champion_weights = pinned.get(role) or (BUNDLED_GENERATOR if role == "generator" else BUNDLED_EXPERT)
    champion = before.models[role] if before and role in before.models else _described(champion_weights)
    judge = (pinned.get("judge") or bundled_judge()) if role == "generator" else None
    experts = (pinned["sync_expert"],) if role == "generator" and "sync_expert" in pinned else ()
    others = [_described(path).sha256 for path in (*((judge,) if judge else ()), *experts)]
    key = key_of(chosen, champion, others, golden_set, drops, sync_check)
    return Question(
        key=key,
        storage=storage,
        work_folder=work_folder,
        role=role,
        recipe=chosen,
        before=before,
        champion=champion,
        champion_weights=champion_weights,
        judge=judge,
        checker=(pinned.get("sync_expert") or BUNDLED_EXPERT) if sync_check == "expert" else None,
        experts=experts,
        golden=golden_set,
        drops=drops,
    )


def prepare(question: Question, must_have: str | None) -> tuple[Path, Path, dict[str, int], dict[str, str]]:
    """(training data, golden data, people and their clips, drops left out and why). Raises InputError if the drop asked for is no good."""
    golden_data: Path = _do(GOLDEN, storage=question.storage, golden=question.golden, work_folder=question.work_folder)
    folders, left_out = {}, {}
    for drop in question.drops:
        try:
            folders[drop.id] = _do(
                PREPARE, storage=question.storage, drop=drop, golden=question.golden, expert=question.checker, work_folder=question.work_folder
            )
        except InputError as error:
            if drop.id == must_have:
                raise
            left_out[drop.id] = str(error)
            progress.tell(progress.Said(f"left out: {error}", is_warning=True))
    if not folders:
        raise InputError(f"None of the {len(left_out)} data drops can be learnt from. The first: {next(iter(left_out.values()))}")
    data = join_prepared(folders, question.work_folder / "runs" / question.key[:32] / "data")
    return data, golden_data, refuse_training_set(data, golden_data, question.recipe), left_out


def decide(question: Question, data: Path, golden_data: Path, people: dict[str, int]) -> Decision:
    """Train, measure, and promote or refuse. Production changes only at the very end, and only if it is still what was measured against."""
    run = question.work_folder / "runs" / question.key[:32]
    try:
        made: TrainResult = _do(
            TRAIN, recipe=question.recipe, data=data, out=run / "training", start=question.champion_weights, experts=question.experts
        )
    except DivergedError as error:
        return _decision(question, people, None, None, None, (f"the training broke: {error}",))
    store = ArtifactStore(question.work_folder / "artifacts")
    store.root.mkdir(parents=True, exist_ok=True)
    shared: dict[str, Any] = {"store": store, "role": question.role, "data": golden_data, "golden_sha256": question.golden.sha256}
    champion = _do(MEASURE, weights=question.champion_weights, judge=question.judge, **shared)
    challenger = _do(MEASURE, weights=made.weights, judge=question.judge, **shared)
    verdict = judge_promotion(question.role, champion.figures, challenger.figures)
    sha256 = _described(made.weights).sha256
    if verdict.decision == "refuse":
        return _decision(question, people, sha256, verdict, None, verdict.reasons)
    try:
        generation = _promote(question, made, challenger.figures, verdict, run)
    except ProductionMovedError as error:
        return _decision(question, people, sha256, verdict, None, (str(error),))
    return _decision(question, people, sha256, verdict, generation, verdict.reasons)


def _promote(question: Question, made: TrainResult, figures: Mapping[str, Any], verdict: PromotionVerdict, run: Path) -> int:
    """Register the challenger with a card that says what it was measured on, and make it production."""
    evaluation = {
        "golden_set": question.golden.name,
        "golden_sha256": question.golden.sha256,
        "judge_sha256": _described(question.judge).sha256 if question.judge else None,
        "champion_sha256": question.champion.sha256,
        **figures,
    }
    trained_on = {**made.card.run, "drops": [drop.id for drop in question.drops]}
    card = made.card.model_copy(update={"evaluation": evaluation, "run": trained_on})
    final = run / "promoted" / made.weights.name
    final.parent.mkdir(parents=True, exist_ok=True)
    final.write_bytes(made.weights.read_bytes())
    final.with_suffix(".json").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    registry = Registry(question.storage)
    model = registry.register(final)
    reason = f"{question.recipe.name}: " + "; ".join(verdict.reasons)
    by = f"retrain ({user_name()})"
    return registry.promote({question.role: model}, question.before, reason=reason, by=by, record=decision_key(question.key)).generation


def _decision(
    question: Question,
    people: dict[str, int],
    challenger: str | None,
    verdict: PromotionVerdict | None,
    generation: int | None,
    reasons: tuple[str, ...],
) -> Decision:
    return Decision(
        key=question.key,
        outcome="refused" if generation is None else "promoted",
        role=question.role,
        recipe=question.recipe.name,
        recipe_sha256=digest_of(question.recipe),
        reasons=reasons,
        champion=question.champion,
        judge_sha256=_described(question.judge).sha256 if question.judge else None,
        challenger_sha256=challenger,
        golden=question.golden.name,
        golden_sha256=question.golden.sha256,
        drops=tuple(drop.id for drop in question.drops),
        people=people,
        verdict=verdict,
        generation=generation,
        decided=datetime.now(UTC).replace(microsecond=0),
    )


def _do(task: Task, **arguments: Any) -> Any:
    """Run one step here and now, as a task that Prefect shows; raises its error."""
    return task(**arguments).result


def _described(weights: Path) -> ModelRef:
    try:
        facts = describe(weights)
    except (CheckpointError, OSError) as error:
        raise InputError(f"{weights} cannot be used: {error}") from error
    return ModelRef(name=facts.card.name if facts.card else weights.stem, kind=facts.kind, sha256=facts.sha256, num_bytes=facts.num_bytes)
