"""The command `dub season`; registered in flows.cli."""

from typing import Annotated, Literal

import typer

Manifest = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="CSV, Parquet or JSON, one row per episode and language: a path or URI.", show_default=False)
]
Out = Annotated[str, typer.Option("--out", metavar="FOLDER_OR_S3_URI", help="Episodes go to OUT/EPISODE/.", show_default=False)]
SeasonId = Annotated[str | None, typer.Option("--id", metavar="ID", help="The season's name; made from MANIFEST's if not given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would take and whether air dates are met; start nothing.")]
Missing = Annotated[Literal["refuse", "skip"], typer.Option("--missing", help="Files that are not there yet: refuse all, or skip their rows.")]
On = Annotated[str, typer.Option("--on", metavar="here|workers|FLOW/NAME", help="Dub in this process, or on the workers of a Prefect server.")]
AtOnce = Annotated[int | None, typer.Option("--at-once", min=1, metavar="N", help="Episodes at a time; if not given 1 here, 32 on workers.")]
Work = Annotated[str | None, typer.Option("--work", metavar="FOLDER", help="Where finished steps are kept, so that a run can go on later.")]
Model = Annotated[str, typer.Option("--model", metavar="NAME", help="For rows that name none; see `dub models list`.")]
Speaker = Annotated[str, typer.Option("--speaker", metavar="auto|only-face|FILE", help="For rows that say nothing else.")]
Policy = Annotated[str | None, typer.Option("--policy", metavar="FILE", help="For rows that name none.")]
Scorer = Annotated[Literal["expert", "vgg"], typer.Option("--scorer", help="Who judges sync.")]
Lossless = Annotated[bool, typer.Option("--lossless", help="FFV1 in Matroska instead of H.264 in MP4.")]
Detector = Annotated[Literal["auto", "dlib", "yunet", "retinaface"] | None, typer.Option("--detector", help="The face detector.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, metavar="N", help="Shots of one episode worked on at the same time.")]
Runner = Annotated[Literal["threads", "processes", "dask", "ray"] | None, typer.Option("--runner", help="What runs the shots.")]
Rate = Annotated[float | None, typer.Option("--rate", min=0, metavar="MONEY", help="What an hour of one machine costs.")]
GpuRate = Annotated[float | None, typer.Option("--gpu-rate", min=0, metavar="MONEY", help="What an hour of GPU work costs on top of it.")]
Rates = Annotated[
    str | None, typer.Option("--rates", metavar="FOLDER", help="For --dry-run: stage times of another machine, a work folder with its rates.json.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable result on stdout.")]


def add_season_commands(app: typer.Typer) -> None:
    """Register `dub season`."""
    app.command()(season)


def season(
    manifest: Manifest,
    out: Out,
    season_id: SeasonId = None,
    dry_run: DryRun = False,
    missing: Missing = "refuse",
    on: On = "here",
    at_once: AtOnce = None,
    work: Work = None,
    model: Model = "dubflow-lite",
    speaker: Speaker = "auto",
    policy: Policy = None,
    scorer: Scorer = "expert",
    lossless: Lossless = False,
    detector: Detector = None,
    workers: Workers = None,
    runner: Runner = None,
    rate: Rate = None,
    gpu_rate: GpuRate = None,
    rates: Rates = None,
    as_json: Json = False,
) -> None:
    """Dub a season: every episode in all its languages, the most urgent first; run it again for what is missing or changed.

    Exit codes: 0 all is done; 1 some failed by our trouble, the same command goes on; 2 the table is wrong (then nothing was started),
    or a film or track in it is of no use (then all else is done).
    """
    from flows.commands.run_command import finish
    from flows.commands.season_command import exit_code_of, make_season_request, run_estimate, run_season, show_estimate, show_season

    fields = {"out": out, "season_id": season_id, "missing": missing, "on": on, "at_once": at_once, "work": work, "model": model, "speaker": speaker}
    fields |= {"policy": policy, "scorer": scorer, "codec": "ffv1" if lossless else "h264", "detector": detector, "num_workers": workers}
    fields |= {"task_runner": runner, "machine_rate_per_hour": rate, "gpu_rate_per_hour": gpu_rate}
    if dry_run:
        finish(as_json, lambda: run_estimate(make_season_request(manifest, **fields), rates), show_estimate)
    finish(as_json, lambda: run_season(make_season_request(manifest, **fields)), show_season, exit_code_of=exit_code_of)
