"""The flow `redo-shots`: what reviewers decided is written down, the shots it touches are made again, and all else stays as it was published."""

import flows.environment  # noqa: F401  # isort: skip
import logging
from collections.abc import Sequence
from pathlib import Path

from prefect import flow

from flows.dub_episode import dub
from flows.episode.make_request import all_of
from flows.episode.manifest import Recorded, check_unchanged, read_recorded
from flows.episode.study import Run, begin
from flows.run import progress
from flows.studio import notify
from infra.errors import InputError
from infra.settings import get_settings
from infra.storage import Storage, fetch, open_storage
from infra.storage_keys import S3Location, parse_location, redact
from tasks.decisions import MOST_BYTES, Checked, check_decisions, read_decisions
from tasks.history import Deed, append_entry, find_changed_view, read_history
from tasks.model_shelf import pin_models
from tasks.settled import Key, overrides_of
from tasks.types import Decisions, DubRequest, DubResult, HistoryEntry, RedoRequest, RedoResult, Remake

logger = logging.getLogger(__name__)
DECISIONS = "decisions.json"
Handed = tuple[Decisions, tuple[str, ...], str]  # a review, what in it could not be read, what to call it


@flow(
    name="redo-shots",
    flow_run_name="redo {request.episode_id}",
    persist_result=False,
    validate_parameters=True,
    on_completion=[notify.tell_finished],
    on_failure=[notify.tell_failed],
    on_crashed=[notify.tell_failed],
)
def redo_shots(request: RedoRequest) -> RedoResult:
    """Make touched shots again. Raises InputError for what the user must change (then nothing was written), OurTroubleError for what failed here."""
    storage = open_storage(request.out)
    before = read_recorded(storage, request.episode_id)
    with begin(request_of(before, request)) as run:
        recorded = recorded_now(storage, before, request)
        handed = find_decisions(storage, request, run.work_folder)
        return redo(run, recorded, handed, request)


def request_of(recorded: Recorded, request: RedoRequest) -> DubRequest:
    """The episode's own request, to be run where it lies now."""
    fields = {"out": request.out, "episode_id": request.episode_id, "model": recorded.models.name, "review": "later", "if_busy": request.if_busy}
    fields["precision"] = recorded.request.precision or "float32"  # before there was a choice
    fields |= {name: value for name in ("work", "num_workers", "task_runner") if (value := getattr(request, name)) is not None}
    return recorded.request.model_copy(update=fields)


def recorded_now(storage: Storage, before: Recorded, request: RedoRequest) -> Recorded:
    """The episode as it is published once nobody else works on it any more. Raises InputError when another request made it meanwhile."""
    now = read_recorded(storage, before.episode_id)
    how = {"work", "num_workers", "task_runner"}  # which change nothing in the film
    if request_of(now, request).model_dump(exclude=how) != request_of(before, request).model_dump(exclude=how):
        raise InputError(
            f"Episode {before.episode_id} was dubbed anew with other settings meanwhile. Nothing was done; look at it, and decide again."
        )
    return now


def find_decisions(storage: Storage, request: RedoRequest, work_folder: Path) -> Handed | None:
    """The review that was named, or else the one that lies beside the report. Raises InputError when nothing at all is asked for."""
    if request.decisions is None and request.shots:
        return None
    into = work_folder / "inputs"
    if request.decisions is not None:
        name = redact(request.decisions)
        _refuse_large_object(request.decisions)
        return *read_decisions(fetch(request.decisions, into), name), name
    key = f"{request.episode_id}/{DECISIONS}"
    if not storage.exists(key):
        raise InputError(f"Nothing is asked for: there is no {storage.describe(key)}. Give --decisions FILE, or --shots 3,7 to make these again.")
    name = storage.describe(key)
    _refuse_large(storage, key, name)
    local = into / f"{request.episode_id}-{DECISIONS}"
    storage.get(key, local)
    return *read_decisions(local, name), name


def redo(run: Run[DubRequest], recorded: Recorded, handed: Handed | None, request: RedoRequest) -> RedoResult:
    """Check, write into the history, dub: everything that is not touched is found in the artifact store."""
    storage = run.inputs.storage
    assert storage is not None
    check_unchanged(recorded, run.inputs)
    entries = read_history(storage, recorded.episode_id, recorded.history)
    if (changed := find_changed_view(storage, recorded.episode_id, entries)) is not None:
        progress.tell(progress.Said(changed, is_warning=True))
    if request.model is not None:  # `production` is the one of this day, also when it is read from the history later
        pinned = pin_models(get_settings().models_folder, request.model, recorded.request.scorer)
        request = request.model_copy(update={"model": pinned.name})
    checked = _check(recorded, handed, entries)
    remakes, cannot = _remakes(recorded, checked, entries, request)
    refused = (*checked.refused, *cannot)
    for text in refused:
        progress.tell(progress.Said(text, is_warning=True))
    for text in checked.remarks:
        progress.tell(progress.Said(text))
    if not (checked.accepted or checked.known or remakes):
        raise all_of([*refused, "So there is nothing to apply; nothing was done."] if refused else ["The review decides nothing; nothing was done."])
    new = tuple(remake for remake in remakes if all(remake not in entry.remakes for entry in entries))
    if checked.accepted or new:
        deed = Deed(
            decisions=checked.accepted,
            remakes=new,
            reviewer=checked.reviewer or request.reviewer,
            source=handed[2] if handed is not None else "command line",
            inputs=recorded.digests,
        )
        result = _dub_with(run, deed)
    else:
        result = dub(run)
    found = {"num_applied": len(checked.accepted) + len(checked.known) + len(remakes), "refused": refused, "remarks": checked.remarks}
    return RedoResult(**result.model_dump(), **found)


def _dub_with(run: Run[DubRequest], deed: Deed) -> DubResult:
    """Write the deed into the history, then dub. A store that lets the second of two writers overwrite the first may lose an entry: it is written
    again."""
    storage, episode_id = run.inputs.storage, run.request.episode_id
    assert storage is not None
    while True:
        entry = append_entry(storage, episode_id, "decided", deed)
        result = dub(run)
        if any(known.id == entry.id for known in read_history(storage, episode_id)):
            return result
        logger.warning("entry %d of the history of %s was overwritten by another review at the same moment; written again", entry.number, episode_id)


def _check(recorded: Recorded, handed: Handed | None, entries: Sequence[HistoryEntry]) -> Checked:
    if handed is None:
        return Checked(reviewer="", accepted=())
    decisions, unreadable, name = handed
    checked = check_decisions(decisions, name, recorded.episode_id, recorded.film, entries, _kept_by_review(recorded, entries))
    return checked.model_copy(update={"refused": (*unreadable, *checked.refused)})


def _kept_by_review(recorded: Recorded, entries: Sequence[HistoryEntry]) -> frozenset[Key]:
    kept = (override for override in overrides_of(entries, recorded.digests) if override.keep_original == "yes")
    return frozenset((override.shot, override.language) for override in kept)


def _remakes(recorded: Recorded, checked: Checked, entries: Sequence[HistoryEntry], request: RedoRequest) -> tuple[list[Remake], list[str]]:
    """(what the command itself asks for, what of it cannot be): the shots named, and with a model also those that the review rejects."""
    strangers = sorted(set(request.shots) - {shot for shot, _ in recorded.film})
    if strangers:
        raise InputError(f"--shots {strangers[0]}: there is no such shot; the film has shots 0 to {max(shot for shot, _ in recorded.film)}.")
    wanted = {key for key in recorded.film if key[0] in request.shots}
    if request.model is not None:
        wanted |= {(said.shot, said.language) for said in (*checked.accepted, *checked.known) if said.decision == "reject"}
    kept = _kept_by_review(recorded, entries)
    remakes, refused = [], []
    for shot, language in sorted(wanted):
        take = recorded.film[shot, language]
        if take.take_sha256 is None and request.model is None and (shot, language) not in kept:
            refused.append(f"shot {shot}, {language}: it shows the original picture ({take.reason}); there is nothing to make again.")
        else:
            remakes.append(Remake(shot=shot, language=language, take_sha256=take.take_sha256, model=request.model))
    return remakes, refused


def _refuse_large_object(text: str) -> None:
    location = parse_location(text)
    if isinstance(location, S3Location) and location.key:
        folder, _, key = location.key.rpartition("/")
        _refuse_large(open_storage(f"s3://{location.bucket}/{folder}".rstrip("/")), key, redact(text))


def _refuse_large(storage: Storage, key: str, name: str) -> None:
    if (num_bytes := storage.size(key)) > MOST_BYTES:
        raise InputError(f"{name} is {num_bytes / 2**20:.0f} MiB; no review needs more than {MOST_BYTES >> 20}. Is it the right file?")
