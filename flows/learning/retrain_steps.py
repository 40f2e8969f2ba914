"""The steps of a retraining: drops and golden set prepared, a challenger trained, models measured. Each finds what was finished before."""

from pathlib import Path

from pydantic import ValidationError

from flows.episode.steps import as_task
from infra.artifacts import ArtifactStore
from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.storage import Storage
from tasks.types import Record
from training.drops import MIN_USABLE_SHARE, Drop, fetch_drop
from training.evaluate import evaluate_model
from training.golden import GoldenSet, fetch_golden, find_leaks
from training.prepare import REPORT, PrepareReport, prepare_clips
from training.recipes import Recipe
from training.train import TrainResult, train

EVALUATION_VERSION = 1
PREPARATION_VERSION = 1


class Measured(Record):
    """Figures of one model on one golden set: key -> value, low, high."""

    figures: dict[str, dict[str, float]]


def prepare_drop(storage: Storage, drop: Drop, golden: GoldenSet, expert: Path | None, work_folder: Path) -> Path:
    """A folder with the drop's clips prepared. Raises InputError for one that must not be learnt from."""
    leaks = find_leaks(golden, drop.clips)
    if leaks:
        first = "; ".join(f"{label} {why}" for label, why in list(leaks.items())[:4])
        raise InputError(f"The drop {drop.id[:12]} holds {len(leaks)} clips that models are measured on: {first}. It is refused as a whole.")
    checked = sha256_of_file(expert)[:16] if expert else "unchecked"
    out = work_folder / "prepared" / f"drop-{drop.id[:32]}-{checked}-{PREPARATION_VERSION}"
    report = _finished(out)
    if report is None:
        source = fetch_drop(storage, drop, work_folder / "drops" / drop.id)
        report = prepare_clips(source, out, expert=expert, licence=drop.licence, consent=drop.consent)
    num_all = report.num_usable + len(report.refused)
    if report.num_usable < MIN_USABLE_SHARE * num_all:
        first = "; ".join(f"{name}: {why}" for name, why in list(report.refused.items())[:4])
        raise InputError(
            f"Of the drop {drop.id[:12]} only {report.num_usable} of {num_all} clips can be learnt from ({first}). It is refused as a whole."
        )
    return out


def prepare_golden(storage: Storage, golden: GoldenSet, work_folder: Path) -> Path:
    """A folder with the golden clips prepared as they are: no model has a say in what models are measured on."""
    out = work_folder / "prepared" / f"golden-{golden.sha256[:32]}-{PREPARATION_VERSION}"
    report = _finished(out)
    if report is None:
        source = fetch_golden(storage, golden, work_folder / "golden" / golden.sha256)
        report = prepare_clips(source, out, expert=None, licence=golden.licence, consent=golden.consent)
    if report.refused:
        first = "; ".join(f"{name}: {why}" for name, why in list(report.refused.items())[:4])
        raise InputError(f"The golden set {golden.name} holds clips that nothing can be measured on ({first}). Freeze another one without them.")
    return out


def train_challenger(recipe: Recipe, data: Path, out: Path, start: Path, experts: tuple[Path, ...]) -> TrainResult:
    """Train from the champion on. Raises DivergedError when the loss is no number any more."""
    return train(recipe, data, out, start=start, experts=experts)


def measure(store: ArtifactStore, role: str, weights: Path, data: Path, golden_sha256: str, judge: Path | None) -> Measured:
    """All figures of one model on the golden set."""
    inputs = {"weights": sha256_of_file(weights), "golden": golden_sha256, "judge": sha256_of_file(judge) if judge else None}

    def make() -> Measured:
        figures = evaluate_model("generator" if role == "generator" else "expert", weights, data, judge=judge)
        return Measured(figures={key: dict(figure) for key, figure in figures.items()})  # type: ignore[call-overload]

    return store.get_or_make("measure_model", EVALUATION_VERSION, inputs, Measured, make)


PREPARE = as_task(prepare_drop, "prepare", "prepare drop {drop.id}")
GOLDEN = as_task(prepare_golden, "golden", "prepare golden set {golden.name}")
TRAIN = as_task(train_challenger, "train", "train {recipe.name}")
MEASURE = as_task(measure, "measure", "measure {weights}")


def _finished(out: Path) -> PrepareReport | None:
    """The report of an earlier preparation whose shards are all there and whole."""
    try:
        report = PrepareReport.model_validate_json((out / REPORT).read_bytes())
    except (OSError, ValidationError):
        return None
    is_whole = all((out / name).is_file() and sha256_of_file(out / name) == digest for name, digest in report.shards.items())
    return report if is_whole else None
