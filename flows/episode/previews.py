"""Previews of every shot that a reviewer may want to see; one that cannot be made is missing on the page, and never costs an episode."""

import logging
from collections.abc import Sequence

from flows.episode.steps import Call, Outcome
from flows.episode.study import Run, Study, megapixels
from flows.episode.takes import Takes
from flows.run import progress
from tasks.render_reel import REEL_S, plan_reels
from tasks.types import DubRequest, Film, Preview, QaReport, Shot

logger = logging.getLogger(__name__)
Key = tuple[int, str]  # shot index, language


def preview_calls(run: Run[DubRequest], study: Study, takes: Takes) -> list[Call]:
    """Of each shot and language with new lips, or that somebody should look at."""
    return [
        Call(
            {
                "store": run.store,
                "film": study.film,
                "shot": report.shot,
                "patches": tuple(patch for patch in takes.patches_of(report.language) if patch.shot_index == report.shot.index),
                "original": study.original,
                "dub": study.dubs[report.language],
                "pieces": pieces_of(study.film, report.shot),
            },
            megapixels(study.film, report.shot.num_frames),
        )
        for report in _wanted(takes)
    ]


def previews_of(takes: Takes, outcomes: Sequence[Outcome]) -> dict[Key, Preview]:
    """By shot and language, of the outcomes of preview_calls()."""
    found: dict[Key, Preview] = {}
    for report, outcome in zip(_wanted(takes), outcomes, strict=True):
        if outcome.error is None:
            found[report.shot.index, report.language] = outcome.result
        else:
            logger.warning("%s %s has no preview: %s", report.shot.name, report.language, outcome.error)
            progress.tell(progress.Said(f"{report.shot.name} {report.language} has no preview: {outcome.error}", is_warning=True))
    return found


def _wanted(takes: Takes) -> list[QaReport]:
    return [report for report in takes.reports if is_shown(report)]


def pieces_of(film: Film, shot: Shot) -> tuple[tuple[int, int], ...]:
    """The frame ranges in which a shot is rendered: its small pictures are made in the same reading."""
    return tuple(plan_reels([shot], film.fps, REEL_S))


def is_shown(report: QaReport) -> bool:
    """Whether there is anything to compare in a shot, or to look at."""
    return report.outcome == "synced" or report.verdict == "review"
