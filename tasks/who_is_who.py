"""Whose face each track of a film shows, by likeness to a cast's pictures and to the tracks it names. Where that cannot be told: unknown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from tasks.likeness import SAME_PERSON, looks_of
from tasks.types import Character, FaceIdentity, FaceTrack, Record, ShotFaces

VERSION = 1
LEAST_LEAD = 0.03  # by which a face must be more like one character than like any other
TrackKey = tuple[int, int]  # shot index, track id


class FaceLooks(Record):
    """What the usable faces of a shot look like."""

    track_ids: tuple[int, ...]
    looks: Artifact  # .npy float32 (len(track_ids), D), each of length 1


@dataclass(frozen=True, eq=False)
class _Likeness:
    character: str
    likeness: float


def faces_looks(store: ArtifactStore, faces: ShotFaces) -> FaceLooks:
    """What each usable face of a shot looks like; see tasks.likeness."""

    def make() -> FaceLooks:
        seen = [track for track in faces.tracks if track.usable and track.crops is not None]
        rows = [looks_of(store.load_array(track.crops)) for track in seen if track.crops is not None]
        return FaceLooks(track_ids=tuple(track.track_id for track in seen), looks=store.put_array(np.array(rows, np.float32)))

    return store.get_or_make("faces_looks", VERSION, {"crops": [track.crops for track in faces.tracks]}, FaceLooks, make)


def tell_apart(
    tracks: Mapping[TrackKey, FaceTrack],
    looks: Mapping[TrackKey, np.ndarray],
    cast: Sequence[Character],
    pictures: Mapping[str, Sequence[np.ndarray]],
) -> dict[TrackKey, FaceIdentity]:
    """The identity of every track. looks: of the usable ones, float32 (D,) of length 1; pictures: a character's name -> looks of its pictures.

    A track that the cast names is that character's. Any other is whose pictures and named tracks it is most like, from SAME_PERSON on, with a lead of
    LEAST_LEAD over everybody else's; and nobody is in one shot twice at the same time.
    """
    named = {(shot, track): character.name for character in cast for shot, ids in character.tracks.items() for track in ids}
    known = {character.name: list(pictures.get(character.name, ())) for character in cast}
    for key, name in named.items():
        if key in looks:
            known[name].append(looks[key])
    ranked = {key: _ranked(looks[key], known) for key in looks if key not in named}
    sure = {key: each[0] for key, each in ranked.items() if each and _is_sure(each)}
    doubtful = set(_doubles(tracks, named, sure))
    found = {}
    for key in tracks:
        if key in named:
            found[key] = FaceIdentity(track_id=key[1], character=named[key], evidence="as the cast file says")
        elif key in sure and key not in doubtful:
            best = sure[key]
            found[key] = FaceIdentity(track_id=key[1], character=best.character, likeness=best.likeness, evidence=f"likeness {best.likeness:.2f}")
        else:
            found[key] = _unknown(key, ranked.get(key, []), key in doubtful)
    return found


def _ranked(face: np.ndarray, known: Mapping[str, Sequence[np.ndarray]]) -> list[_Likeness]:
    """Every character that there is anything to compare with, the likeliest first."""
    likeness = [_Likeness(name, round(max(float(face @ each) for each in rows), 4)) for name, rows in known.items() if len(rows)]
    return sorted(likeness, key=lambda each: -each.likeness)


def _is_sure(ranked: Sequence[_Likeness]) -> bool:
    lead = ranked[0].likeness - (ranked[1].likeness if len(ranked) > 1 else -1.0)
    return ranked[0].likeness >= SAME_PERSON and lead >= LEAST_LEAD


def _doubles(tracks: Mapping[TrackKey, FaceTrack], named: Mapping[TrackKey, str], sure: Mapping[TrackKey, _Likeness]) -> Iterator[TrackKey]:
    """Tracks that would show somebody beside himself: the file's word and the clear lead win, else neither is taken."""
    for key, best in sure.items():
        for other in tracks:
            if other == key or other[0] != key[0] or not _are_seen_together(tracks[key], tracks[other]):
                continue
            rival = 2.0 if named.get(other) == best.character else sure[other].likeness if _is_same(sure.get(other), best) else -1.0
            if rival > best.likeness - LEAST_LEAD:
                yield key


def _is_same(other: _Likeness | None, best: _Likeness) -> bool:
    return other is not None and other.character == best.character


def _are_seen_together(a: FaceTrack, b: FaceTrack) -> bool:
    return a.first_frame < b.end_frame and b.first_frame < a.end_frame


def _unknown(key: TrackKey, ranked: Sequence[_Likeness], is_double: bool) -> FaceIdentity:
    if not ranked:
        return FaceIdentity(track_id=key[1], evidence="unknown: not seen well enough to compare")
    best = ranked[0]
    if is_double:
        why = f"as like {best.character} as another face of the shot ({best.likeness:.2f})"
    elif best.likeness >= SAME_PERSON:
        why = f"as like {best.character} ({best.likeness:.2f}) as {ranked[1].character} ({ranked[1].likeness:.2f})"
    else:
        why = f"most like {best.character}, but only {best.likeness:.2f}"
    return FaceIdentity(track_id=key[1], likeness=best.likeness, evidence=f"unknown: {why}")
