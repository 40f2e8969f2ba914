"""What `dub train`, `dub evaluate` and `dub data prepare` do and print."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import RootModel

from flows.learning.clip_places import clips_of, is_episode
from infra.artifacts import ArtifactStore
from infra.durable import disk_errors
from infra.errors import InputError
from infra.settings import get_settings
from tasks.model_shelf import pin_models
from tasks.types import Record
from training.challenge import changed_recipe
from training.evaluate import bundled_judge, evaluate_model
from training.prepare import PrepareReport, prepare_clips
from training.processes import Machine
from training.recipes import ExpertRecipe, Recipe
from training.train import train
from wav2lip_core.checkpoint import sha256_of

Kind = Literal["expert", "generator"]
NO_EXPERT = "none"


class Trained(Record):
    """What a training has made, and where."""

    recipe: str
    weights: str
    sha256: str
    num_steps: int
    log: str
    curves: str
    evaluation: dict


class Figures(RootModel[dict[str, dict[str, float]]]):
    """Figure by name: value, low, high."""


def train_by_recipe(
    name: str,
    data: str,
    out: Path,
    start: str | None,
    without: list[str],
    experts: list[str],
    machine: Machine,
    fields: dict[str, str],
    changes: dict[str, object],
) -> Trained:
    """fields: of the recipe, as text, that are set anew; changes: the same as values, of which those that are None stay."""
    recipe = dataclasses.replace(changed_recipe(name, fields), **{field: value for field, value in changes.items() if value is not None})  # type: ignore[arg-type]
    kind = "expert" if _is_expert(recipe) else "generator"
    result = train(
        recipe,
        data,
        out,
        start=None if start is None else find_weights(kind, start),
        without=frozenset(without),
        experts=tuple(find_weights("expert", expert) for expert in experts),
        machine=machine,
    )
    return Trained(
        recipe=recipe.name,
        weights=str(result.weights),
        sha256=result.card.weights_sha256,
        num_steps=result.num_steps,
        log=str(result.log),
        curves=str(result.curves),
        evaluation=result.card.evaluation,
    )


def evaluate_weights(kind: Kind, model: str, data: str, judge: str | None, champion: str | None, strip: Path | None, num_bootstrap: int) -> Figures:
    """Measure, and keep the figures under MODELS/evaluations/."""
    weights = find_weights(kind, model)
    expert = find_weights("expert", judge) if judge else bundled_judge()
    before = find_weights(kind, champion) if champion else None
    figures = evaluate_model(kind, weights, data, judge=expert, champion=before, strip=strip, num_bootstrap=num_bootstrap)
    now = datetime.now(UTC).replace(microsecond=0)
    facts = {"kind": kind, "model": model, "sha256": sha256_of(weights), "data": data, "measured": now.isoformat(), "figures": figures}
    if kind == "generator":
        facts["judge_sha256"] = sha256_of(expert)
    if before is not None:
        facts["champion_sha256"] = sha256_of(before)
    folder = get_settings().models_folder / "evaluations"
    with disk_errors("keeping the figures", folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{kind}-{facts['sha256'][:16]}-{now:%Y%m%dT%H%M%SZ}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return Figures(figures)


def prepare_folder(source: str, out: Path, licence: str, consent: str, expert: str, faces: str, work: Path | None) -> PrepareReport:
    """source: clips or films, or a finished episode, whose approved shots are taken. faces: `one` for clips of one person, `films` for films, which
    are cut into shots whose people are followed."""
    judge = None if expert == NO_EXPERT else find_weights("expert", expert)
    settings = get_settings()
    work_folder = work or settings.work_folder
    if is_episode(source):
        with clips_of(source, work_folder) as clips:
            report = prepare_clips(clips.folder, out, expert=judge, licence=licence, consent=consent)
        return report.model_copy(update={"refused": report.refused | clips.left_out})
    if faces == "one":
        return prepare_clips(source, out, expert=judge, licence=licence, consent=consent)
    from flows.learning.film_faces import find_film_faces

    store = ArtifactStore(work_folder / "artifacts")
    finder = find_film_faces(store, "dlib" if settings.detector == "auto" else settings.detector)
    return prepare_clips(source, out, expert=judge, licence=licence, consent=consent, find_faces=finder)


def find_weights(kind: Kind, name: str) -> Path:
    """The file of weights given by path or by their name on the shelf. Raises InputError where there are none."""
    if Path(name).is_file():
        return Path(name)
    if "/" in name or name.endswith((".safetensors", ".pth")):
        raise InputError(f"{name} does not exist. Give a weights file, or a name that `dub models list` shows.")
    models = pin_models(get_settings().models_folder, name, "expert")
    return Path(models.expert_path if kind == "expert" else models.generator_path)


def _is_expert(recipe: Recipe) -> bool:
    return isinstance(recipe, ExpertRecipe)


def show_trained(trained: Trained) -> None:
    print(f"{trained.recipe}: {trained.num_steps} steps. Weights: {trained.weights} (sha256 {trained.sha256[:12]}), curves: {trained.curves}")
    for name, figure in trained.evaluation.items():
        if isinstance(figure, dict):
            print(f"  {name:28} {figure['value']}")
    print(f"Use them with: dub models import {trained.weights}")


def show_figures(figures: Figures) -> None:
    for name, figure in figures.root.items():
        print(f"{name:28} {figure['value']:12.4f}   {figure['low']:.4f} to {figure['high']:.4f}")


def show_prepared(report: PrepareReport) -> None:
    for name, reason in report.refused.items():
        print(f"refused: {name}: {reason}")
    for name, offset in report.corrected.items():
        print(f"moved:   {name}: the sound by {offset} frames")
    people = ", ".join(f"{person} {count}" for person, count in report.people.items())
    print(f"{report.num_usable} clips usable ({people}), {len(report.refused)} refused, {report.speech_s:.0f} s of speech.")
