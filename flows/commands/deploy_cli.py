"""The commands that set a studio's Prefect server up. Light, as cli.py is: what a command needs is imported when it runs."""

from typing import Annotated

import typer

schedule_app = typer.Typer(help="Seasons that are dubbed by the clock: add, list, remove.", no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable result on stdout.")]


def deploy(
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, metavar="N", help="Slots of the limit dubflow-gpu; what it has if not given, 1 at first.")
    ] = None,
    silent_after: Annotated[
        float | None, typer.Option("--silent-after", metavar="SECONDS", help="A run without a sign of life for so long is marked as crashed; 300.")
    ] = None,
    claimed_for: Annotated[
        float | None, typer.Option("--claimed-for", metavar="SECONDS", help="A run that was claimed and not begun goes back to its queue; 1800.")
    ] = None,
    longest: Annotated[float | None, typer.Option("--longest", metavar="SECONDS", help="A run at work for longer is stopped; 604800.")] = None,
    restarts: Annotated[int | None, typer.Option("--restarts", metavar="N", help="How often a crashed run is started again; 2.")] = None,
    as_json: Json = False,
) -> None:
    """Set up the Prefect server of PREFECT_API_URL: pool, queues, GPU slots, deployments, automations. To be run again after every change."""
    from flows.commands.run_command import finish
    from flows.deployments import run_deploy, show_deployed

    patience = {"silent_s": silent_after, "claimed_s": claimed_for, "longest_s": longest, "num_restarts": restarts}
    finish(as_json, lambda: run_deploy(gpus, **patience), show_deployed)


@schedule_app.command("add")
def add_schedule(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="The season's table: CSV, Parquet or JSON.", show_default=False)],
    out: Annotated[str, typer.Option("--out", metavar="FOLDER_OR_S3_URI", help="Episodes go to OUT/ID/.", show_default=False)],
    cron: Annotated[str, typer.Option("--cron", metavar="CRON", help="When, as in '0 22 * * 5': Fridays at ten in the evening.", show_default=False)],
    timezone: Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Whose clock, as in Europe/Paris.")] = "UTC",
    season_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The season's name; made from MANIFEST's name if not given.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field of SeasonRequest, as in missing=skip.")] = None,
    as_json: Json = False,
) -> None:
    """Dub what is missing of a season by the clock. The table is read anew by every run; the same ID again changes clock and parameters."""
    from flows.commands.run_command import finish
    from flows.studio import schedules

    finish(as_json, lambda: schedules.add_schedule(manifest, out, cron, timezone, season_id, changes or []), schedules.show_schedules)


@schedule_app.command("list")
def list_schedules(as_json: Json = False) -> None:
    """The seasons that are dubbed by the clock, and when next."""
    from flows.commands.run_command import finish
    from flows.studio import schedules

    finish(as_json, schedules.list_schedules, schedules.show_schedules)


@schedule_app.command("remove")
def remove_schedule(
    season_id: Annotated[str, typer.Argument(metavar="ID", help="As `dub schedule list` names it.", show_default=False)], as_json: Json = False
) -> None:
    """Start a season by the clock no more. A run that has begun goes on."""
    from flows.commands.run_command import finish
    from flows.studio import schedules

    finish(as_json, lambda: schedules.remove_schedule(season_id), schedules.show_schedules)


def add_deploy_commands(app: typer.Typer) -> None:
    """Hang these commands into the `dub` command."""
    app.command()(deploy)
    app.add_typer(schedule_app, name="schedule")
