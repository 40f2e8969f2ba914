"""A request is looked at as a whole before any work: everything that is wrong with it is told at once, and nothing has been written yet."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flows.episode.cast_inputs import CastInputs, gather_cast
from flows.episode.dub_tracks import gather_tracks
from flows.episode.make_request import all_of
from flows.run.disk_check import fetch_if_room
from flows.run.work_folder import work_folder_of
from infra.errors import InputError
from infra.settings import get_settings
from infra.sources import find_source
from infra.storage import Storage, fetch, open_storage
from infra.storage_keys import FolderLocation, parse_location, redact
from tasks.choose_speaker import read_casting_file
from tasks.model_shelf import pin_models
from tasks.policy import Policy, read_policy
from tasks.types import DubRequest, EpisodeRequest, Models

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Inputs:
    """Everything a request names, at hand: local paths, pinned models, the store that the episode goes to."""

    film: str  # a local path, or an object in a bucket in its present version, see infra.sources
    audio: dict[str, Path]
    original_dialogue: Path | None
    casting: dict[int, int | None] | None  # of a casting file
    models: Models
    detector: tuple[str, str | None]  # name, weights
    storage: Storage | None  # None: nothing is to be published
    policy: Policy | None = None  # of a dub
    left_out: dict[str, str] = field(default_factory=dict)  # languages whose track is of no use -> why; only where the request allows it
    other_models: dict[str, Models] = field(default_factory=dict)  # by name: what the policy's ladder and the reviewers ask for
    cast: CastInputs | None = None  # of a cast file, with the characters' own tracks


def gather_inputs(request: EpisodeRequest) -> Inputs:
    """Find, fetch and pin all that the request names. Raises one InputError with everything that is wrong; TransientError when a store fails."""
    problems: list[str] = []

    def attempt(check: Callable[[], ResultT]) -> ResultT | None:
        try:
            return check()
        except InputError as error:
            problems.append(str(error))
            return None

    into = attempt(lambda: work_folder_of(request) / "inputs")
    models = attempt(lambda: pin_models(get_settings().models_folder, request.model, request.scorer, request.precision))
    detector = attempt(lambda: choose_detector(request.detector))
    storage = None
    if isinstance(request, DubRequest):
        storage = attempt(lambda: _checked_storage(request))
    policy, other_models = _policy_of(request, into, attempt)
    if into is None:
        raise all_of(problems)

    def local(text: str) -> Path | None:
        return attempt(lambda: fetch_if_room(text, into))

    film = attempt(lambda: find_source(request.film, into))
    audio, left_out = gather_tracks(request, into, problems)
    stem = None if request.original_dialogue is None else local(request.original_dialogue)
    named = None if request.speaker in ("auto", "only-face") else local(request.speaker)
    casting = None if named is None else attempt(lambda: read_casting_file(named))
    cast = gather_cast(request, into, detector, attempt)
    if problems:
        raise all_of(problems)
    assert film is not None
    assert models is not None
    assert detector is not None
    return Inputs(film, audio, stem, casting, models, detector, storage, policy, left_out, other_models, cast)


def _policy_of(request: EpisodeRequest, into: Path | None, attempt: Callable[[Callable[[], Any]], Any]) -> tuple[Policy | None, dict[str, Models]]:
    """The verdict policy of a dub, and every model beside the request's own that it or a reviewer names."""
    if not isinstance(request, DubRequest) or into is None:
        return None, {}
    file = request.policy
    policy = attempt(lambda: read_policy(None if file is None else fetch(file, into)))
    names = dict.fromkeys([*(policy.model_names if policy else ()), *(each.model for each in request.overrides if each.model)])
    found = {name: attempt(lambda name=name: pin_models(get_settings().models_folder, name, request.scorer, request.precision)) for name in names}
    return policy, {name: models for name, models in found.items() if models is not None}


def choose_detector(name: str | None) -> tuple[str, str | None]:
    """(name, weights file) of the face detector; `auto` takes the best one whose weights are set up, else dlib, which needs none."""
    settings = get_settings()
    weights = {"retinaface": settings.retinaface_path, "yunet": settings.yunet_path, "dlib": None}
    wanted = name or settings.detector
    if wanted == "auto":
        wanted = next((known for known in ("retinaface", "yunet") if weights[known] is not None), "dlib")
    path = weights[wanted]
    if wanted != "dlib" and path is None:
        raise InputError(f"The face detector {wanted} needs a weights file: set DUBFLOW_{wanted.upper()}_PATH.")
    if path is not None and not path.is_file():
        raise InputError(f"The weights of the face detector {wanted} are not there: {path}")
    return wanted, None if path is None else str(path)


def _checked_storage(request: DubRequest) -> Storage:
    """OUT as a storage that answers. OUT/ID must not hold an input, and OUT must not lie in one: inputs are never written to."""
    for text in _named(request):
        _refuse_overlap(request, text)
    location = parse_location(request.out)
    if isinstance(location, FolderLocation):
        _refuse_closed_folder(location.path)
    storage = open_storage(request.out)
    storage.exists(f"{request.episode_id}/manifest.json")  # a bucket that is missing or closed is told now, not after the work
    return storage


def _named(request: DubRequest) -> list[str]:
    """Every file that the request names."""
    beside = [text for text in (request.original_dialogue, request.cast) if text is not None]
    return [request.film, *request.audio.values(), *beside, *(track for tracks in request.stems.values() for track in tracks.values())]


def _refuse_closed_folder(out: Path) -> None:
    existing = next(folder for folder in (out, *out.parents) if folder.exists())
    if existing.is_dir() and not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: you may not write to {existing}. Choose another folder.")


def _refuse_overlap(request: DubRequest, text: str) -> None:
    source, out = parse_location(text), parse_location(request.out)
    if isinstance(source, FolderLocation) != isinstance(out, FolderLocation):
        return
    if isinstance(source, FolderLocation) and isinstance(out, FolderLocation):
        source_parts, out_parts = source.path.resolve().parts, out.path.resolve().parts
    else:
        source_parts, out_parts = _s3_parts(source), _s3_parts(out)
    target = (*out_parts, request.episode_id)
    if out_parts[: len(source_parts)] == source_parts or source_parts[: len(target)] == target:
        raise InputError(f"--out {redact(request.out)}: the episode would be written over or into an input, {redact(text)}. Choose another folder.")


def _s3_parts(location: object) -> tuple[str, ...]:
    bucket, key = getattr(location, "bucket", ""), getattr(location, "key", "")
    return (bucket, *(key.split("/") if key else ()))
