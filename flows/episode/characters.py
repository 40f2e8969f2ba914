"""Characters through an episode: their stems made ready, their faces found in every shot, and each language's castings with their own voices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flows.episode import steps
from flows.episode.dub_tracks import Refused, may_leave_out
from flows.episode.make_request import all_of
from flows.episode.steps import Call
from infra.errors import InputError
from tasks.prepare_stem import prepare_stem
from tasks.sum_stems import SummedStems
from tasks.types import Casting, Character, FaceIdentity, FaceTrack, Film, Shot, ShotFaces, Stem
from tasks.voices import Voiced, give_voices, give_voices_as_cast
from tasks.who_is_who import FaceLooks, TrackKey, tell_apart

if TYPE_CHECKING:
    from flows.episode.study import Run

Stems = dict[str, dict[str, Stem]]  # language -> character -> stem
MOST_SHOWN = 8


@dataclass(frozen=True)
class Characters:
    """Who is who in each shot, and what that makes of each language's castings. Empty without a cast file."""

    who: dict[int, tuple[FaceIdentity, ...]] = field(default_factory=dict)  # by shot
    voiced: dict[tuple[int, str], Voiced] = field(default_factory=dict)  # by shot and language; languages with stems only
    warnings: tuple[str, ...] = ()


def prepare_character_stems(
    run: Run[Any], film: Film, dubs: dict[str, Stem], left_out: dict[str, str]
) -> tuple[Stems, dict[str, Stem], dict[str, str]]:
    """(stems, dubs, languages left out): where a language has stems and no dub, their sum is its dub. Raises InputError as sort_out does."""
    asked = {} if run.inputs.cast is None else run.inputs.cast.stems
    keys = [(language, name) for language in asked if language not in run.inputs.left_out | left_out for name in asked[language]]
    calls = [
        Call({"store": run.store, "film": film, "path": asked[language][name], "language": language, "role": "dialogue"}, film.duration_s)
        for language, name in keys
    ]
    found = dict(zip(keys, run.all_of(steps.STEM, calls), strict=True)) if calls else {}
    refused = {f"{language}:{name}": (language, each.reason) for (language, name), each in found.items() if isinstance(each, Refused)}
    lost = dict(refused.values())
    if refused and not (may_leave_out(run.request) and (dubs.keys() | asked.keys()) - lost.keys()):
        raise all_of([f"--character {called}: {reason}" for called, (_, reason) in refused.items()])
    stems: Stems = {}
    for (language, name), stem in found.items():
        if language not in lost:
            stems.setdefault(language, {})[name] = stem
    kept = {language: dub for language, dub in dubs.items() if language not in lost}
    summed = {language: _sum(run, film, language, own) for language, own in stems.items() if language not in kept}
    return stems, kept | summed, left_out | lost


def _sum(run: Run[Any], film: Film, language: str, stems: dict[str, Stem]) -> Stem:
    made: SummedStems = run.one(steps.SUM, store=run.store, stems=stems, language=language)
    dub = prepare_stem(run.store, film, run.store.path(made.sound), language, "mix")
    said = (f"No dub was given: it is the sum of the stems of {', '.join(stems)}.", *made.warnings)
    return dub.model_copy(update={"warnings": (*dub.warnings, *said)})


def find_characters(
    run: Run[Any], film: Film, shots: Sequence[Shot], faces: dict[int, ShotFaces], castings: dict[int, Casting], stems: Stems
) -> Characters:
    """Whose face is whose in every shot, and the castings of the languages that have stems. Raises InputError for tracks that are not there."""
    cast = run.inputs.cast
    if cast is None:
        return Characters()
    tracks = {(index, track.track_id): track for index, each in sorted(faces.items()) for track in each.tracks}
    _refuse_strangers(cast.characters, shots, faces)
    seen = sorted(faces)
    looks = run.each(steps.LOOKS, [Call({"store": run.store, "faces": faces[index]}, len(faces[index].tracks)) for index in seen])
    found = {}
    for index, outcome in zip(seen, looks, strict=True):
        if outcome.error is None:
            result: FaceLooks = outcome.result
            rows = run.store.load_array(result.looks)
            found |= {(index, track_id): row for track_id, row in zip(result.track_ids, rows, strict=True)}
    identities = tell_apart(tracks, found, cast.characters, cast.pictures)
    who = {index: tuple(identities[key] for key in tracks if key[0] == index) for index in seen}
    voiced = {
        (index, language): _voiced(run, film, shots[index], faces[index], castings[index], who[index], own)
        for language, own in stems.items()
        for index in castings
    }
    return Characters(who, voiced, _warnings(cast.characters, tracks, identities))


def _voiced(
    run: Run[Any], film: Film, shot: Shot, faces: ShotFaces, casting: Casting, who: tuple[FaceIdentity, ...], stems: dict[str, Stem]
) -> Voiced:
    if shot.index in (run.inputs.casting or {}):
        return give_voices_as_cast(casting, who, stems)
    return give_voices(run.store, film, shot, faces, casting, who, stems)


def _refuse_strangers(characters: Sequence[Character], shots: Sequence[Shot], faces: dict[int, ShotFaces]) -> None:
    problems = []
    for number, character in enumerate(characters, 1):
        for index, named in sorted(character.tracks.items()):
            if index >= len(shots):
                problems.append(f"character {number} ({character.name}): the cast file names shot {index}, but the film has 0 to {len(shots) - 1}.")
            elif index in faces:
                known = [track.track_id for track in faces[index].tracks]
                problems += [
                    f"character {number} ({character.name}): the cast file names face {track} in shot {index}, which has: "
                    f"{', '.join(map(str, known)) or 'none'}. Run `dub plan` to see them."
                    for track in named
                    if track not in known
                ]
    if problems:
        raise all_of(problems) if len(problems) > 1 else InputError(problems[0])


def _warnings(characters: Sequence[Character], tracks: dict[TrackKey, FaceTrack], identities: dict[TrackKey, FaceIdentity]) -> tuple[str, ...]:
    """Faces that nobody could be told to be, and characters that were nowhere seen."""
    unknown = [key for key, each in identities.items() if each.character is None and tracks[key].usable]
    shown = [f"shot {shot} face {track} ({identities[shot, track].evidence.removeprefix('unknown: ')})" for shot, track in unknown[:MOST_SHOWN]]
    rest = f" and {len(unknown) - MOST_SHOWN} more" if len(unknown) > MOST_SHOWN else ""
    said = [f"Nobody's face by the cast file, so dubbed from the whole track if at all: {'; '.join(shown)}{rest}."] if unknown else []
    found = {each.character for each in identities.values()}
    absent = [character.name for character in characters if character.name not in found]
    if absent:
        said.append(f"Not seen in any shot: {', '.join(absent)}. Better pictures, or tracks named in the cast file, may help.")
    return tuple(said)
