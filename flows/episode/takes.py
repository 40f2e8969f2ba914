"""New lips for every cast shot in every language, measured, tried again where they fail, judged; what fails altogether keeps its picture."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flows.episode import steps
from flows.episode.ladder import walk
from flows.episode.steps import Call, Outcome, refuse_all_failed
from flows.episode.study import Run, Study
from flows.episode.take_means import Key, Means, gather_means, shot_call
from tasks.policy import Policy
from tasks.types import (
    DubRequest,
    EpisodeGround,
    EpisodeQa,
    LipPatch,
    QaReport,
    ShotMeasures,
    ShotPatches,
    ShotTrial,
    TakeSettings,
    Try,
)
from tasks.verdicts import take_digest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Takes:
    """What is to be pasted, and what is to be said of each shot in each language (by shot, then language)."""

    patches: tuple[LipPatch, ...]
    reports: tuple[QaReport, ...]
    episodes: dict[str, EpisodeQa]

    def patches_of(self, language: str) -> tuple[LipPatch, ...]:
        return tuple(patch for patch in self.patches if patch.language == language)


def dub_shots(run: Run[DubRequest], study: Study) -> Takes:
    """Sync, measure, try again, judge: shots x languages. Raises InputError, or OurTroubleError when every single shot failed."""
    means = gather_means(run, study)
    troubles: dict[Key, Exception] = {(index, language): error for index, error in study.troubles.items() for language in study.dubs}
    made, failed = _sync(run, study, means)
    troubles |= failed
    measures, failed = _measure(run, study, means, made)
    troubles |= failed
    tries = {key: _first_try(means, key, made[key], measures[key]) for key in measures}
    trials = {key: _trial(study, means, key, tries.get(key), troubles.get(key)) for key in _keys(study, range(len(study.shots)))}
    for key, error in troubles.items():
        logger.warning("%s %s falls back to the original picture: %s", study.shots[key[0]].name, key[1], error)
    grounds = _grounds(run, study, means.policy, trials)
    trials = walk(run, study, means, trials, grounds)
    episodes = _judge(run, study, means.policy, trials, grounds)
    reports = {(report.shot.index, language): report for language, episode in episodes.items() for report in episode.reports}
    patches = tuple(patch for key in trials for patch in _pasted(trials[key], reports[key].take_sha256))
    return Takes(patches, tuple(reports[key] for key in trials), episodes)


def _sync(run: Run, study: Study, means: Means) -> tuple[dict[Key, ShotPatches], dict[Key, Exception]]:
    made: dict[Key, ShotPatches] = {}
    calls: dict[Key, Call] = {}
    for key in _keys(study, study.castings):
        index, language = key
        casting = study.casting_of(key)
        if casting.spans and not means.is_left(key):
            settings = means.first_settings(key)
            changed = {"settings": settings} if settings != TakeSettings() else {}
            calls[key] = shot_call(run, study, key, means.models[settings.model], **changed)
        else:
            made[key] = ShotPatches(shot_index=index, language=language, reason=casting.reason or "refused")
    found, failed = _sorted(calls, run.each(steps.SYNC, list(calls.values())))
    refuse_all_failed("sync", len(calls), list(failed.values()))
    return made | found, failed


def _measure(run: Run, study: Study, means: Means, made: dict[Key, ShotPatches]) -> tuple[dict[Key, ShotMeasures], dict[Key, Exception]]:
    calls = {key: shot_call(run, study, key, means.models[None], patches=made[key]) for key in _keys(study, study.castings) if key in made}
    measures, failed = _sorted(calls, run.each(steps.JUDGE, list(calls.values())))
    refuse_all_failed("judge", len(calls), list(failed.values()))
    checks: dict[Key, Call] = {}
    for key in measures:
        if made[key].patches:
            settings = means.first_settings(key)
            whole = shot_call(run, study, key, means.models[settings.model], patches=made[key], settings=settings)
            wanted = ("store", "film", "shot", "faces", "patches", "models", "settings")
            checks[key] = Call({name: whole.arguments[name] for name in wanted}, whole.num_units)
    found, unchecked = _sorted(checks, run.each(steps.CHECK, list(checks.values())))
    refuse_all_failed("check", len(checks), list(unchecked.values()))
    whole = {key: each.model_copy(update={"checks": found[key]}) if key in found else each for key, each in measures.items()}
    return {key: each for key, each in whole.items() if key not in unchecked}, failed | unchecked


def _first_try(means: Means, key: Key, patches: ShotPatches, measures: ShotMeasures) -> Try:
    settings = means.first_settings(key)
    return Try(settings=settings, patches=patches, measures=measures, generator_sha256=means.models[settings.model].generator_sha256)


def _trial(study: Study, means: Means, key: Key, first: Try | None, error: Exception | None) -> ShotTrial:
    index, language = key
    faces, casting = study.faces.get(index), study.casting_of(key) if index in study.castings else None
    num_attempts = 0
    if error is not None:
        num_attempts = len(steps.RETRY_DELAYS_S) + 1 if steps.is_worth_retrying(error) else 1
    return ShotTrial(
        shot=study.shots[index],
        language=language,
        tries=() if first is None else (first,),
        evidence=casting.evidence if casting else "",
        num_faces=faces.num_faces if faces else 0,
        trouble="" if error is None else f"{type(error).__name__}: {error}",
        num_attempts=num_attempts,
        override=means.overrides.get(key),
    )


def _grounds(run: Run, study: Study, policy: Policy, trials: dict[Key, ShotTrial]) -> dict[str, EpisodeGround]:
    calls = []
    for language in study.dubs:
        measures = tuple(trial.tries[0].measures for key, trial in trials.items() if key[1] == language and trial.tries)
        calls.append(Call({"store": run.store, "language": language, "measures": measures, "policy": policy}))
    return dict(zip(study.dubs, run.all_of(steps.GROUND, calls), strict=True))


def _judge(run: Run, study: Study, policy: Policy, trials: dict[Key, ShotTrial], grounds: dict[str, EpisodeGround]) -> dict[str, EpisodeQa]:
    calls = []
    for language in study.dubs:
        own = tuple(trial for key, trial in trials.items() if key[1] == language)
        calls.append(Call({"store": run.store, "language": language, "trials": own, "ground": grounds[language], "policy": policy}))
    return dict(zip(study.dubs, run.all_of(steps.VERDICTS, calls), strict=True))


def _pasted(trial: ShotTrial, sha256: str | None) -> Iterator[LipPatch]:
    if sha256 is not None:
        yield from next(each.patches.patches for each in trial.tries if take_digest(each.patches) == sha256)


def _keys(study: Study, indices: Iterable[int]) -> list[Key]:
    return [(index, language) for index in sorted(indices) for language in study.dubs]


def _sorted(calls: dict[Key, Call], outcomes: list[Outcome]) -> tuple[dict[Key, Any], dict[Key, Exception]]:
    """(results, errors) by shot and language."""
    results, errors = {}, {}
    for key, outcome in zip(calls, outcomes, strict=True):
        if outcome.error is None:
            results[key] = outcome.result
        else:
            errors[key] = outcome.error
    return results, errors
