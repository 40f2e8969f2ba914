"""What `dub redo` and `dub history` do and print."""

import re
from pathlib import Path

from pydantic import ValidationError

from flows.episode.make_request import all_of
from infra.errors import InputError
from infra.storage import open_storage
from infra.storage_keys import redact
from tasks.history import find_changed_view, read_history
from tasks.plain_text import one_line
from tasks.types import HistoryEntry, Record, RedoRequest, RedoResult

MOST_SHOWN = 20


class Told(Record):
    """An episode's history, and what is wrong with its copy for reading."""

    episode_id: str
    entries: tuple[HistoryEntry, ...]
    warning: str = ""


def make_redo_request(episode: str, shots: str | None, **fields: object) -> RedoRequest:
    """The request as a record. Raises one InputError with all that is wrong."""
    out, episode_id = split_episode(episode)
    try:
        return RedoRequest.model_validate({"out": out, "episode_id": episode_id, "shots": parse_shots(shots or ""), **fields})
    except ValidationError as error:
        problems = [f"--{item['loc'][0]}: {item['msg']}." for item in error.errors(include_url=False, include_context=False, include_input=False)]
        raise all_of(problems) from None


def split_episode(text: str) -> tuple[str, str]:
    """(OUT, ID) of OUT/ID. Raises InputError."""
    out, _, episode_id = text.rstrip("/").rpartition("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", episode_id):
        raise InputError(f"{redact(text)}: give OUT/ID, the folder of a dubbed episode, as in season/episode-a.")
    return out or (f"{Path('/')}" if text.startswith("/") else "."), episode_id


def parse_shots(text: str) -> tuple[int, ...]:
    """Shot numbers of `3,7-9`, sorted. Raises InputError."""
    shots: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise InputError(f"--shots {redact(text)}: write shot numbers as in 3,7-9.")
        shots |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(shots))


def run_redo(request: RedoRequest) -> RedoResult:
    """Run the flow `redo-shots`, watched, in the work folder that the episode was made in."""
    from flows.commands.run_command import watched
    from infra import settings

    settings.apply_environment()
    from flows.episode.manifest import read_recorded
    from flows.redo_shots import find_decisions, redo_shots, request_of
    from flows.run.work_folder import work_folder_of

    storage = open_storage(request.out)
    work_folder = work_folder_of(request_of(read_recorded(storage, request.episode_id), request))

    def check() -> None:
        find_decisions(storage, request, work_folder)

    return watched(f"redo-{request.episode_id}", work_folder, request.num_workers, check, lambda: redo_shots(request))


def show_redo(result: RedoResult) -> None:
    """How it went, and what was not applied."""
    from flows.run.show import show_result

    show_result(result)
    print(f"  {result.num_applied} applied, {len(result.refused)} refused, {result.num_rendered_frames} frames rendered")
    for kind, texts in (("refused", result.refused), ("note", result.remarks)):
        for text in texts[:MOST_SHOWN]:
            print(f"  {kind}: {one_line(text)}")
        if len(texts) > MOST_SHOWN:
            print(f"  and {len(texts) - MOST_SHOWN} more; --json gives them all")


def read_told(episode: str) -> Told:
    """The history of an episode, every entry checked, also against what the manifest knows of it. Raises InputError."""
    from infra import settings

    settings.apply_environment()
    from flows.episode.manifest import read_recorded

    out, episode_id = split_episode(episode)
    storage = open_storage(out)
    entries = read_history(storage, episode_id, read_recorded(storage, episode_id).history)
    return Told(episode_id=episode_id, entries=entries, warning=find_changed_view(storage, episode_id, entries) or "")


def show_told(told: Told) -> None:
    for entry in told.entries:
        print(f"{entry.number}  {entry.at}  {entry.kind}  {one_line(entry.reviewer) or '-'}  {entry.sha256[:12]}")
        for said in entry.decisions:
            print(
                f"     shot {said.shot} {said.language}  {said.decision}  on {(said.take_sha256 or 'original')[:12]}  {one_line(said.note)}".rstrip()
            )
        for again in entry.remakes:
            how = f" with {again.model}" if again.model else ""
            print(f"     shot {again.shot} {again.language}  make again{how}  instead of {(again.take_sha256 or 'original')[:12]}")
        for key, sha256 in entry.outputs.items():
            print(f"     {key}  {sha256[:12]}")
    print(f"{len(told.entries)} entries, every digest right." if told.entries else "Nothing was decided yet.")
    if told.warning:
        print(f"warning: {told.warning}")
