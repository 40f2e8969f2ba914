"""Each character's own dubbed voice: to which face of a shot it goes, when that face gets new lips, and what of a sound counts for a shot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from infra.artifacts import ArtifactStore
from tasks.lip_making import SPEECH_MARGIN_S
from tasks.listen import is_heard, spoken_frames
from tasks.timeline import frame_times_s
from tasks.types import Casting, FaceIdentity, FaceTrack, Film, Shot, ShotFaces, SpeakingSpan, Stem, Voice
from wav2lip_core.mel import SAMPLE_RATE_HZ
from wav2lip_core.speech import runs

CONTEXT_S = 4.0  # sound around a shot that may count for it: the voice detector's, the scorer's and a shifted take's reach, and to spare
Voices = tuple[Voice, ...]


@dataclass(frozen=True)
class Voiced:
    """A shot's casting in one language, once its characters' own voices are known."""

    casting: Casting
    voices: Voices = ()


def stem_of(voices: Voices | None, track_id: int, dub: Stem) -> Stem:
    """The sound that drives a track: its character's own, else the whole dub."""
    voice = voice_of(voices, track_id)
    return dub if voice is None else voice.stem


def voice_of(voices: Voices | None, track_id: int) -> Voice | None:
    return next((voice for voice in voices or () if voice.track_id == track_id), None)


def give_voices(
    store: ArtifactStore, film: Film, shot: Shot, faces: ShotFaces, casting: Casting, who: Sequence[FaceIdentity], stems: Mapping[str, Stem]
) -> Voiced:
    """Who gets which lips in a language with character stems (name -> stem).

    A known face whose character has a stem gets new lips where that stem speaks, whether or not it speaks in the original; where it speaks in the
    original alone its mouth is to rest, so those frames are its own too. Any other face is dubbed as in the original, from the whole dub, but for the
    frames in which only the voices of known faces of this shot are heard: nobody is given the words of somebody who stands beside.
    """
    names = {each.track_id: each.character for each in who if each.character in stems}
    tracks = {track.track_id: track for track in faces.tracks if track.usable}
    voices, spans, said = [], [], []
    for track_id, name in names.items():
        if name is None or track_id not in tracks:
            continue
        spoke = tuple(span for span in casting.spans if span.track_id == track_id)
        voices.append(Voice(track_id=track_id, character=name, stem=stems[name], spoke=spoke))
        span = _own_span(store, film, shot, tracks[track_id], voices[-1])
        spans += [] if span is None else [span]
        said.append(f"{name} is face {track_id} {_what_it_does(store, film, shot, voices[-1], span)}")
    others = [span for span in casting.spans if voice_of(tuple(voices), span.track_id) is None]
    if others:
        elsewhere = [stem for name, stem in stems.items() if name not in names.values()]
        theirs = _heard_alone(store, film, shot, [voice.stem for voice in voices], elsewhere)
        spans += [piece for span in others for piece in _without(span, theirs, shot)]
        unnamed = ", ".join(str(track_id) for track_id in sorted({span.track_id for span in others}))
        said.append(f"face {unnamed} has no stem of its own and is dubbed from the whole track")
    evidence = "; ".join([casting.evidence, *said])
    known = {voice.track_id for voice in voices}
    reason = None if spans else "listener" if tracks and tracks.keys() <= known else casting.reason or "silent"
    ordered = tuple(sorted(spans, key=lambda span: (span.first_frame, span.track_id)))
    return Voiced(casting.model_copy(update={"spans": ordered, "reason": reason, "evidence": evidence}), tuple(voices))


def give_voices_as_cast(casting: Casting, who: Sequence[FaceIdentity], stems: Mapping[str, Stem]) -> Voiced:
    """Where the user's casting file has said who speaks: those spans and no others, each from its character's own stem where there is one."""
    names = {each.track_id: each.character for each in who}
    voices: list[Voice] = []
    for track_id in dict.fromkeys(span.track_id for span in casting.spans):
        name = names.get(track_id)
        if name is not None and name in stems:
            spoke = tuple(span for span in casting.spans if span.track_id == track_id)
            voices.append(Voice(track_id=track_id, character=name, stem=stems[name], spoke=spoke))
    said = [f"{voice.character} is face {voice.track_id}" for voice in voices]
    return Voiced(casting.model_copy(update={"evidence": "; ".join([casting.evidence, *said])}), tuple(voices))


def heard_inputs(store: ArtifactStore, film: Film, shot: Shot, casting: Casting, dub: Stem, voices: Voices) -> dict[str, Any]:
    """What a shot's result depends on of all that is heard, for its key: what is heard about it, and of the whole dub only where it drives a face.

    So a changed line of one character redoes the shots where that character is, near the line.
    """
    has_others = not casting.spans or any(voice_of(voices, span.track_id) is None for span in casting.spans)
    used = [voice for voice in voices if any(span.track_id == voice.track_id for span in casting.spans)]
    return {
        "dub": heard_part(store, film, shot, dub) if has_others else None,
        "voices": [[voice.track_id, voice.character, heard_part(store, film, shot, voice.stem), voice.spoke] for voice in used],
    }


def heard_part(store: ArtifactStore, film: Film, shot: Shot, stem: Stem) -> str:
    """The digest of a stem's sound from CONTEXT_S before the shot to CONTEXT_S after it."""
    times = frame_times_s(store, film)
    first = max(0, round((float(times[shot.first_frame]) - CONTEXT_S) * SAMPLE_RATE_HZ))
    end = round((float(times[shot.end_frame - 1]) + CONTEXT_S) * SAMPLE_RATE_HZ)
    return sha256(np.ascontiguousarray(store.load_array(stem.analysis)[first:end]).tobytes()).hexdigest()


def _own_span(store: ArtifactStore, film: Film, shot: Shot, track: FaceTrack, voice: Voice) -> SpeakingSpan | None:
    """From the first to the last frame in which the character speaks in either language; what is pasted between is decided frame by frame."""
    used = np.zeros(track.end_frame - track.first_frame, bool)
    if is_heard(store, film, voice.stem, shot.first_frame, shot.end_frame):
        used |= spoken_frames(store, film, voice.stem, track.first_frame, track.end_frame, SPEECH_MARGIN_S)
    for span in voice.spoke:
        used[span.first_frame - track.first_frame : span.end_frame - track.first_frame] = True
    frames = np.flatnonzero(used) + track.first_frame
    return SpeakingSpan(track_id=track.track_id, first_frame=int(frames[0]), end_frame=int(frames[-1]) + 1) if len(frames) else None


def _what_it_does(store: ArtifactStore, film: Film, shot: Shot, voice: Voice, span: SpeakingSpan | None) -> str:
    speaks = is_heard(store, film, voice.stem, shot.first_frame, shot.end_frame)
    if speaks:
        return "and speaks" if voice.spoke else "and speaks, though not in the original"
    return "and is silent in the dub: the mouth rests" if span is not None else "and is silent"


def _heard_alone(store: ArtifactStore, film: Film, shot: Shot, here: Sequence[Stem], elsewhere: Sequence[Stem]) -> np.ndarray:
    """The shot's frames in which stems of `here` speak and none of `elsewhere` does, bool (n,)."""
    own = np.zeros(shot.num_frames, bool)
    for stem in here:
        own |= spoken_frames(store, film, stem, shot.first_frame, shot.end_frame, SPEECH_MARGIN_S)
    for stem in elsewhere:
        own &= ~spoken_frames(store, film, stem, shot.first_frame, shot.end_frame, SPEECH_MARGIN_S)
    return own


def _without(span: SpeakingSpan, taken: np.ndarray, shot: Shot) -> list[SpeakingSpan]:
    free = ~taken[span.first_frame - shot.first_frame : span.end_frame - shot.first_frame]
    return [span.model_copy(update={"first_frame": span.first_frame + a, "end_frame": span.first_frame + b}) for a, b in runs(free)]
