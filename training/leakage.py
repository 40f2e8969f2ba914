"""Nobody is measured on what was trained on: people kept aside share no clip and no recording with the others."""

from pathlib import Path

from infra.errors import InputError
from training import shards
from training.fingerprint import KnownRecordings


def refuse_leaks(data: str | Path, without: frozenset[str]) -> None:
    """Raise InputError if a clip of the people kept aside, or its recording, is among the others' clips, under whatever name."""
    entries = shards.list_entries(data)
    refuse_shared([entry for entry in entries if entry.person in without], [entry for entry in entries if entry.person not in without])


def refuse_shared(aside: list[shards.Entry], training: list[shards.Entry]) -> None:
    """Raise InputError, naming clips, if these two sets share a person, a clip or a recording."""
    people = sorted({entry.person for entry in aside} & {entry.person for entry in training})
    if people:
        raise InputError(f"{', '.join(people)}: in training and kept aside for measuring. Splits are by person.")
    digests = {entry.sha256: entry for entry in training} | {entry.source_sha256 + f"@{entry.start_s}": entry for entry in training}
    shared = [(entry, digests[key]) for entry in aside for key in (entry.sha256, entry.source_sha256 + f"@{entry.start_s}") if key in digests]
    known, by_key = KnownRecordings(), {entry.key: entry for entry in training}
    for entry in training:
        known.add(entry.key, entry.words())
    shared += [(entry, by_key[name]) for entry in aside if (name := known.find(entry.words())) is not None]
    if shared:
        first = ", ".join(dict.fromkeys(f"{a.person}'s {a.source} is {b.person}'s {b.source}" for a, b in shared[:4]))
        number = len({entry.key for entry, _ in shared})
        raise InputError(f"{number} clips kept aside for measuring are in training too: {first}. Remove them, or keep both people aside.")
