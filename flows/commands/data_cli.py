"""The part of the `dub` command that is about data and models in production. Light on purpose: what a command needs is imported when it runs."""

from typing import Annotated, Literal

import typer

data_app = typer.Typer(help="Clips to learn from: add, watch, freeze what is measured on.", no_args_is_help=True, rich_markup_mode=None)

Place = Annotated[str, typer.Argument(metavar="URI", help="A folder or s3:// prefix that holds PERSON/clip.mp4, or OUT/ID.", show_default=False)]
Licence = Annotated[str, typer.Option("--licence", help="Under which licence the clips come.", show_default=False)]
Consent = Annotated[str, typer.Option("--consent", help="How the people in them agreed.", show_default=False)]
RegistryPlace = Annotated[str | None, typer.Option("--registry", metavar="URI", help="Folder or s3:// URI; the settings' one if not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable result on stdout.")]
Note = Annotated[str, typer.Option("--note", help="Why; kept in the history.")]


@data_app.command("add")
def add(place: Place, licence: Licence, consent: Consent, registry: RegistryPlace = None, as_json: Json = False) -> None:
    """Check new clips, store them by digest, and tell Prefect, whose deployment `retrain` may wait for it. The same clips are never stored twice.
    Of a dubbed episode, OUT/ID, the shots that reviewers approved are taken, with the original picture and voice."""
    from flows.commands.data_command import add_data, show_added
    from flows.commands.run_command import finish

    finish(as_json, lambda: add_data(place, licence, consent, registry), show_added)


@data_app.command("freeze")
def freeze(
    place: Place,
    licence: Licence,
    consent: Consent,
    name: Annotated[str, typer.Option("--name", help="How to call the set.")] = "golden",
    registry: RegistryPlace = None,
    as_json: Json = False,
) -> None:
    """Make clips the golden set that all models are measured on, for good. No drop that holds one of them is ever accepted."""
    from flows.commands.data_command import freeze_data, show_frozen
    from flows.commands.run_command import finish

    finish(as_json, lambda: freeze_data(place, name, licence, consent, registry), show_frozen)


@data_app.command("watch")
def watch(
    place: Annotated[str, typer.Argument(metavar="URI", help="A folder or s3:// prefix that holds DROP/PERSON/clip.mp4.", show_default=False)],
    licence: Licence,
    consent: Consent,
    every: Annotated[float, typer.Option("--every", min=0.1, metavar="SECONDS", help="How often to look.")] = 60.0,
    looks: Annotated[int | None, typer.Option("--looks", min=2, metavar="N", help="End after so many; for ever if not given.")] = None,
    registry: RegistryPlace = None,
    as_json: Json = False,
) -> None:
    """Add every sub-folder that has stopped growing: the same files at two looks in a row. Each one once, also by the next watcher."""
    from flows.commands.data_command import show_watched, watch_data
    from flows.commands.run_command import finish

    finish(as_json, lambda: watch_data(place, licence, consent, registry, every, looks), show_watched)


def retrain(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="How to train; see training/recipes.py.")] = "generator_lite",
    drop: Annotated[str | None, typer.Option("--drop", metavar="ID", help="A new drop that must be fit to learn from.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe. May be repeated.")] = None,
    golden: Annotated[str, typer.Option("--golden", metavar="NAME", help="The golden set to measure on.")] = "golden",
    sync_check: Annotated[
        Literal["expert", "none"], typer.Option("--sync-check", help="Whether the expert looks for wrong sound in new clips.")
    ] = "expert",
    episodes: Annotated[list[str] | None, typer.Option("--redo", metavar="OUT/ID", help="Where promoted, make this episode's shots again.")] = None,
    registry: RegistryPlace = None,
    as_json: Json = False,
) -> None:
    """Train a challenger on the stored drops and promote it if it is better beyond the interval and worse nowhere that matters."""
    from flows.commands.retrain_command import as_parameters, parse_changes, run_retrain, show_retrained
    from flows.commands.run_command import finish

    def work():
        parameters = as_parameters(drop, recipe, parse_changes(changes or []), golden, sync_check, episodes or [])
        return run_retrain(**parameters, registry=registry)

    finish(as_json, work, show_retrained)


def production(registry: RegistryPlace = None, as_json: Json = False) -> None:
    """What is in production, and how it came to be."""
    from flows.commands.production_command import print_production, show_what_holds
    from flows.commands.run_command import finish

    finish(as_json, lambda: show_what_holds(registry), print_production)


def promote(
    model: Annotated[str, typer.Argument(metavar="FILE_OR_NAME", help="Weights with a card, or a name of `dub models list`.", show_default=False)],
    role: Annotated[Literal["generator", "sync_expert", "judge"] | None, typer.Option("--as", help="As what; found out if not given.")] = None,
    note: Note = "",
    registry: RegistryPlace = None,
    as_json: Json = False,
) -> None:
    """Put weights into production by hand, unmeasured: the first ones, or in an emergency. `dub retrain` measures."""
    from flows.commands.production_command import print_production, promote_by_hand
    from flows.commands.run_command import finish

    finish(as_json, lambda: promote_by_hand(model, role, note, registry), print_production)


def rollback(
    to: Annotated[int | None, typer.Option("--to", metavar="GENERATION", help="Which one; the one before if not given.")] = None,
    note: Note = "",
    registry: RegistryPlace = None,
    as_json: Json = False,
) -> None:
    """Put the generation before back into production."""
    from flows.commands.production_command import print_production, roll_back
    from flows.commands.run_command import finish

    finish(as_json, lambda: roll_back(to, note, registry), print_production)


def add_commands(app: typer.Typer, models_app: typer.Typer) -> None:
    """Hang these commands into the `dub` command."""
    app.add_typer(data_app, name="data")
    app.command("retrain")(retrain)
    for command in (production, promote, rollback):
        models_app.command(command.__name__)(command)
