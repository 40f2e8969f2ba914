"""What several reviewers have decided so far: every change is checked against what its author had seen, so that nobody overwrites unseen words."""

import json
import tempfile
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from infra.errors import InputError, OurTroubleError
from infra.storage import Storage
from tasks.report_data import EpisodeReport
from tasks.types import Decision, Decisions, EpisodeId, Record

DRAFT = "review.json"  # as it stands, saved after every change
HANDED_IN = "decisions.json"  # what a redo and a waiting run read: written when the reviewer says so
MOST_CHANGES = 20_000
Key = tuple[int, str]  # shot index, language


class Entry(Record):
    """What stands for one shot; every change gives it a new version."""

    shot: int = Field(ge=0)
    language: str
    take_sha256: str | None
    decision: Literal["approve", "reject", "ask", "keep_original"]
    note: str = Field(default="", max_length=4000)
    decided_at: str = Field(default="", max_length=64)
    reviewer: str = Field(default="", max_length=200)
    version: int


class Draft(Record):
    format: Literal[1] = 1
    episode_id: EpisodeId
    version: int
    entries: tuple[Entry, ...]


class Change(Record):
    """What a reviewer asks for. decision None takes the shot's decision back; seen is the version of what the reviewer had before their eyes."""

    shot: int
    take_sha256: str | None
    decision: Literal["approve", "reject", "ask", "keep_original"] | None
    note: str = Field(default="", max_length=4000)
    decided_at: str = Field(default="", max_length=64)
    seen: int = Field(ge=0)


class Changes(Record):
    reviewer: str = Field(default="", max_length=200)
    digest: str
    changes: tuple[Change, ...] = Field(max_length=MOST_CHANGES)


class Outcome(Record):
    """What became of one change: applied; conflict (entry is what stands, by somebody else); refused (why)."""

    shot: int
    status: Literal["applied", "conflict", "refused"]
    version: int = 0
    entry: Entry | None = None
    why: str = ""


class ReviewState:
    """The reviewers' common state of one published episode. Safe among threads; survives a restart."""

    def __init__(self, storage: Storage, episode_id: str):
        """storage: OUT/ID itself."""
        self._storage, self.episode_id = storage, episode_id
        self._lock = threading.Lock()
        self._entries: dict[Key, Entry] = {}
        self._version = 0
        self._saved = b""
        self._merge_saved()

    @property
    def version(self) -> int:
        return self._version

    def entries_of(self, language: str, report: EpisodeReport) -> list[Entry]:
        """What stands for the takes that the report shows; words about earlier takes are left out."""
        takes = _takes_of(report)
        with self._lock:
            return [entry for key, entry in sorted(self._entries.items()) if key[1] == language and _is_current(entry, takes)]

    def apply(self, language: str, report: EpisodeReport, asked: Changes) -> list[Outcome]:
        """Apply what is not in conflict, and save. Raises OurTroubleError when the draft cannot be saved."""
        takes = _takes_of(report)
        with self._lock:
            self._merge_saved()
            outcomes = [self._apply_one((change.shot, language), change, asked.reviewer, takes) for change in asked.changes]
            if any(outcome.status == "applied" for outcome in outcomes):
                self._save()
        return outcomes

    def merge(self, report: EpisodeReport, accepted: Sequence[Decision], reviewer: str) -> list[Outcome]:
        """Take in decisions of a file, which knew nothing of what stands here: other words on the same take are a conflict, equal ones are not."""
        with self._lock:
            self._merge_saved()
            takes, outcomes = _takes_of(report), []
            for said in accepted:
                change = Change(seen=0, **said.model_dump(include={"shot", "take_sha256", "decision", "note", "decided_at"}))
                outcomes.append(self._apply_one((said.shot, said.language), change, said.reviewer or reviewer, takes))
            if any(outcome.status == "applied" for outcome in outcomes):
                self._save()
        return outcomes

    def hand_in(self, report: EpisodeReport, reviewer: str) -> Decisions:
        """Write decisions.json beside the report: everything that stands and is about the takes shown. Raises InputError when that is nothing."""
        takes = _takes_of(report)
        with self._lock:
            self._merge_saved()
            standing = [entry for _, entry in sorted(self._entries.items()) if _is_current(entry, takes)]
            if not standing:
                raise InputError("Nothing is decided yet, so there is nothing to hand in.")
            names = list(dict.fromkeys(entry.reviewer for entry in standing if entry.reviewer)) or [reviewer]
            decisions = tuple(Decision(**entry.model_dump(exclude={"version"})) for entry in standing)
            file = Decisions(episode_id=self.episode_id, reviewer=", ".join(names)[:200], decisions=decisions)
            self._put(HANDED_IN, (file.model_dump_json(indent=1) + "\n").encode())
            return file

    def _apply_one(self, key: Key, change: Change, reviewer: str, takes: dict[Key, str | None]) -> Outcome:
        standing = self._entries.get(key)
        if standing is not None and not _is_current(standing, takes):
            standing = None
        version = 0 if standing is None else standing.version
        if key not in takes:
            return Outcome(shot=change.shot, status="refused", why="there is no such shot in this report")
        if change.take_sha256 != takes[key]:
            return Outcome(
                shot=change.shot, status="refused", why="it was made again since you looked at it; look at the new picture and decide again"
            )
        same = standing is not None and (standing.decision, standing.note) == (change.decision, change.note)
        if same or (standing is None and change.decision is None):
            return Outcome(shot=change.shot, status="applied", version=version)
        if change.seen != version and standing is not None:
            return Outcome(shot=change.shot, status="conflict", version=version, entry=standing)
        self._version += 1
        if change.decision is None:
            del self._entries[key]
            return Outcome(shot=change.shot, status="applied", version=0)
        at = change.decided_at or datetime.now(UTC).isoformat(timespec="seconds")
        self._entries[key] = Entry(
            shot=change.shot,
            language=key[1],
            take_sha256=change.take_sha256,
            decision=change.decision,
            note=change.note,
            decided_at=at,
            reviewer=reviewer,
            version=self._version,
        )
        return Outcome(shot=change.shot, status="applied", version=self._version)

    def _merge_saved(self) -> None:
        """Take in what another server of the same episode has saved since: newer entries win, none is dropped unseen."""
        key = DRAFT
        if not self._storage.exists(key):
            return
        saved = self._storage.read_bytes(key)
        if saved == self._saved:
            return
        try:
            draft = Draft.model_validate_json(saved)
        except ValidationError:
            raise InputError(f"{self._storage.describe(key)} is damaged. Move it away to begin the review anew.") from None
        if draft.episode_id != self.episode_id:
            raise InputError(f"{self._storage.describe(key)} is the review of {draft.episode_id}, not of {self.episode_id}. Move it away.")
        before = {} if not self._saved else {(e.shot, e.language): e for e in Draft.model_validate_json(self._saved).entries}
        there = {(entry.shot, entry.language): entry for entry in draft.entries}
        for shot in before.keys() - there.keys():
            self._entries.pop(shot, None)
        self._version = max(self._version, draft.version)
        for shot, entry in there.items():
            if before.get(shot) != entry:
                self._version += 1
                self._entries[shot] = entry.model_copy(update={"version": self._version})
        self._saved = saved

    def _save(self) -> None:
        draft = Draft(episode_id=self.episode_id, version=self._version, entries=tuple(entry for _, entry in sorted(self._entries.items())))
        data = (draft.model_dump_json(indent=1) + "\n").encode()
        self._put(DRAFT, data)
        self._saved = data

    def _put(self, name: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            self._storage.put(path, name)


def read_report(storage: Storage, key: str = "report.json") -> EpisodeReport:
    """An episode's report. Raises InputError when there is none, OurTroubleError when it is not one."""
    if not storage.exists(key):
        raise InputError(
            f"There is no {storage.describe(key)}. Dub the episode first, or run the same `dub episode` again for a report of today's form."
        )
    try:
        return EpisodeReport.model_validate(json.loads(storage.read_bytes(key)))
    except (ValueError, ValidationError) as error:
        raise OurTroubleError(f"{storage.describe(key)} cannot be read: {str(error).splitlines()[0]}") from None


def _takes_of(report: EpisodeReport) -> dict[Key, str | None]:
    return {(shot.index, language.language): shot.take_sha256 for language in report.languages for shot in language.shots}


def _is_current(entry: Entry, takes: dict[Key, str | None]) -> bool:
    key = (entry.shot, entry.language)
    return key in takes and takes[key] == entry.take_sha256
