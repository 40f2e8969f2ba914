"""Reads a decisions.json, which anybody may have written, and checks it against the episode as published: shot by shot, in plain words."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.errors import InputError
from tasks.plain_text import one_line
from tasks.settled import Key
from tasks.types import Decision, Decisions, HistoryEntry, Record

MOST_BYTES = 16 << 20
MOST_DECISIONS = 100_000
DOES = {"approve": "approves", "reject": "rejects", "ask": "asks about", "keep_original": "keeps the original of"}


class TakeInFilm(Record):
    """What a published film shows in one shot."""

    shot: int
    language: str
    take_sha256: str | None  # None: the original picture
    reason: str = ""  # of a shot that keeps its original


class Checked(Record):
    """What of a decisions.json can be applied. Every other entry is in `refused`, with its shot and why."""

    reviewer: str
    accepted: tuple[Decision, ...]  # what is new
    known: tuple[Decision, ...] = ()  # what the history holds already, from this very file
    refused: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def read_decisions(path: Path, name: str) -> tuple[Decisions, tuple[str, ...]]:
    """(the file without its unusable entries, what was wrong with those). name: what to call the file in messages.

    Raises InputError for a file that is no decisions.json at all: too large, not JSON, without the fields that say what it is about.
    """
    num_bytes = path.stat().st_size
    if num_bytes > MOST_BYTES:
        raise InputError(f"{name} is {num_bytes / 2**20:.0f} MiB; no review needs more than {MOST_BYTES >> 20}. Is it the right file?")
    return decisions_of_bytes(path.read_bytes(), name)


def decisions_of_bytes(data: bytes, name: str) -> tuple[Decisions, tuple[str, ...]]:
    """As read_decisions, for a file's bytes."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "it is not text in UTF-8, or nested too deeply"
        raise InputError(f"{name} is not JSON ({where}). Save it from the report's page again.") from None
    return parse_decisions(content, name)


def parse_decisions(content: Any, name: str) -> tuple[Decisions, tuple[str, ...]]:
    """As read_decisions, for what was in the file."""
    if not isinstance(content, dict) or not isinstance(content.get("decisions"), list):
        raise InputError(f'{name} holds no review: a JSON object with a list "decisions" is needed. Save it from the report\'s page again.')
    entries = content["decisions"]
    if len(entries) > MOST_DECISIONS:
        raise InputError(f"{name} holds {len(entries)} decisions; more than {MOST_DECISIONS} are not taken at once.")
    try:
        whole = Decisions.model_validate({**content, "decisions": ()})
    except ValidationError as error:
        raise InputError(f"{name} cannot be used: {_in_words(error)}.") from None
    decisions, wrong = [], []
    for number, entry in enumerate(entries, 1):
        try:
            decisions.append(Decision.model_validate(entry))
        except ValidationError as error:
            wrong.append(f"entry {number}{_about(entry)}: {_in_words(error)}.")
    return whole.model_copy(update={"decisions": tuple(decisions)}), tuple(wrong)


def check_decisions(
    file: Decisions, name: str, episode_id: str, film: Mapping[Key, TakeInFilm], history: Sequence[HistoryEntry], kept_by_review: frozenset[Key]
) -> Checked:
    """Look at each decision against what the film shows now. Raises InputError when the file is of another episode.

    kept_by_review: shots that show the original because a reviewer said so; rejecting that makes them dubbed again.
    """
    if file.episode_id != episode_id:
        raise InputError(f"{name} is a review of {file.episode_id}, not of {episode_id}. Nothing was applied.")
    by_shot: dict[Key, list[Decision]] = defaultdict(list)
    for decision in file.decisions:
        by_shot[decision.shot, decision.language].append(decision)
    accepted, known, refused, remarks = [], [], [], []
    for key, said in sorted(by_shot.items()):
        if (trouble := _trouble_of_file(key, said, film)) is not None:
            refused.append(f"{_named(key)}: {trouble}")
            continue
        if len(said) > 1:
            remarks.append(f"{_named(key)}: said {len(said)} times, applied once.")
        if (entry := already_said(said[-1], history)) is not None:
            known.append(said[-1])
            remarks.append(f"{_named(key)}: this decision is in the history already (entry {entry.number}, {entry.at}).")
            continue
        if (trouble := _trouble_of_film(said[-1], film[key], kept_by_review, history)) is not None:
            refused.append(f"{_named(key)}: {trouble}")
            continue
        accepted.append(said[-1])
        remarks += [f"{_named(key)}: {text}" for text in _others(said[-1], history, file.reviewer)]
    found = {"accepted": tuple(accepted), "known": tuple(known), "refused": tuple(refused), "remarks": tuple(remarks)}
    return Checked(reviewer=file.reviewer, **found)


def already_said(decision: Decision, history: Sequence[HistoryEntry]) -> HistoryEntry | None:
    """The entry that said exactly this before, if nothing else was said of the shot since."""
    last = next((entry for entry in reversed(history) if _of(entry, decision)), None)
    if last is None:
        return None
    return last if any(_same(decision, said) and decision.note == said.note for said in _of(last, decision)) else None


def _trouble_of_file(key: Key, said: Sequence[Decision], film: Mapping[Key, TakeInFilm]) -> str | None:
    if key not in film:
        languages = sorted({known for _, known in film})
        if key[1] not in languages:
            return f"the episode is not dubbed into this language; it has {', '.join(languages)}."
        return f"there is no such shot; the film has shots 0 to {max(known for known, _ in film)}."
    if any(not _same(said[0], other) for other in said):
        return f"the file contradicts itself ({', '.join(sorted({other.decision for other in said}))}). Decide once more."
    return None


def _trouble_of_film(decision: Decision, shown: TakeInFilm, kept_by_review: frozenset[Key], history: Sequence[HistoryEntry]) -> str | None:
    if decision.take_sha256 != shown.take_sha256:
        return f"it was made again since it was looked at ({_redone(decision, history)}). Look at the new picture and decide again."
    if decision.decision == "reject" and shown.take_sha256 is None and (decision.shot, decision.language) not in kept_by_review:
        return f"it shows the original picture ({one_line(shown.reason)[:200] or 'no reason given'}); there is no take to reject."
    return None


def _redone(decision: Decision, history: Sequence[HistoryEntry]) -> str:
    entry = next((entry for entry in reversed(history) if _of(entry, decision) or _remakes(entry, decision)), None)
    return "the report is an older one" if entry is None else f"{_who(entry)} on {entry.at}"


def _others(decision: Decision, history: Sequence[HistoryEntry], reviewer: str) -> list[str]:
    """What somebody else said of the same take."""
    found = []
    for entry in history:
        for said in _of(entry, decision):
            if said.take_sha256 == decision.take_sha256 and said.decision != decision.decision and entry.reviewer != reviewer:
                found.append(f"{_who(entry)} {DOES[said.decision]} the same picture ({entry.at}); the later word, {decision.decision}, holds.")
    return found


def _of(entry: HistoryEntry, decision: Decision) -> list[Decision]:
    return [said for said in entry.decisions if (said.shot, said.language) == (decision.shot, decision.language)]


def _remakes(entry: HistoryEntry, decision: Decision) -> bool:
    return any((remake.shot, remake.language) == (decision.shot, decision.language) for remake in entry.remakes)


def _same(one: Decision, other: Decision) -> bool:
    return (one.shot, one.language, one.decision, one.take_sha256) == (other.shot, other.language, other.decision, other.take_sha256)


def _who(entry: HistoryEntry) -> str:
    return one_line(entry.reviewer) or "another reviewer"


def _named(key: Key) -> str:
    return f"shot {key[0]}, {one_line(key[1])[:40]}"


def _about(entry: Any) -> str:
    shot = entry.get("shot") if isinstance(entry, dict) else None
    return f" (shot {shot})" if isinstance(shot, int) else ""


def _in_words(error: ValidationError) -> str:
    problems = [
        f"{one_line('.'.join(map(str, item['loc'])))[:80] or 'it'}: {item['msg'].lower()}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)[:5]
    ]
    return "; ".join(problems)
