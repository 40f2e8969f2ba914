"""The `dub` command. Light on purpose: what a command needs is imported when it runs."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.data_cli import add_commands
from flows.commands.deploy_cli import add_deploy_commands
from flows.commands.gc_cli import add_gc_command
from flows.commands.season_cli import add_season_commands
from flows.commands.training_cli import add_training_commands

LONG_COMMANDS = {"episode", "plan", "redo", "season", "demo", "data", "train", "retrain", "evaluate"}  # they decode and compute

app = typer.Typer(
    name="dub",
    help="Dubs films: new lips for a translated dialogue track.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models_app = typer.Typer(help="The weights: list, import, verify.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models_app, name="models")
add_commands(app, models_app)
add_training_commands(app, models_app)
add_gc_command(app)
add_season_commands(app)
add_deploy_commands(app)

Episode = Annotated[str, typer.Argument(metavar="OUT/ID", help="A dubbed episode: a folder or s3:// URI.", show_default=False)]
Film = Annotated[str, typer.Argument(metavar="FILM", help="The film: a path, file: or s3:// URI.", show_default=False)]
Audio = Annotated[list[str] | None, typer.Option("--audio", metavar="LANG=TRACK", help="A dubbed dialogue track, as in fr=fr.wav. May be repeated.")]
Original = Annotated[
    str | None, typer.Option("--original-dialogue", metavar="STEM", help="The voices as recorded, where the film's sound is not that.")
]
Speaker = Annotated[str, typer.Option("--speaker", metavar="auto|only-face|FILE", help="Who speaks: found out; a shot's only face; as FILE says.")]
Cast = Annotated[str | None, typer.Option("--cast", metavar="FILE", help="Whose face is whose: characters with pictures or tracks (TOML or JSON).")]
Characters = Annotated[
    list[str] | None,
    typer.Option("--character", metavar="LANG:NAME=STEM", help="A character's own dubbed track, as in fr:ANNA=anna.wav. May be repeated."),
]
Work = Annotated[str | None, typer.Option("--work", metavar="FOLDER", help="Where finished steps are kept, so that a run can go on later.")]
Model = Annotated[str, typer.Option("--model", metavar="NAME", help="The weights to use; see `dub models list`.")]
Scorer = Annotated[Literal["expert", "vgg"], typer.Option("--scorer", help="Who judges sync: the package's expert or an imported SyncNet.")]
Detector = Annotated[Literal["auto", "dlib", "yunet", "retinaface"] | None, typer.Option("--detector", help="The face detector.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, metavar="N", help="Shots worked on at the same time; as many as processors if not given.")
]
Runner = Annotated[Literal["threads", "processes", "dask", "ray"] | None, typer.Option("--runner", help="What runs the shots; threads if not given.")]
IfBusy = Annotated[
    Literal["wait", "refuse"], typer.Option("--if-busy", help="Where another run works on the episode: wait for it, or say whose it is.")
]
LinkHours = Annotated[
    float | None,
    typer.Option("--link-hours", min=0.01, max=168, metavar="N", help="On S3: the report shows and prints links that anybody may open so long."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable result on stdout.")]


@app.command()
def episode(
    film: Film,
    out: Annotated[str, typer.Option("--out", metavar="FOLDER_OR_S3_URI", help="The episode goes to OUT/ID/.", show_default=False)],
    audio: Audio = None,
    original_dialogue: Original = None,
    speaker: Speaker = "auto",
    cast: Cast = None,
    character: Characters = None,
    episode_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The episode's name; made from FILM's name if not given.")] = None,
    work: Work = None,
    model: Model = "dubflow-lite",
    lossless: Annotated[bool, typer.Option("--lossless", help="FFV1 in Matroska instead of H.264 in MP4.")] = False,
    scorer: Scorer = "expert",
    policy: Annotated[str | None, typer.Option("--policy", metavar="FILE", help="A studio's own verdict policy (TOML), over the package's.")] = None,
    detector: Detector = None,
    workers: Workers = None,
    runner: Runner = None,
    if_busy: IfBusy = "wait",
    link_hours: LinkHours = None,
    wait_for_review: Annotated[
        bool,
        typer.Option("--wait-for-review", help="Pause once the report is there, until decisions.json lies beside it or come by Prefect's UI."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Dub a film into every language given. Exit codes: 0 done; 1 our trouble, the same command goes on; 2 something is wrong with the input."""
    from flows.commands.run_command import finish, run_flow
    from flows.episode.make_request import make_request
    from tasks.types import DubRequest

    def show(result) -> None:
        from flows.run.show import show_result

        show_result(result, link_hours)

    fields = {
        "speaker": speaker,
        "cast": cast,
        "work": work,
        "model": model,
        "scorer": scorer,
        "detector": detector,
        "original_dialogue": original_dialogue,
    }
    fields |= {"out": out, "episode_id": episode_id, "codec": "ffv1" if lossless else "h264", "num_workers": workers, "task_runner": runner}
    fields |= {"review": "wait" if wait_for_review else "later", "policy": policy, "if_busy": if_busy, "link_hours": link_hours}
    finish(as_json, lambda: run_flow(make_request(DubRequest, film, audio or [], character or [], **fields)), show)


@app.command()
def plan(
    film: Film,
    audio: Audio = None,
    original_dialogue: Original = None,
    speaker: Speaker = "auto",
    cast: Cast = None,
    character: Characters = None,
    work: Work = None,
    model: Model = "dubflow-lite",
    detector: Detector = None,
    workers: Workers = None,
    runner: Runner = None,
    as_json: Json = False,
) -> None:
    """Say what a dub would do: shots, faces, who speaks, what would be synced or left and why, and how long it takes. Renders nothing."""
    from flows.commands.run_command import finish, run_flow
    from flows.episode.make_request import make_request
    from tasks.types import PlanRequest

    def show(result) -> None:
        from flows.run.show import show_plan

        show_plan(result)

    fields = {"speaker": speaker, "cast": cast, "work": work, "model": model, "detector": detector, "original_dialogue": original_dialogue}
    fields |= {"num_workers": workers, "task_runner": runner}
    finish(as_json, lambda: run_flow(make_request(PlanRequest, film, audio or [], character or [], **fields)), show)


@app.command()
def redo(
    episode: Episode,
    decisions: Annotated[
        str | None, typer.Option("--decisions", metavar="FILE", help="What reviewers decided; OUT/ID/decisions.json if not given.")
    ] = None,
    shots: Annotated[str | None, typer.Option("--shots", metavar="3,7-9", help="Make these again, whatever was decided.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Make them with these weights; see `dub models list`.")] = None,
    reviewer: Annotated[str, typer.Option("--reviewer", metavar="NAME", help="Who asks for it, where the decisions do not say.")] = "",
    work: Work = None,
    workers: Workers = None,
    runner: Runner = None,
    if_busy: IfBusy = "wait",
    as_json: Json = False,
) -> None:
    """Make again what reviewers rejected, honour all else they decided, and leave every other picture as it is."""
    from flows.commands.redo_command import make_redo_request, run_redo, show_redo
    from flows.commands.run_command import finish

    fields = {"decisions": decisions, "model": model, "reviewer": reviewer, "work": work, "num_workers": workers, "task_runner": runner}
    fields |= {"if_busy": if_busy}
    finish(as_json, lambda: run_redo(make_redo_request(episode, shots, **fields)), show_redo)


@app.command()
def history(episode: Episode, as_json: Json = False) -> None:
    """Who decided what of an episode, when, and which films came of it. Exit code 2 when the record was tampered with."""
    from flows.commands.redo_command import read_told, show_told
    from flows.commands.run_command import finish

    finish(as_json, lambda: read_told(episode), show_told)


@models_app.command("list")
def list_models(as_json: Json = False) -> None:
    """The weights at hand: those of the package and those imported."""
    from flows.commands.models_command import list_weights, show_list
    from flows.commands.run_command import finish

    finish(as_json, list_weights, show_list)


@models_app.command("import")
def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights: .safetensors, .pth, .model.", show_default=False)],
    name: Annotated[str | None, typer.Option("--name", help="How to call them; weights of one name belong together.")] = None,
    as_json: Json = False,
) -> None:
    """Copy weights into the models folder, once they are known to fit one of dubflow's networks. Nothing in the file is run."""
    from flows.commands.models_command import import_file, show_imported
    from flows.commands.run_command import finish

    finish(as_json, lambda: import_file(file, name), show_imported)


@models_app.command("verify")
def verify_models(as_json: Json = False) -> None:
    """Look at all weights again: digest, names, shapes, values. Exit code 1 when any is damaged."""
    from flows.commands.models_command import show_verified, verify_weights
    from flows.commands.run_command import finish

    finish(as_json, verify_weights, show_verified, lambda verified: not verified.damaged)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What is installed, which device, which weights, which store, and what is wrong. Exit code 1 when something is."""
    from flows.commands.doctor import examine, show_findings
    from flows.commands.run_command import finish

    finish(as_json, examine, show_findings, lambda findings: findings.is_all_right)


@app.command()
def demo(out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the demo goes.")] = Path("demo-out")) -> None:
    """Make a small film and a dubbed track, dub it, and say where film and report lie."""
    from flows.demo.dub_demo import run_demo  # pyright: ignore[reportMissingImports]

    run_demo(out)


@app.command()
def review(
    episode: Annotated[str, typer.Argument(metavar="OUT/ID", help="A dubbed episode: a folder or s3:// URI.", show_default=False)],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    as_json: Json = False,
) -> None:
    """Review an episode in the browser; decisions are saved as you go. For this machine only; Ctrl-C ends it."""
    from flows.commands.review_command import review as serve
    from flows.commands.review_command import show_reviewed
    from flows.commands.run_command import finish

    finish(as_json, lambda: serve(episode, port, browser), show_reviewed)


@app.command()
def index(
    out: Annotated[str, typer.Argument(metavar="OUT", help="Where dubbed episodes lie: a folder or s3:// URI.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Write OUT/index.html: all dubbed episodes, how they stand, and the way to their reports."""
    from flows.commands.review_command import show_index, write_index
    from flows.commands.run_command import finish

    finish(as_json, lambda: write_index(out), show_index)


def main() -> None:
    """Entry point of the `dub` script."""
    if len(sys.argv) > 1 and sys.argv[1] in LONG_COMMANDS and "--help" not in sys.argv:
        from infra.process_memory import start_again_in_large_pages
        from infra.settings import apply_environment

        start_again_in_large_pages()
        apply_environment()  # before a command's own imports: NumPy, among them, reads it once
    app()


if __name__ == "__main__":
    main()
