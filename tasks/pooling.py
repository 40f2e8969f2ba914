"""Short and faint shots say little alone: their offset is found together with others made the same way.

The same face's neighbours are asked first. Where they cannot tell either, the nearest shots of anybody are: an offset comes from how lips are made
and heard, and that is alike for all.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from infra.artifacts import ArtifactStore
from tasks.policy import SyncRules
from tasks.sync_evidence import MIN_SPEECH_WINDOWS
from tasks.types import Person, ShotTrial, SyncScore, Try
from tasks.verdicts import Pooled
from wav2lip_core.sync_interval import bootstrap, middle_columns, offset_of, weighted_curve


def pool_offsets(store: ArtifactStore, trials: Sequence[ShotTrial], people: Sequence[Person], rules: SyncRules) -> dict[tuple[int, int], Pooled]:
    """(number of the trial, number of the try) -> its pooled offset, for tries that are too short or too faint and have others that help.

    A pooled offset on which the resamples do not agree either is none.
    """
    person_of = {shot: person.index for person in people for shot in person.shots}
    out = {}
    for number, trial in enumerate(trials):
        for i, tried in enumerate(trial.tries):
            if tried.patches.patches and _needs_help(tried.measures.after, rules):
                for helpers in _helpers(trials, number, tried, person_of, rules):
                    pooled = _pool(store, [(number, tried), *helpers], trials, rules)
                    if pooled is not None:
                        out[number, i] = pooled
                        break
    return out


def _helpers(trials: Sequence[ShotTrial], number: int, tried: Try, person_of: dict[int, int], rules: SyncRules) -> Iterator[list[tuple[int, Try]]]:
    """First the same face's neighbours, then the nearest shots of anybody: (number of the trial, its try that was made alike)."""
    alike = [(k, other) for k, trial in enumerate(trials) if k != number and (other := _made_alike(trial, tried)) is not None]
    person = person_of.get(trials[number].shot.index)
    same = [(k, other) for k, other in alike if person is not None and person_of.get(trials[k].shot.index) == person]
    before, after = [each for each in same if each[0] < number], [each for each in same if each[0] > number]
    yield [*before[max(0, len(before) - rules.pool_neighbours) :], *after[: rules.pool_neighbours]]
    yield sorted(sorted(alike, key=lambda each: abs(each[0] - number))[: rules.pool_of_anybody], key=lambda each: each[0])


def _needs_help(score: SyncScore, rules: SyncRules) -> bool:
    too_faint = score.offset_agreement is not None and score.offset_agreement < rules.min_offset_agreement
    return score.num_windows < rules.pool_under_windows or too_faint


def _made_alike(trial: ShotTrial, tried: Try) -> Try | None:
    """The shot's first try with the same generator and the same shift of the sound."""
    wanted = (tried.settings.sound_shift_frames, tried.generator_sha256)
    found = (each for each in trial.tries if each.patches.patches and (each.settings.sound_shift_frames, each.generator_sha256) == wanted)
    return next(found, None)


def _pool(store: ArtifactStore, members: Sequence[tuple[int, Try]], trials: Sequence[ShotTrial], rules: SyncRules) -> Pooled | None:
    arrays = [store.load_arrays(tried.measures.evidence) for _, tried in members if tried.measures.evidence is not None]
    if len(members) < 2 or len(arrays) < len(members):
        return None
    weights = np.concatenate([each["after_weights"] for each in arrays])
    if weights.sum() < MIN_SPEECH_WINDOWS or arrays[0]["after_weights"].sum() == 0:
        return None
    rows = np.concatenate([middle_columns(each["after_rows"]) for each in arrays])
    if bootstrap(rows, weights).agreement < rules.min_offset_agreement:
        return None
    shots = tuple(sorted(trials[number].shot.index for number, _ in members))
    return Pooled(offset_of(weighted_curve(rows, weights)), shots)
