"""What more people give: experts trained on ever more people, the same number of steps each, measured on the same people kept aside; by folds.

    python -m benchmarks.people_curve --data PREPARED --recipe expert_lite --people 3 6 9 --steps 2000 [--aside 3] [--folds 2] --out FOLDER

In each fold the people are shuffled, `--aside` of them are kept aside and the others join the training in that order: who is in three is in six.
Writes FOLDER/people_curve.json and .png. A trained expert lies in FOLDER/fold-K/people-N and is found again by the next call.
What it would take is a guess: a straight line through the means, error over people, both logarithmic.
"""

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from benchmarks.machine import describe_machine
from infra.errors import InputError
from training import shards
from training.challenge import changed_recipe
from training.clip_source import held_out_clips
from training.evaluate_expert import evaluate_expert
from training.processes import Machine
from training.recipes import ExpertRecipe, as_table, digest_of
from training.train import train
from wav2lip_core.checkpoint import load_sync_expert

matplotlib.use("Agg")

KEYS = ("two_way_accuracy", "offset_within_1_3s", "offset_within_1_1s", "detection_accuracy")
WANTED = {"two_way_accuracy": 0.91, "offset_within_1_3s": 0.98, "offset_within_1_1s": 0.95}

MOST_PEOPLE = 10_000  # a line that is so flat says nothing


def split(people: list[str], num_aside: int, fold: int, num_folds: int) -> tuple[list[str], list[str]]:
    """(people kept aside in this fold, the others in the order in which they join). Folds share nobody aside while there are people enough."""
    order = [people[i] for i in np.random.default_rng(0).permutation(len(people))]
    first = fold * num_aside if num_folds * num_aside <= len(people) else fold * len(people) // num_folds
    turned = order[first:] + order[:first]
    aside, rest = turned[:num_aside], turned[num_aside:]
    return sorted(aside), [rest[i] for i in np.random.default_rng([1, fold]).permutation(len(rest))]


def view_of(data: Path, people: list[str], into: Path) -> Path:
    """Prepared data that holds these people alone: links to the same shards, an index of their clips."""
    into.mkdir(parents=True, exist_ok=True)
    entries = [entry for entry in shards.list_entries(data) if entry.person in people]
    for name in {entry.shard for entry in entries}:
        if not (into / name).is_symlink():
            os.symlink((data / name).resolve(), into / name)
    if not all(entry.shard.endswith(".npz") for entry in entries):  # those are their own index
        (into / shards.INDEX).write_text("".join(f"{entry.model_dump_json()}\n" for entry in entries), encoding="utf-8")
    return into


def measured(data: Path, recipe: ExpertRecipe, people: list[str], aside: list[str], out: Path, machine: Machine) -> dict:
    """Train on these people and measure on those aside; found again where it was done before."""
    kept, asked = out / "figures.json", {"recipe": digest_of(recipe), "people": sorted(people), "aside": aside}
    if kept.is_file() and (found := json.loads(kept.read_text()))["asked"] == asked:
        return found
    started = time.perf_counter()
    made = train(recipe, view_of(data, people, out / "data"), out / "run", machine=machine)
    minutes = round((time.perf_counter() - started) / 60, 2)
    figures = evaluate_expert(load_sync_expert(made.weights), held_out_clips(data, frozenset(aside)))
    rows = [json.loads(line) for line in made.log.read_text().splitlines()]
    facts = {"asked": asked, "num_people": len(people), "minutes": minutes, "steps": made.num_steps, "training_right": rows[-1].get("right")}
    kept.write_text(json.dumps(facts | {"sha256": made.card.weights_sha256, "figures": figures}, indent=1))
    return json.loads(kept.read_text())


def means(runs: list[dict], key: str) -> dict[int, float]:
    """Number of people -> mean of the figure over folds."""
    numbers = sorted({run["num_people"] for run in runs})
    return {number: float(np.mean([run["figures"][key]["value"] for run in runs if run["num_people"] == number])) for number in numbers}


def people_needed(curve: dict[int, float], wanted: float) -> float | None:
    """How many people a straight line through log(people), log(1 - value) needs to reach `wanted`; None where more people do not help, or hardly."""
    points = [(np.log(number), np.log(1 - value)) for number, value in curve.items() if value < 1]
    if len(points) < 2:
        return None
    slope, level = np.polyfit(*np.array(points).T, 1)
    needed = (np.log(1 - wanted) - level) / slope if slope < 0 else np.inf
    return round(float(np.exp(needed)), 1) if needed < np.log(MOST_PEOPLE) else None


def draw(runs: list[dict], path: Path, title: str) -> None:
    """PNG: a panel per figure; thin lines are folds with their 95 % intervals, the thick one is the mean, dots are what is wanted."""
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, key in zip(figure.subplots(2, 2, sharex=True).flat, KEYS, strict=True):
        for fold in sorted({run["fold"] for run in runs}):
            own = sorted((run for run in runs if run["fold"] == fold), key=lambda run: run["num_people"])
            values = np.array([[run["figures"][key][name] for name in ("low", "value", "high")] for run in own])
            spread = np.maximum(0, [values[:, 1] - values[:, 0], values[:, 2] - values[:, 1]])
            axes.errorbar([run["num_people"] for run in own], values[:, 1], spread, linewidth=0.8, capsize=2, alpha=0.6, label=f"fold {fold + 1}")
        curve = means(runs, key)
        axes.plot(list(curve), list(curve.values()), "ko-", linewidth=2, label="mean")
        if key in WANTED:
            axes.axhline(WANTED[key], linestyle=":", color="grey")
        axes.set_title(key, fontsize=9)
        axes.set_xlabel("people in training")
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def people_curve(data: Path, recipe: ExpertRecipe, numbers: list[int], num_aside: int, num_folds: int, out: Path, machine: Machine) -> dict:
    """Every number of people in every fold. Raises InputError where there are not enough people."""
    people = sorted({entry.person for entry in shards.list_entries(data)})
    if max(numbers) + num_aside > len(people):
        raise InputError(f"{data} holds {len(people)} people; {max(numbers)} to train on and {num_aside} aside are more.")
    runs = []
    for fold in range(num_folds):
        aside, order = split(people, num_aside, fold, num_folds)
        for number in sorted(numbers):
            run = measured(data, recipe, order[:number], aside, out / f"fold-{fold + 1}" / f"people-{number}", machine)
            runs.append({"fold": fold} | run)
            shown = ", ".join(f"{key} {run['figures'][key]['value']:.3f}" for key in KEYS)
            print(f"fold {fold + 1}, {number} people, {run['steps']} steps, {run['minutes']} min: {shown}", flush=True)
    curves = {key: means(runs, key) for key in KEYS}
    needed = {key: people_needed(curves[key], wanted) for key, wanted in WANTED.items()}
    found = {"recipe": as_table(recipe), "machine": describe_machine(), "device": machine.describe(), "runs": runs, "means": curves}
    found |= {"wanted": WANTED, "people_needed": needed}
    (out / "people_curve.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(runs, out / "people_curve.png", f"{recipe.name}, {recipe.num_steps} steps each, {num_aside} people aside, {num_folds} folds")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared clips, a folder; see `dub data prepare`")
    parser.add_argument("--recipe", default="expert_lite")
    parser.add_argument("--people", type=int, nargs="+", default=[3, 6, 9])
    parser.add_argument("--aside", type=int, default=3)
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="other fields of the recipe")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    recipe = changed_recipe(args.recipe, dict(text.split("=", 1) for text in args.set))
    if not isinstance(recipe, ExpertRecipe):
        parser.error(f"{args.recipe} trains no expert")
    recipe = dataclasses.replace(recipe, num_steps=args.steps, evaluate_every=args.steps + 1)
    machine = Machine(num_threads=args.threads)
    found = people_curve(args.data, recipe, args.people, args.aside, args.folds, args.out, machine)
    print(json.dumps({"means": found["means"], "people_needed": found["people_needed"]}, indent=1))
    print(args.out / "people_curve.png")


if __name__ == "__main__":
    main()
