"""Clips to learn from out of a finished episode: the shots that a reviewer approved, as the film shows them and as they were spoken.

Never the dubbed picture: a network that learns from its own faces learns its own mistakes.
"""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from flows.episode.manifest import MANIFEST, Recorded, read_recorded
from flows.episode.request_checks import choose_detector
from infra.artifacts import ArtifactStore
from infra.clip_write import write_clip
from infra.errors import InputError
from infra.sources import digest_of, find_source
from infra.storage import Storage, open_storage
from infra.storage_keys import redact
from infra.video import FrameReader
from tasks.history import read_history
from tasks.inspect_film import inspect_film
from tasks.prepare_stem import ANALYSIS_RATE_HZ, prepare_original
from tasks.settled import standing_of
from tasks.split_shots import split_shots
from tasks.track_faces import track_faces
from tasks.types import FaceTrack, Film
from training.clips import FPS, MIN_FRAMES

logger = logging.getLogger(__name__)
ROOM = 0.5  # of the face's height, kept on every side: a detector wants to see the head
STILL = 0.25  # of the face's height; a face that goes further is followed
Speakers = dict[int, dict[int, str]]  # shot -> track -> person


@dataclass(frozen=True)
class Taken:
    """num_clips: written. left_out: shot and face -> why."""

    num_clips: int
    left_out: dict[str, str]


def write_reviewed_clips(place: str, store: ArtifactStore, inputs: Path, folder: Path) -> Taken:
    """Write FOLDER/PERSON/clip.mkv for every speaking face of every approved shot of the episode OUT/ID: original picture around the face, original
    voice. People are the cast file's characters, else ID-person-N as the report counts them. inputs: where fetched sound goes.

    Raises InputError where nobody approved anything, or where the film or its voices are not what the episode was made from.
    """
    out, _, episode_id = place.rstrip("/").rpartition("/")
    storage = open_storage(out or "/")
    recorded = read_recorded(storage, episode_id)
    approved = find_approved(storage, recorded)
    if not approved:
        raise InputError(
            f"Nobody has approved a shot of {redact(place)}, so there is nothing to learn from. Look at it: dub review {redact(place)}; "
            f"then: dub redo {redact(place)}"
        )
    speakers, left_out = _speakers(storage, recorded, approved)
    film = inspect_film(store, find_source(recorded.request.film, inputs))
    if film.sha256 != recorded.inputs.film.sha256:
        raise InputError(f"{redact(recorded.request.film)} is not the film that {episode_id} was made from: its shots are others.")
    voice = _original_voice(store, film, recorded, inputs)
    detector = choose_detector(recorded.request.detector)
    num_clips = 0
    for shot in split_shots(store, film):
        for track in track_faces(store, film, shot, *detector).tracks if shot.index in speakers else ():
            person = speakers[shot.index].get(track.track_id)
            if person is None:
                continue
            if (why := _trouble(track, film)) is not None:
                left_out[f"shot {shot.index}, face {track.track_id}"] = why
                continue
            name = f"{episode_id}-{film.sha256[:8]}-{shot.name}-face-{track.track_id}.mkv"
            (folder / person).mkdir(parents=True, exist_ok=True)
            _write(folder / person / name, store, film, track, voice)
            num_clips += 1
    logger.info("%s: %d clips of %d approved shots, %d left out", redact(place), num_clips, len(approved), len(left_out))
    return Taken(num_clips, left_out)


def find_approved(storage: Storage, recorded: Recorded) -> dict[int, set[str]]:
    """Shot -> languages in which a reviewer approved the take that is in the film. Raises BrokenHistoryError for a history that was tampered with."""
    entries = read_history(storage, recorded.episode_id, recorded.history)
    approved: dict[int, set[str]] = {}
    for said in standing_of(entries, recorded.digests):
        shown = recorded.film.get((said.shot, said.language))
        if said.decision == "approve" and said.take_sha256 is not None and shown is not None and shown.take_sha256 == said.take_sha256:
            approved.setdefault(said.shot, set()).add(said.language)
    return approved


def _speakers(storage: Storage, recorded: Recorded, approved: dict[int, set[str]]) -> tuple[Speakers, dict[str, str]]:
    """Whose faces got lips in the approved shots, and which of them nobody has a name for."""
    manifest = json.loads(storage.read_bytes(f"{recorded.episode_id}/{MANIFEST}"))
    table = pd.read_parquet(io.BytesIO(storage.read_bytes(f"{recorded.episode_id}/shots.parquet")), columns=["shot", "track_id", "person"])
    counted = {(int(row.shot), int(row.track_id)): int(row.person) for row in table.dropna().itertuples()}  # type: ignore[arg-type]
    named = manifest["inputs"].get("faces", {})
    speakers: Speakers = {}
    left_out: dict[str, str] = {}
    for patch in manifest["patches"]:
        shot, track = patch["shot_index"], patch["track_id"]
        if patch["language"] not in approved.get(shot, ()):
            continue
        character, number = named.get(str(shot), {}).get(str(track)), counted.get((shot, track))
        if character:
            speakers.setdefault(shot, {})[track] = _as_folder(character)
        elif number is not None:
            speakers.setdefault(shot, {})[track] = f"{recorded.episode_id}-person-{number}"
        else:
            left_out[f"shot {shot}, face {track}"] = "nobody knows who it is; name the characters in a cast file"
    return speakers, left_out


def _as_folder(character: str) -> str:
    return character.replace("/", "-").strip(". ") or "unnamed"


def _original_voice(store: ArtifactStore, film: Film, recorded: Recorded, inputs: Path) -> np.ndarray:
    """All that was said in the film, float32 (n,) at 16 kHz, memory-mapped; sample 0 is heard with frame 0."""
    asked, path = recorded.request.original_dialogue, None
    if asked is not None:
        path = find_source(asked, inputs)
        known = recorded.inputs.original_dialogue
        if known is not None and digest_of(path) != known.sha256:
            raise InputError(f"{redact(asked)} is not the sound that {recorded.episode_id} was made from.")
    original = prepare_original(store, film, path)
    if original is None:
        raise InputError(f"{redact(recorded.request.film)} has no sound, and no original dialogue was given: nobody can be heard to speak.")
    return store.load_array(original.analysis)


def _trouble(track: FaceTrack, film: Film) -> str | None:
    if not track.usable:
        return f"its face cannot be used ({track.unusable_reason})"
    num_frames = round(float((track.end_frame - track.first_frame) / film.fps) * FPS)
    return f"only {num_frames} frames at {FPS} fps, {MIN_FRAMES} are needed" if num_frames < MIN_FRAMES else None


def _write(path: Path, store: ArtifactStore, film: Film, track: FaceTrack, voice: np.ndarray) -> None:
    timing = store.load_arrays(film.timing)
    times_s = (timing["pts"] - timing["pts"][0]) * float(film.time_base)
    reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
    first, end = track.first_frame, track.end_frame
    until_s = times_s[end] if end < len(times_s) else times_s[-1] + 1 / float(film.fps)
    heard = voice[round(times_s[first] * ANALYSIS_RATE_HZ) : round(until_s * ANALYSIS_RATE_HZ)]
    boxes = store.load_arrays(track.geometry)["boxes"].astype(np.float64)
    pictures = _around(reader, first, end, windows_around(boxes, film.width, film.height))
    write_clip(path, pictures, times_s[first:end] - times_s[first], Fraction(film.fps).limit_denominator(100_000), heard, ANALYSIS_RATE_HZ)


def windows_around(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """A window of the picture for every face box (n, 4): int (n, 4) XYXY, all of one even size, inside the picture; at rest where the face is."""
    centres, tall = (boxes[:, :2] + boxes[:, 2:]) / 2, float((boxes[:, 3] - boxes[:, 1]).max())
    if np.abs(centres - np.median(centres, axis=0)).max() < STILL * tall:
        centres = np.tile(np.median(centres, axis=0), (len(centres), 1))
    sides = np.array([(boxes[:, 2] - boxes[:, 0]).max(), tall]) * (1 + 2 * ROOM)
    size = np.minimum(np.ceil(sides / 2) * 2, np.array([width, height]) // 2 * 2).astype(int)
    corner = np.clip(np.round(centres - size / 2), 0, np.array([width, height]) - size).astype(int)
    return np.concatenate([corner, corner + size], axis=1)


def _around(reader: FrameReader, first: int, end: int, windows: np.ndarray) -> Iterator[np.ndarray]:
    for (_, picture), (x0, y0, x1, y1) in zip(reader.pictures(first, end), windows, strict=True):
        yield picture[y0:y1, x0:x1]
