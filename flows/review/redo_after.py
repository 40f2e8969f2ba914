"""After a promotion: the shots of finished episodes that another generator made are made again with the new one."""

import json

from flows.episode.manifest import MANIFEST, read_recorded
from flows.redo_shots import redo_shots
from infra.errors import DubflowError, InputError
from infra.storage import open_storage
from tasks.production import NAME
from tasks.types import Record, RedoRequest
from training.challenge import Decision


class Redone(Record):
    """What became of one named episode. One that cannot be redone does not undo the promotion."""

    episode: str  # OUT/ID as it was given
    shots: tuple[int, ...]
    outcome: str


def redo_episodes(episodes: list[str], decision: Decision) -> tuple[Redone, ...]:
    """Make affected shots of these episodes (OUT/ID) again. Only a generator shows in a film; another promotion touches no shot."""
    if decision.role != "generator":
        return tuple(Redone(episode=episode, shots=(), outcome=f"a new {decision.role} changes no picture") for episode in episodes)
    return tuple(_redo(episode, decision) for episode in episodes)


def _redo(episode: str, decision: Decision) -> Redone:
    shots: tuple[int, ...] = ()
    try:
        out, episode_id = parted(episode)
        shots = affected_shots(out, episode_id, decision.challenger_sha256 or "")
        if not shots:
            return Redone(episode=episode, shots=(), outcome="no shot of it was made by another model")
        result = redo_shots(RedoRequest(out=out, episode_id=episode_id, shots=shots, model=f"{NAME}@{decision.generation}", reviewer="retrain"))
    except DubflowError as error:
        return Redone(episode=episode, shots=shots, outcome=f"not redone: {error}")
    return Redone(episode=episode, shots=shots, outcome=f"redone: {result.report}")


def affected_shots(out: str, episode_id: str, generator_sha256: str) -> tuple[int, ...]:
    """Shots whose lips in the published film another generator made. Raises InputError where the episode cannot be read."""
    storage = open_storage(out)
    read_recorded(storage, episode_id)
    patches = json.loads(storage.read_bytes(f"{episode_id}/{MANIFEST}"))["patches"]
    return tuple(sorted({patch["shot_index"] for patch in patches if patch["model_sha256"] != generator_sha256}))


def parted(episode: str) -> tuple[str, str]:
    """OUT and ID of OUT/ID. Raises InputError for anything else."""
    out, slash, episode_id = episode.rstrip("/").rpartition("/")
    if not (out and slash and episode_id):
        raise InputError(f"{episode}: write OUT/ID, the folder or s3:// URI of a finished episode.")
    return out, episode_id
