"""One training run from recipe to weights with a card; the same call goes on where an earlier one stopped."""

import functools
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch

from infra.errors import InputError, OurTroubleError
from training import recipes
from training.clip_source import ClipSource, held_out_clips
from training.curves import draw_curves
from training.evaluate_generator import bundled_expert
from training.leakage import refuse_leaks
from training.lineage import member_digests
from training.live_table import watching
from training.processes import Machine, World, launch
from training.run_folder import RunFolder
from training.train_expert import ExpertTask
from training.train_generator import GeneratorTask
from training.trainer import Task, Trainer
from wav2lip_core.checkpoint import CheckpointError, ModelCard, load_generator, load_sync_expert, read_card, save_model, sha256_of
from wav2lip_core.generator import LipGenerator
from wav2lip_core.sync_expert import SyncExpert

WEIGHTS = "weights.safetensors"
Watch = Callable[[dict], None]


@dataclass(frozen=True)
class TrainResult:
    """What a run has made. weights: safetensors with its card beside it; log: one JSON object a line; curves: a PNG."""

    weights: Path
    card: ModelCard
    log: Path
    curves: Path
    num_steps: int


@dataclass(frozen=True)
class _Plan:
    """Everything the processes of a run need to know; picklable."""

    recipe: recipes.Recipe
    source: ClipSource
    data: str
    without: frozenset[str]
    start: Path | None
    experts: tuple[Path, ...]
    out: Path
    machine: Machine


def train(
    recipe: str | recipes.Recipe,
    data: str | Path,
    out: Path,
    *,
    start: Path | None = None,
    without: frozenset[str] = frozenset(),
    experts: tuple[Path, ...] = (),
    machine: Machine = Machine(),
    watch: Watch | None = None,
) -> TrainResult:
    """Train by a recipe on prepared clips of everybody but `without`, who are measured on instead, into the folder `out`.

    data: a folder or S3 prefix of prepared clips. start: weights to go on from; their architecture then replaces the recipe's. experts: who judge
    a generator in training; the bundled one if none is given. Called again with the same arguments it resumes to the step, or gives what is
    finished. Raises InputError for another training in `out`, leaking or missing clips and wrong weights; DivergedError when the loss breaks;
    TransientError when the disk is full: what was saved stays good.
    """
    recipe = recipes.recipe_named(recipe) if isinstance(recipe, str) else recipe
    recipe = _with_architecture_of(start, recipe)
    experts = () if isinstance(recipe, recipes.ExpertRecipe) else experts or (bundled_expert(),)
    refuse_leaks(data, without)
    source = ClipSource(
        data,
        num_in_memory=recipe.num_clips_in_memory,
        refill_every=recipe.refill_every,
        seed=recipe.seed,
        min_windows=recipes.min_windows(recipe),
        without=without,
    )
    plan = _Plan(recipe, source, str(data), without, start, experts, out, machine)
    run = RunFolder(out)
    _refuse_machine(machine, recipe)
    with run.held():
        run.claim(_identity(plan))
        if not _is_finished(out):
            launch(machine, functools.partial(_work, plan, watch), out)
        card = read_card(out / WEIGHTS)
    if card is None:
        raise OurTroubleError(f"The training in {out} ended without weights.")
    return TrainResult(out / WEIGHTS, card, run.log_path, draw_curves(run.rows(), out / "curves.png", card.name), int(str(card.run["num_steps"])))


def _refuse_machine(machine: Machine, recipe: recipes.Recipe) -> None:
    """Raise InputError for a device that is not there, and for processes that cannot share a step's slices."""
    if machine.kind and recipe.num_slices % machine.num_processes:
        raise InputError(f"{machine.num_processes} processes cannot share {recipe.num_slices} slices evenly. Use a number that divides it.")


def _with_architecture_of(start: Path | None, recipe: recipes.Recipe) -> recipes.Recipe:
    if start is None:
        return recipe
    model = _load(start, recipe)
    return replace(recipe, model=model.config)  # type: ignore[arg-type]


def _load(path: Path, recipe: recipes.Recipe) -> LipGenerator | SyncExpert:
    try:
        return load_sync_expert(path) if isinstance(recipe, recipes.ExpertRecipe) else load_generator(path)
    except (CheckpointError, OSError) as error:
        raise InputError(f"{recipe.name} cannot go on from {path}: {error}") from error


def _identity(plan: _Plan) -> dict:
    """What makes this training this one: repeated on a folder it resumes, anything else is refused."""
    return {
        "recipe": recipes.as_table(plan.recipe),
        "data_digest": plan.source.digest,
        "without": sorted(plan.without),
        "start": None if plan.start is None else sha256_of(plan.start),
        "experts": [_expert_digest(path) for path in plan.experts],
    }


def _expert_digest(path: Path) -> str:
    try:
        load_sync_expert(path)
    except (CheckpointError, OSError) as error:
        raise InputError(f"{path} is no sync expert to train with: {error}") from error
    return sha256_of(path)


def _is_finished(out: Path) -> bool:
    try:
        return (out / WEIGHTS).is_file() and read_card(out / WEIGHTS) is not None
    except CheckpointError:  # written, but not whole: made again from the last state
        return False


def _work(plan: _Plan, watch: Watch | None, world: World) -> None:
    """The run, in one of its processes."""
    torch.manual_seed(plan.recipe.seed)
    run = RunFolder(plan.out)
    task = _task(plan, world)
    with watching(plan.recipe, run, watch) if world.leads else nullcontext(_nobody) as see:
        trainer = Trainer(task, plan.recipe, run, world, plan.machine, see)
        model = trainer.train()
    if world.leads:
        save_model(plan.out / WEIGHTS, model.cpu(), _card(plan, trainer))


def _nobody(_row: dict) -> None:
    """The other processes' rows are seen by none."""


def _task(plan: _Plan, world: World) -> Task:
    recipe = plan.recipe
    held_out = held_out_clips(plan.data, plan.without) if world.leads else []
    if isinstance(recipe, recipes.ExpertRecipe):
        expert = SyncExpert(recipe.model) if plan.start is None else load_sync_expert(plan.start)
        return ExpertTask(recipe, expert, plan.source, held_out, world)
    experts = [member for path in plan.experts for member in load_sync_expert(path).members()]
    generator = LipGenerator(recipe.model) if plan.start is None else load_generator(plan.start)
    return GeneratorTask(recipe, generator, experts, plan.source, held_out, plan.out, world)


def _attribution(plan: _Plan) -> str:
    """What the clips' licences ask for, and what those of the weights asked for that were gone on from."""
    parent = None if plan.start is None or plan.start.suffix != ".safetensors" else read_card(plan.start)
    parts = [*({parent.attribution} if parent else ()), *sorted({entry.licence for entry in plan.source.entries} - {""})]
    return "; ".join(parts) or "trained on clips without a stated licence"


def _card(plan: _Plan, trainer: Trainer) -> ModelCard:
    people, entries = plan.source.people, plan.source.entries
    rows = RunFolder(plan.out).rows()
    held_out = next((row["held_out"] for row in reversed(rows) if "held_out" in row), None)
    evaluation = {"people": sorted(plan.without), "seen_by": "training", **held_out} if held_out else {}
    return ModelCard(
        name=plan.recipe.name.replace("_", "-"),
        kind="sync_expert" if isinstance(plan.recipe, recipes.ExpertRecipe) else "generator",
        data=f"{len(entries)} clips of {len(people)} people; recipe {plan.recipe.name}, {trainer.step} steps, seed {plan.recipe.seed}",
        licence=recipes.LICENCE,
        attribution=_attribution(plan),
        evaluation=evaluation,
        parent=None if plan.start is None else sha256_of(plan.start),
        trained_by=tuple(digest for path in plan.experts for digest in (sha256_of(path), *sorted(member_digests(path)))),
        run={  # type: ignore[arg-type]
            "recipe": recipes.as_table(plan.recipe),
            "recipe_digest": recipes.digest_of(plan.recipe),
            "run_digest": sha256(json.dumps(_identity(plan), sort_keys=True).encode()).hexdigest(),
            "num_steps": trainer.step,
            "minutes": round(trainer.seconds() / 60, 2),
            "device": plan.machine.describe(),
            "people": list(people),
            "without": sorted(plan.without),
            "data_digest": plan.source.digest,
            "clip_licences": sorted({entry.licence for entry in entries} - {""}),
        },
    )
