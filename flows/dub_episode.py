"""The flow `dub-episode`: a film and its translated dialogue in, the dubbed film in every language and its QA report out."""

import flows.environment  # noqa: F401  # isort: skip
import time
from pathlib import Path

from prefect import flow

from flows import steps
from flows.publish import check_inputs_unchanged, publish_episode
from flows.steps import Call
from flows.study import Run, Study, begin, check_partition, megapixels, study_film
from flows.takes import Takes, dub_shots
from tasks.render_reel import plan_reels
from tasks.types import DubbedEpisode, DubRequest, DubResult, Reel

REEL_S = 10.0  # no setting: where segments are cut must not depend on the machine


@flow(name="dub-episode", flow_run_name="{request.episode_id}", persist_result=False, validate_parameters=True)
def dub_episode(request: DubRequest) -> DubResult:
    """Dub a film. Raises InputError for what the user must change, OurTroubleError for what failed here; then nothing was published."""
    started = time.monotonic()
    with begin(request) as run:
        study = study_film(run)
        takes = dub_shots(run, study)
        reels = render_reels(run, study, takes)
        with run.store.scratch() as folder:
            episodes = assemble(run, study, reels, folder)
            check_inputs_unchanged(run, study)
            published = publish_episode(run, study, takes, episodes, folder)
        result = published.model_copy(update={"steps": run.ledger.steps(), "seconds": time.monotonic() - started})
        run.board.show_result(result, takes.reports)
        return result


def render_reels(run: Run[DubRequest], study: Study, takes: Takes) -> dict[str, list[Reel]]:
    """Each language's film in encoded pieces, patches pasted."""
    ranges = plan_reels(study.film, study.shots, REEL_S)
    check_partition(study.film, ranges)
    calls = [
        Call(
            {
                "store": run.store,
                "film": study.film,
                "first": first,
                "end": end,
                "patches": tuple(patch for patch in takes.patches_of(language) if patch.first_frame < end and patch.end_frame > first),
                "language": language,
                "codec": run.request.codec,
            },
            megapixels(study.film, end - first),
        )
        for language in study.dubs
        for first, end in ranges
    ]
    reels: list[Reel] = run.all_of(steps.REEL, calls)
    return {language: [reel for reel in reels if reel.language == language] for language in study.dubs}


def assemble(run: Run[DubRequest], study: Study, reels: dict[str, list[Reel]], into: Path) -> list[DubbedEpisode]:
    """Each language's film as one file under `into`, with its dub and the film's other streams, verified against the source."""
    calls = [
        Call(
            {
                "store": run.store,
                "film": study.film,
                "reels": tuple(reels[language]),
                "dub": dub,
                "episode_id": run.request.episode_id,
                "language": language,
                "codec": run.request.codec,
                "into": into,
            },
            megapixels(study.film),
        )
        for language, dub in study.dubs.items()
    ]
    return run.all_of(steps.ASSEMBLE, calls)
