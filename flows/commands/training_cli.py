"""The commands that make and measure weights. Light, as cli.py is: what a command needs is imported when it runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.data_cli import data_app

Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable result on stdout.")]
Data = Annotated[str, typer.Option("--data", metavar="FOLDER_OR_S3_URI", help="Prepared clips; see `dub data prepare`.", show_default=False)]


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="expert_lite, generator_full, finetune_character, smoke ...", show_default=False)],
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The run's folder; the same again resumes it.", show_default=False)],
    start: Annotated[str | None, typer.Option("--start", metavar="FILE_OR_NAME", help="Weights to go on from.")] = None,
    without: Annotated[list[str] | None, typer.Option("--without", metavar="PERSON", help="Kept aside and measured on. May be repeated.")] = None,
    expert: Annotated[list[str] | None, typer.Option("--expert", metavar="FILE_OR_NAME", help="Who teaches a generator. May be repeated.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Instead of the recipe's number.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="Wall-clock ceiling; the rate runs down towards it.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0)] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Of the recipe: sync_weight=0.05. May be repeated.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device")] = "auto",
    processes: Annotated[int, typer.Option("--processes", min=1, help="That train as one; must divide the recipe's slices.")] = 1,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Of each process.")] = None,
    loaders: Annotated[int, typer.Option("--loaders", min=1, help="Threads that make batches.")] = 1,
    as_json: Json = False,
) -> None:
    """Train by a recipe; stopped or killed, the same command goes on from the last save."""
    from flows.commands.retrain_command import parse_changes
    from flows.commands.run_command import finish
    from flows.commands.training_command import Trained, show_trained, train_by_recipe
    from training.processes import Machine

    machine = Machine(device, processes, threads, loaders)
    changes: dict[str, object] = {"num_steps": steps, "max_minutes": minutes, "seed": seed}

    def work() -> Trained:
        return train_by_recipe(recipe, data, out, start, without or [], expert or [], machine, parse_changes(fields or []), changes)

    finish(as_json, work, show_trained)


def evaluate(
    kind: Annotated[Literal["expert", "generator"], typer.Argument(help="What to measure.", show_default=False)],
    data: Annotated[str, typer.Option("--data", metavar="FOLDER", help="PERSON/clip.* of people not in training, or prepared.", show_default=False)],
    model: Annotated[str, typer.Option("--model", metavar="NAME_OR_FILE", help="The weights; see `dub models list`.")] = "dubflow-lite",
    judge: Annotated[str | None, typer.Option("--judge", metavar="NAME_OR_FILE", help="An expert that had no part in the generator.")] = None,
    champion: Annotated[str | None, typer.Option("--champion", metavar="NAME_OR_FILE", help="Earlier weights, measured beside them.")] = None,
    strip: Annotated[Path | None, typer.Option("--strip", metavar="FILE.png", help="Draw six people, real and dubbed, to look at.")] = None,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=1, help="Resamplings behind each interval.")] = 1000,
    as_json: Json = False,
) -> None:
    """Measure weights on people who were not in training: every figure with a 95 % interval over clips."""
    from flows.commands.run_command import finish
    from flows.commands.training_command import evaluate_weights, show_figures

    finish(as_json, lambda: evaluate_weights(kind, model, data, judge, champion, strip, bootstrap), show_figures)


def prepare(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="PERSON/clip.*, a folder or s3:// URI; or OUT/ID.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the shards go.", show_default=False)],
    licence: Annotated[str, typer.Option("--licence", help="Of the clips, and the attribution it asks for.", show_default=False)],
    consent: Annotated[str, typer.Option("--consent", help="How the people in them agreed.", show_default=False)],
    expert: Annotated[str, typer.Option("--expert", metavar="NAME_OR_FILE", help="Who checks sync; none: nobody.")] = "dubflow-lite",
    faces: Annotated[Literal["one", "films"], typer.Option("--faces", help="one face per clip, or films with shots and several people.")] = "one",
    work: Annotated[Path | None, typer.Option("--work", metavar="FOLDER", help="Where finished steps on films are kept.")] = None,
    as_json: Json = False,
) -> None:
    """Make raw films into clips to learn from: aligned crops, voice in sync, nothing twice, licence and consent with every clip. Of a dubbed episode,
    OUT/ID, the shots that reviewers approved are taken, with the original picture and voice."""
    from flows.commands.run_command import finish
    from flows.commands.training_command import prepare_folder, show_prepared

    finish(as_json, lambda: prepare_folder(source, out, licence, consent, expert, faces, work), show_prepared)


def card(
    model: Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help="The weights; see `dub models list`.")] = "dubflow-lite",
    kind: Annotated[Literal["expert", "generator"], typer.Option("--kind", help="Which weights of that name.")] = "generator",
    strip: Annotated[Path | None, typer.Option("--strip", metavar="FILE.png", help="Faces to show; see `dub evaluate generator --strip`.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.md", help="Write the page there, the picture beside it.")] = None,
    as_json: Json = False,
) -> None:
    """The card of weights as Markdown: what they are made of, how good they are, who taught them, licence and attribution."""
    from flows.commands.card_command import make_card_page, show_card_page
    from flows.commands.run_command import finish

    finish(as_json, lambda: make_card_page(kind, model, strip, out), show_card_page)


def add_training_commands(app: typer.Typer, models_app: typer.Typer) -> None:
    """Put these commands where the user finds them: `dub train`, `dub evaluate`, `dub data prepare`, `dub models card`."""
    app.command()(train)
    app.command()(evaluate)
    data_app.command()(prepare)
    models_app.command()(card)
