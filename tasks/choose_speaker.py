"""Who speaks in a shot, turn by turn: the face whose lips fit the original dialogue; or nobody on screen."""

import csv
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from infra.artifacts import ArtifactStore
from infra.errors import InputError
from tasks.sync_evidence import expert_inputs, fit_of, lips_of, sound_of, speech_weights
from tasks.timeline import TICKS_PER_S, frame_times_s, ticks_of
from tasks.types import Casting, FaceTrack, Film, Models, Reason, Shot, ShotFaces, SpeakingSpan, Stem
from wav2lip_core.speech import runs

VERSION = 2
MIN_MARGIN = 0.09  # best minus median cosine from which a face fits the voice; measured: speakers 0.25 to 0.42, listeners up to 0.04 at these offsets
MAX_OFFSET = 2  # frames of 40 ms: what a film's own sound may be off
TURN_PAUSE_S = 0.6  # a pause this long may bring another speaker
SHORTEST_TURN_S = 1.2  # shorter turns are decided with the whole shot's evidence


@dataclass(frozen=True)
class _Turn:
    """A stretch of speech in 25 Hz windows counted from the shot's start; track_id None: nobody on screen."""

    first: int
    end: int
    track_id: int | None


def cast_shot(store: ArtifactStore, film: Film, shot: Shot, faces: ShotFaces, original: Stem, models: Models) -> Casting:
    """Cast by evidence: each usable track against the original dialogue, over the spans where there is speech."""
    nobody = _nobody_to_cast(shot, faces)
    if nobody is not None:
        return nobody
    inputs = {"film": film.sha256, "timing": film.timing.sha256, "shot": shot, "faces": faces, "stem": original.analysis.sha256}
    inputs |= expert_inputs(models)
    return store.get_or_make("choose_speaker", VERSION, inputs, Casting, lambda: _cast(store, film, shot, faces, original, models))


def cast_only_face(shot: Shot, faces: ShotFaces) -> Casting:
    """Without original dialogue: the one face of a shot speaks."""
    nobody = _nobody_to_cast(shot, faces)
    if nobody is not None:
        return nobody
    usable = [track for track in faces.tracks if track.usable]
    if len(usable) > 1:
        evidence = f"{len(usable)} faces and no original dialogue to tell who speaks"
        return Casting(shot_index=shot.index, reason="ambiguous", evidence=evidence)
    return Casting(
        shot_index=shot.index, spans=(_whole(usable[0]),), evidence="the only face of the shot; there is no original dialogue to check it with"
    )


def cast_by_hand(shot: Shot, faces: ShotFaces, track_id: int | None) -> Casting:
    """As the user's file says. Raises InputError for a track that the shot does not have."""
    if track_id is None:
        return Casting(shot_index=shot.index, reason="refused", evidence="the casting file says that nobody on screen speaks")
    track = next((t for t in faces.tracks if t.track_id == track_id), None)
    if track is None:
        known = ", ".join(str(t.track_id) for t in faces.tracks) or "none"
        raise InputError(f"The casting file names face {track_id} in shot {shot.index}, which has: {known}. Run `dub plan` to see them.")
    if not track.usable:
        reason: Reason = "profile" if track.unusable_reason == "profile" else "too_small"
        return Casting(shot_index=shot.index, reason=reason, evidence=f"the casting file names face {track_id}, which is {track.unusable_reason}")
    return Casting(shot_index=shot.index, spans=(_whole(track),), evidence="as the casting file says")


def read_casting_file(path: str | Path) -> dict[int, int | None]:
    """Shot index -> track id, or None for nobody: JSON {"3": 0, "5": null} or CSV with the columns shot, track_id (empty: nobody)."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            rows = list(csv.DictReader(text.splitlines()))
            pairs = [(row["shot"], row["track_id"]) for row in rows]
        else:
            pairs = list(json.loads(text).items())
        return {int(shot): None if track in (None, "") else int(track) for shot, track in pairs}
    except OSError as error:
        raise InputError(f"The casting file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{path} is no casting file ({error}). Give JSON like {{"3": 0, "5": null}} or CSV with the columns shot,track_id.'
        ) from error


def _nobody_to_cast(shot: Shot, faces: ShotFaces) -> Casting | None:
    if not faces.tracks:
        return Casting(shot_index=shot.index, reason="no_face", evidence="no face in the shot")
    if any(track.usable for track in faces.tracks):
        return None
    reasons = {track.unusable_reason for track in faces.tracks}
    reason: Reason = "profile" if reasons == {"profile"} else "too_small"
    return Casting(shot_index=shot.index, reason=reason, evidence=f"no usable face: {', '.join(sorted(r or '?' for r in reasons))}")


def _whole(track: FaceTrack) -> SpeakingSpan:
    return SpeakingSpan(track_id=track.track_id, first_frame=track.first_frame, end_frame=track.end_frame)


class _Evidence:
    """Each usable track's fit to the original dialogue over any stretch of the shot."""

    def __init__(self, store: ArtifactStore, film: Film, shot: Shot, faces: ShotFaces, original: Stem, models: Models) -> None:
        times = frame_times_s(store, film)
        self.ticks = ticks_of(times, shot.first_frame, shot.end_frame, float(film.fps))
        self.speech = speech_weights(store, original, self.ticks)
        self.tracks = {}
        for track in faces.tracks:
            if track.usable and track.crops is not None:
                ticks = ticks_of(times, track.first_frame, track.end_frame, float(film.fps))
                lag = round((times[track.first_frame] - times[shot.first_frame]) * TICKS_PER_S)
                lips, sound = lips_of(store, track.crops, ticks, models), sound_of(store, original, ticks, models)
                self.tracks[track.track_id] = (lips, sound, speech_weights(store, original, ticks), lag)

    def fits(self, first: int, end: int) -> dict[int, tuple[float, int]]:
        """track_id -> (margin, offset) over the speech in windows [first, end) of the shot; tracks with too little of it are left out."""
        out = {}
        for track_id, (lips, sound, weights, lag) in self.tracks.items():
            inside = np.zeros(len(weights))
            inside[max(0, first - lag) : max(0, end - lag)] = 1
            fit = fit_of(lips, sound, weights * inside) if len(lips) else None
            if fit is not None:
                out[track_id] = (fit.margin, fit.offset)
        return out


def _best(fits: dict[int, tuple[float, int]]) -> int | None:
    fitting = {track: fit for track, (fit, offset) in fits.items() if fit >= MIN_MARGIN and abs(offset) <= MAX_OFFSET}
    return max(fitting, key=lambda track: fitting[track]) if fitting else None


def _cast(store: ArtifactStore, film: Film, shot: Shot, faces: ShotFaces, original: Stem, models: Models) -> Casting:
    evidence = _Evidence(store, film, shot, faces, original, models)
    num_windows = evidence.ticks.num_windows
    overall = evidence.fits(0, num_windows)
    margins = {track: round(fit, 4) for track, (fit, _) in overall.items()}
    if not overall:
        what = "the original dialogue is silent here" if evidence.speech.sum() < 1 else "too little original dialogue to tell who speaks"
        return Casting(shot_index=shot.index, reason="silent" if evidence.speech.sum() < 1 else "too_short", evidence=what, margins=margins)
    turns = _turns(evidence, _best(overall))
    spans = _spans(shot, faces, turns, frame_times_s(store, film))
    if not spans:
        what = f"nobody on screen fits the voice ({_described(overall)})"
        return Casting(shot_index=shot.index, reason="off_screen", evidence=what, margins=margins)
    silent = 1 - float((evidence.speech > 0).mean())
    nearest = "; where the original is silent the nearest turn decides" if silent > 0.05 else ""
    return Casting(
        shot_index=shot.index, spans=tuple(spans), evidence=f"lips fit the original voice ({_described(overall)}){nearest}", margins=margins
    )


def _described(fits: dict[int, tuple[float, int]]) -> str:
    return ", ".join(f"face {track}: margin {fit:.2f} at offset {offset:+d}" for track, (fit, offset) in sorted(fits.items()))


def _turns(evidence: _Evidence, of_whole_shot: int | None) -> list[_Turn]:
    pause = round(TURN_PAUSE_S * TICKS_PER_S)
    joined: list[list[int]] = []
    for first, end in runs(evidence.speech > 0.3):
        if joined and first - joined[-1][1] < pause:
            joined[-1][1] = end
        else:
            joined.append([first, end])
    turns = []
    for first, end in joined:
        is_long = end - first >= SHORTEST_TURN_S * TICKS_PER_S and len(joined) > 1
        turns.append(_Turn(first, end, _best(evidence.fits(first, end)) if is_long else of_whole_shot))
    return turns or [_Turn(0, evidence.ticks.num_windows, of_whole_shot)]


def _spans(shot: Shot, faces: ShotFaces, turns: list[_Turn], times: np.ndarray) -> list[SpeakingSpan]:
    """Every frame of the shot goes to its nearest turn; neighbouring turns of one face join; nobody's turns leave a hole."""
    start_s = times[shot.first_frame]
    borders = [(a.end + b.first) / 2 for a, b in pairwise(turns)]
    cuts = [shot.first_frame + int(np.searchsorted(times[shot.first_frame : shot.end_frame], start_s + w / TICKS_PER_S)) for w in borders]
    edges = [shot.first_frame, *cuts, shot.end_frame]
    tracks, spans = {track.track_id: track for track in faces.tracks}, []
    for turn, first, end in zip(turns, edges, edges[1:], strict=False):
        if turn.track_id is None:
            continue
        track = tracks[turn.track_id]
        first, end = max(first, track.first_frame), min(end, track.end_frame)
        if spans and spans[-1].track_id == turn.track_id and spans[-1].end_frame == first:
            spans[-1] = SpeakingSpan(track_id=turn.track_id, first_frame=spans[-1].first_frame, end_frame=end)
        elif first < end:
            spans.append(SpeakingSpan(track_id=turn.track_id, first_frame=first, end_frame=end))
    return spans
