"""What the manifest holds beside digests, so that a redo needs nothing else: the whole request, the takes in the film, what the history said."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.episode.request_checks import Inputs
from flows.episode.study import Run, Study
from flows.episode.takes import Takes
from infra.errors import InputError
from infra.sources import digest_of
from infra.storage import Storage
from infra.storage_keys import FolderLocation, parse_location
from tasks.decisions import TakeInFilm
from tasks.history import Vouched, head_of
from tasks.model_shelf import detector_digest
from tasks.settled import Key
from tasks.types import DubRequest, EpisodeId, HistoryEntry, InputDigests

MANIFEST = "manifest.json"


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Input(_Loose):
    sha256: str


class _Inputs(_Loose):
    film: _Input
    audio: dict[str, _Input]
    original_dialogue: _Input | None = None
    cast: dict[str, str] = Field(default_factory=dict)  # sha256 of the cast file and its pictures, by name
    stems: dict[str, dict[str, _Input]] = Field(default_factory=dict)  # language -> character


class _Parameters(_Loose):
    casting: dict[str, int | None] = Field(default_factory=dict)


class _Models(_Loose):
    name: str
    generator_sha256: str
    expert_sha256: str
    vgg_sha256: str | None = None


class _Detector(_Loose):
    name: str
    sha256: str


class _Policy(_Loose):
    name: str
    version: int
    sha256: str


class Recorded(_Loose):
    """A published episode, as its manifest tells."""

    episode_id: EpisodeId
    inputs: _Inputs
    parameters: _Parameters
    models: _Models
    detector: _Detector
    policy: _Policy
    request: DubRequest
    takes: tuple[TakeInFilm, ...]
    history: Vouched

    @property
    def film(self) -> dict[Key, TakeInFilm]:
        return {(take.shot, take.language): take for take in self.takes}

    @property
    def digests(self) -> InputDigests:
        return InputDigests(film=self.inputs.film.sha256, audio={language: dub.sha256 for language, dub in self.inputs.audio.items()})


def record_review(run: Run[DubRequest], asked: DubRequest, takes: Takes, entries: Sequence[HistoryEntry]) -> dict[str, Any]:
    """The manifest's part for redo. asked: the request as the user gave it, before review had its say."""
    policy = run.inputs.policy
    assert policy is not None
    made = {(report.shot.index, report.language): report for report in takes.reports}
    return {
        "request": absolute(asked, run).model_dump(mode="json"),
        "policy": {"name": policy.name, "version": policy.version, "sha256": policy.sha256},
        "takes": [
            {"shot": shot, "language": language, "take_sha256": report.take_sha256, "reason": "" if report.outcome == "synced" else report.reason}
            for (shot, language), report in sorted(made.items())
        ],
        "overrides": [override.model_dump(mode="json") for override in run.request.overrides],
        "history": head_of(entries).model_dump(mode="json"),
    }


def record_cast(run: Run[DubRequest], study: Study) -> dict[str, Any]:
    """The manifest's inputs of a run with a cast file: digests, and whose face is whose, by shot and track."""
    if run.inputs.cast is None:
        return {}
    who = study.characters.who
    return {
        "cast": run.inputs.cast.digests,
        "stems": {language: {name: {"sha256": stem.sha256} for name, stem in own.items()} for language, own in study.stems.items()},
        "faces": {str(shot): {str(each.track_id): each.character for each in found} for shot, found in who.items() if found},
    }


def absolute(request: DubRequest, run: Run[DubRequest]) -> DubRequest:
    """The request, fit for another folder and another day: paths absolute, the detector and the work folder by name."""
    fields: dict[str, object] = {
        "film": _absolute(request.film),
        "audio": {language: _absolute(track) for language, track in request.audio.items()},
        "original_dialogue": None if request.original_dialogue is None else _absolute(request.original_dialogue),
        "speaker": request.speaker if request.speaker in ("auto", "only-face") else _absolute(request.speaker),
        "policy": None if request.policy is None else _absolute(request.policy),
        "cast": None if request.cast is None else _absolute(request.cast),
        "stems": {language: {name: _absolute(track) for name, track in own.items()} for language, own in request.stems.items()},
        "out": _absolute(request.out),
        "work": str(run.work_folder),
        "detector": run.inputs.detector[0],
        "precision": run.inputs.models.precision,
    }
    return request.model_copy(update=fields)


def read_recorded(storage: Storage, episode_id: str, wait_s: float = 60.0) -> Recorded:
    """The manifest of a published episode. While it is missing beside other files, somebody is publishing: it is waited for.

    Raises InputError when there is no such episode, or its manifest is of no use for a redo.
    """
    key = f"{episode_id}/{MANIFEST}"
    deadline = time.monotonic() + wait_s
    while not storage.exists(key):
        if not storage.list(f"{episode_id}/"):
            raise InputError(
                f"There is no episode {storage.describe(episode_id)}. Dub it first: dub episode FILM --audio LANG=TRACK --out OUT --id ID"
            )
        if time.monotonic() > deadline:
            raise InputError(f"{storage.describe(key)} is missing: the episode was not published to its end. Run the same `dub episode` again.")
        time.sleep(1.0)
    data = storage.read_bytes(key)
    try:
        return Recorded.model_validate_json(data)
    except ValidationError:
        known = b'"request"' in data
        trouble = "cannot be read" if known else "is of an older version, which did not write down all that a redo needs"
        raise InputError(f"{storage.describe(key)} {trouble}. Run the same `dub episode` again; finished steps are found.") from None


def check_unchanged(recorded: Recorded, inputs: Inputs) -> None:
    """What the episode was made from is what is there now: only then can all that is not made again stay as it is. Raises InputError."""
    changed = list(_changes(recorded, inputs))
    if changed:
        raise InputError(
            "\n".join(
                ["The episode was made from other inputs than there are now, so a redo would change more than was asked for. Nothing was done."]
                + [f"- {text}" for text in changed]
                + ["Bring back what it was made from, or dub it anew with `dub episode`."]
            )
        )


def _changes(recorded: Recorded, inputs: Inputs) -> Iterator[str]:
    files = {inputs.film: recorded.inputs.film.sha256}
    files |= {path: recorded.inputs.audio[language].sha256 for language, path in inputs.audio.items() if language in recorded.inputs.audio}
    if inputs.original_dialogue is not None and recorded.inputs.original_dialogue is not None:
        files[inputs.original_dialogue] = recorded.inputs.original_dialogue.sha256
    if inputs.cast is not None:
        files |= {path: own[name].sha256 for language, own in recorded.inputs.stems.items() for name, path in _stems_of(inputs, language, own)}
    if (inputs.cast.digests if inputs.cast else {}) != recorded.inputs.cast:
        yield "the cast file or a picture that it names is another one now"
    for path, sha256 in files.items():
        if (now := digest_of(path)) != sha256:
            yield f"{path} is another file now: {now[:12]}, not {sha256[:12]}"
    casting = {str(index): track for index, track in (inputs.casting or {}).items()}
    if casting != recorded.parameters.casting:
        yield "the casting file names other speakers now"
    models = {"generator": (inputs.models.generator_sha256, recorded.models.generator_sha256)}
    models |= {
        "sync expert": (inputs.models.expert_sha256, recorded.models.expert_sha256),
        "published scorer": (inputs.models.vgg_sha256, recorded.models.vgg_sha256),
    }
    for kind, (now, then) in models.items():
        if now != then:
            yield f"the {kind} of the model {inputs.models.name} is another one now: {(now or 'none')[:12]}, not {(then or 'none')[:12]}"
    if inputs.policy is not None and inputs.policy.sha256 != recorded.policy.sha256:
        then = f"{recorded.policy.name} {recorded.policy.version} ({recorded.policy.sha256[:12]})"
        yield f"the verdict policy is {inputs.policy.name} {inputs.policy.version} ({inputs.policy.sha256[:12]}) now, not {then}"
    if (now := detector_digest(*inputs.detector)) != recorded.detector.sha256:
        yield f"the face detector {inputs.detector[0]} is another one now: {now[:12]}, not {recorded.detector.sha256[:12]}"


def _stems_of(inputs: Inputs, language: str, recorded: dict[str, _Input]) -> Iterator[tuple[str, Path]]:
    own = {} if inputs.cast is None else inputs.cast.stems.get(language, {})
    return ((name, path) for name, path in own.items() if name in recorded)


def _absolute(text: str) -> str:
    location = parse_location(text)
    return str(location.path) if isinstance(location, FolderLocation) else text
