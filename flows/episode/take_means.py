"""With what takes are made and judged: the policy, what review has settled, and the weights by name, pinned before the first take."""

from dataclasses import dataclass

from flows.episode.steps import Call
from flows.episode.study import Run, Study
from infra.errors import InputError
from infra.settings import get_settings
from tasks.model_shelf import pin_models
from tasks.policy import Policy
from tasks.types import DubRequest, Models, Override, TakeSettings

Key = tuple[int, str]  # shot index, language


@dataclass(frozen=True)
class Means:
    """What takes are made and judged with: policy, what review has settled, and the weights by model name, pinned once."""

    policy: Policy
    overrides: dict[Key, Override]
    models: dict[str | None, Models]  # None: the request's own

    def first_settings(self, key: Key) -> TakeSettings:
        override = self.overrides.get(key)
        return self.policy.ladder.first.settings().model_copy(update={"model": override.model if override else None})

    def is_left(self, key: Key) -> bool:
        """Whether a reviewer wants the original picture."""
        return key in self.overrides and self.overrides[key].keep_original == "yes"


def gather_means(run: Run[DubRequest], study: Study) -> Means:
    """Raises InputError for what review settled of shots that the film does not have, and for models that are not there."""
    policy = run.inputs.policy
    assert policy is not None
    overrides = {(override.shot, override.language): override for override in run.request.overrides}
    strangers = sorted(shot for shot, _ in overrides if shot >= len(study.shots))
    if strangers:
        raise InputError(f"Review names shot {strangers[0]}, but the film has shots 0 to {len(study.shots) - 1}.")
    models: dict[str | None, Models] = {None: run.inputs.models, **run.inputs.other_models}
    for name in {override.model for override in overrides.values()} - set(models):
        pinned = pin_models(get_settings().models_folder, str(name), run.request.scorer, run.request.precision)
        models[name] = pinned
    own = run.inputs.models
    judge = {"expert_path": own.expert_path, "expert_sha256": own.expert_sha256, "vgg_path": own.vgg_path, "vgg_sha256": own.vgg_sha256}
    return Means(policy, overrides, {name: each.model_copy(update=judge) for name, each in models.items()})  # one judge for all takes


def shot_call(run: Run, study: Study, key: Key, models: Models, **more: object) -> Call:
    """A call of a step that works on one shot in one language."""
    index, language = key
    casting, voices = study.casting_of(key), study.voices_of(key)
    arguments = {
        "store": run.store,
        "film": study.film,
        "shot": study.shots[index],
        "faces": study.faces[index],
        "casting": casting,
        "dub": study.dubs[language],
        "original": study.original,
        "models": models,
    }
    if voices is not None:
        arguments["voices"] = voices
    return Call(arguments | more, sum(span.end_frame - span.first_frame for span in casting.spans))
