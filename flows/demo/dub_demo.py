"""`make demo`: makes the demo film, dubs it exactly as the `dub` command would, and says shot by shot what came of it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pandas as pd

from flows.commands.run_command import finish, run_flow
from flows.demo.film import make_demo_film
from flows.demo.script import SCRIPT
from flows.episode.make_request import make_request
from infra.settings import get_settings
from tasks.model_shelf import pin_models
from tasks.types import BUNDLED_MODEL, DubRequest, DubResult, Record
from wav2lip_core.lip_syncer import LipSyncer

EPISODE_ID = "demo"


class DemoResult(Record):
    """The dubbed demo film and where everything lies."""

    film: Path
    dub: Path
    cuts: tuple[tuple[int, int], ...]  # of the shots in demo_script.SCRIPT, half-open frame ranges
    outputs: dict[str, Path]  # language -> dubbed film
    report: Path
    table: Path  # shots.parquet
    dubbing: DubResult


@dataclass(frozen=True)
class DemoFolder:
    """What lies where under the demo's folder."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def episode(self) -> Path:
        return self.root / EPISODE_ID


def dub_demo(out: Path, model: str = BUNDLED_MODEL) -> DemoResult:
    """Make the film, dub it, and return where everything lies. The generator of `model` gives the portraits their original voice, too.

    Raises InputError where espeak-ng, the stills or the model are missing, and what the dub raises.
    """
    folder = DemoFolder(out.absolute())
    models = pin_models(get_settings().models_folder, model, "expert")
    print("Making the demo film: stills, a camera, espeak-ng, and lips of our own ...", file=sys.stderr)
    made = make_demo_film(folder.source, LipSyncer(models.generator_path))
    audio = [f"{made.dub_language}={made.dub}"]
    request = make_request(DubRequest, str(made.film), audio, out=str(folder.root), episode_id=EPISODE_ID, work=str(folder.work), model=model)
    result = run_flow(request)
    assert isinstance(result, DubResult)
    return DemoResult(
        film=made.film,
        dub=made.dub,
        cuts=made.cuts,
        outputs={episode.language: folder.episode / episode.output for episode in result.episodes},
        report=folder.episode / "report.html",
        table=folder.episode / "shots.parquet",
        dubbing=result,
    )


def show_demo(result: DemoResult) -> None:
    """One line per shot, then where to look."""
    for row in pd.read_parquet(result.table).to_dict("records"):
        print(f"  shot {row['shot']}  {row['outcome']:13}  {row['reason']:24}  {SCRIPT[row['shot']].title}")
    print(f"original film  {result.film}")
    for language, path in result.outputs.items():
        print(f"dubbed film    {path}  ({language})")
    print(f"report         {result.report}")


def run_demo(out: Path) -> NoReturn:
    """The `dub demo` command: make, dub, show, and leave with an exit code."""
    finish(False, lambda: dub_demo(out), show_demo)
