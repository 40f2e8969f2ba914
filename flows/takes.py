"""New lips for every cast shot in every language, judged; a shot that fails keeps its original picture and is put up for review."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flows import steps
from flows.steps import Call, Outcome, refuse_all_failed
from flows.study import Run, Study
from tasks.types import LipPatch, QaReport, Shot, ShotPatches

logger = logging.getLogger(__name__)
Key = tuple[int, str]  # shot index, language


@dataclass(frozen=True)
class Takes:
    """What is to be pasted, and what is to be said of each shot in each language (by shot, then language)."""

    patches: tuple[LipPatch, ...]
    reports: tuple[QaReport, ...]

    def patches_of(self, language: str) -> tuple[LipPatch, ...]:
        return tuple(patch for patch in self.patches if patch.language == language)


def dub_shots(run: Run, study: Study) -> Takes:
    """Sync and judge, shots x languages. Raises InputError, or OurTroubleError when every single shot failed."""
    troubles: dict[Key, Exception] = {(index, language): error for index, error in study.troubles.items() for language in study.dubs}
    made, failed = _sync(run, study)
    troubles |= failed
    reports, failed = _judge(run, study, made)
    troubles |= failed
    for (index, language), error in troubles.items():
        logger.warning("%s %s falls back to the original picture: %s", study.shots[index].name, language, error)
        reports[index, language] = _fallen_back(study, study.shots[index], language, error)
    keys = [(shot.index, language) for shot in study.shots for language in study.dubs]
    applied = [key for key in keys if reports[key].outcome == "synced"]
    return Takes(tuple(patch for key in applied for patch in made[key].patches), tuple(reports[key] for key in keys))


def _sync(run: Run, study: Study) -> tuple[dict[Key, ShotPatches], dict[Key, Exception]]:
    made: dict[Key, ShotPatches] = {}
    calls: dict[Key, Call] = {}
    for key in _keys(study, study.castings):
        index, language = key
        casting = study.castings[index]
        if casting.spans:
            calls[key] = _call(run, study, key)
        else:
            made[key] = ShotPatches(shot_index=index, language=language, reason=casting.reason)
    found, failed = _sorted(calls, run.each(steps.SYNC, list(calls.values())))
    refuse_all_failed("sync", len(calls), list(failed.values()))
    return made | found, failed


def _judge(run: Run, study: Study, made: dict[Key, ShotPatches]) -> tuple[dict[Key, QaReport], dict[Key, Exception]]:
    calls = {key: _call(run, study, key, patches=made[key]) for key in _keys(study, study.castings) if key in made}
    reports, failed = _sorted(calls, run.each(steps.JUDGE, list(calls.values())))
    refuse_all_failed("judge", len(calls), list(failed.values()))
    return reports, failed


def _keys(study: Study, indices: Iterable[int]) -> list[Key]:
    return [(index, language) for index in sorted(indices) for language in study.dubs]


def _call(run: Run, study: Study, key: Key, **more: object) -> Call:
    index, language = key
    arguments = {
        "store": run.store,
        "film": study.film,
        "shot": study.shots[index],
        "faces": study.faces[index],
        "casting": study.castings[index],
        "dub": study.dubs[language],
        "original": study.original,
        "models": run.inputs.models,
    }
    spans = study.castings[index].spans
    return Call(arguments | more, sum(span.end_frame - span.first_frame for span in spans))


def _sorted(calls: dict[Key, Call], outcomes: list[Outcome]) -> tuple[dict[Key, Any], dict[Key, Exception]]:
    """(results, errors) by shot and language."""
    results, errors = {}, {}
    for key, outcome in zip(calls, outcomes, strict=True):
        if outcome.error is None:
            results[key] = outcome.result
        else:
            errors[key] = outcome.error
    return results, errors


def _fallen_back(study: Study, shot: Shot, language: str, error: Exception) -> QaReport:
    faces, casting = study.faces.get(shot.index), study.castings.get(shot.index)
    return QaReport(
        shot=shot,
        language=language,
        outcome="kept_original",
        reason=f"failed: {type(error).__name__}: {error}",
        evidence=casting.evidence if casting else "",
        num_faces=faces.num_faces if faces else 0,
        verdict="review",
        num_tries=len(steps.RETRY_DELAYS_S) + 1 if steps.is_worth_retrying(error) else 1,
    )
