"""The retry ladder: a shot whose best take is an issue is made again, rung by rung as the policy declares, all such shots at the same time."""

import logging

from flows.episode import steps
from flows.episode.steps import Call
from flows.episode.study import Run, Study
from flows.episode.take_means import Key, Means, shot_call
from flows.run import progress
from tasks.judge_episode import Assessment, assess
from tasks.policy import Policy, Rung
from tasks.types import EpisodeGround, ShotTrial, TakeSettings
from tasks.verdicts import take_digest

logger = logging.getLogger(__name__)


def walk(run: Run, study: Study, means: Means, trials: dict[Key, ShotTrial], grounds: dict[str, EpisodeGround]) -> dict[Key, ShotTrial]:
    """The trials with every further try that the policy asks for and its budget allows. A try that fails is a rung that did not help."""
    trials = dict(trials)
    climbed: dict[Key, set[str]] = {key: set() for key in trials}
    while True:
        wanted: dict[Key, TakeSettings] = {}
        for language, ground in grounds.items():
            own = [key for key in trials if key[1] == language]
            for key, assessment in zip(own, assess(run.store, [trials[key] for key in own], ground, means.policy), strict=True):
                settings = next_settings(means.policy, trials[key], assessment, climbed[key], ground.self_test.trusted)
                if settings is not None:
                    climbed[key].add(settings.rung)
                    wanted[key] = settings
        if not wanted:
            return trials
        calls: list[Call] = []
        for key, settings in wanted.items():
            progress.tell(progress.Said(f"shot {key[0]} {key[1]} is made again: {settings.rung}"))
            calls.append(shot_call(run, study, key, means.models[settings.model], settings=settings))
        for key, outcome in zip(wanted, run.each(steps.RETRY, calls), strict=True):
            if outcome.error is None:
                trials[key] = trials[key].model_copy(update={"tries": (*trials[key].tries, outcome.result)})
            else:
                logger.warning("%s %s: %s failed: %s", trials[key].shot.name, key[1], wanted[key].rung, outcome.error)


def next_settings(policy: Policy, trial: ShotTrial, assessment: Assessment, climbed: set[str], is_trusted: bool) -> TakeSettings | None:
    """How the shot is to be made next, or None when it is good enough, settled, out of budget, or at the ladder's end.

    A scorer that cannot be trusted cannot say which take is better: then only what a reviewer rejected is made again.
    """
    override = trial.override
    made = [i for i, each in enumerate(trial.tries) if each.patches.patches]
    if not made or trial.trouble or (override is not None and override.keep_original == "yes"):
        return None
    rejected = set(override.rejected_takes) if override is not None else set()
    usable = [i for i in made if take_digest(trial.tries[i].patches) not in rejected]
    best = assessment.chosen if assessment.chosen is not None else _least_bad(trial, assessment, usable or made)
    code = assessment.tries[best].code
    if assessment.final.code == "approved" or len(trial.tries) >= policy.ladder.max_tries or _seconds(trial) >= policy.ladder.max_seconds:
        return None
    if usable and (not is_trusted or assessment.tries[best].verdict == "pass"):
        return None
    for rung in policy.ladder.rungs:
        if rung.name not in climbed and (not usable or code in rung.when):
            pooled = assessment.tries[best].pooled
            offset = trial.tries[best].measures.after.offset_frames if pooled is None else pooled.offset_frames
            settings = changed(rung, trial.tries[best].settings, offset)
            if settings is not None and all(_ways(settings) != _ways(each.settings) for each in trial.tries):
                return settings
    return None


def changed(rung: Rung, settings: TakeSettings, offset_frames: int | None) -> TakeSettings | None:
    """The best take's settings as a rung changes them; None where the rung needs an offset and there is none."""
    update: dict[str, object] = {
        name: getattr(rung, name) for name in ("padding", "smoothing", "reference", "model") if getattr(rung, name) is not None
    }  # fmt: skip
    if rung.sound_shift == "measured":
        if offset_frames is None:
            return None
        update["sound_shift_frames"] = settings.sound_shift_frames - offset_frames
    elif rung.sound_shift is not None:
        update["sound_shift_frames"] = rung.sound_shift
    return settings.model_copy(update=update | {"rung": rung.name})


def _least_bad(trial: ShotTrial, assessment: Assessment, among: list[int]) -> int:
    return max(among, key=lambda i: (assessment.tries[i].verdict == "pass", trial.tries[i].measures.after.confidence or 0.0, -i))


def _seconds(trial: ShotTrial) -> float:
    """Spent at the shot beyond its first take."""
    return sum(each.patches.seconds for each in trial.tries[1:])


def _ways(settings: TakeSettings) -> TakeSettings:
    return settings.model_copy(update={"rung": ""})
