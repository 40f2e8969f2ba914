"""`dub gc` as a command line."""

from typing import Annotated

import typer


def add_gc_command(app: typer.Typer) -> None:
    """Register the command."""
    app.command("gc")(gc)


def gc(
    out: Annotated[
        str | None,
        typer.Argument(metavar="[OUT]", help="Where episodes lie: what their manifests name stays; unfinished uploads there go.", show_default=False),
    ] = None,
    work: Annotated[str | None, typer.Option("--work", metavar="FOLDER", help="The work folder to tidy; the settings' if not given.")] = None,
    older_than: Annotated[float, typer.Option("--older-than", min=0.0, metavar="DAYS", help="What was used since then stays.")] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one machine-readable result on stdout.")] = False,
) -> None:
    """Remove what nobody uses any more. What a live run uses or a published manifest names stays, whatever its age."""
    from flows.commands.gc_command import collect_garbage, show_garbage
    from flows.commands.run_command import finish

    finish(as_json, lambda: collect_garbage(out, work, older_than, dry_run), show_garbage)
