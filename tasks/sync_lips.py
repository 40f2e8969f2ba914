"""New lips for a cast shot: mel windows at each frame's own time, the generator, a lossless patch. The film itself is not touched."""

import time
from collections.abc import Sequence

import numpy as np

from infra.artifacts import ArtifactStore
from tasks.lip_making import SPEECH_MARGIN_S, arithmetic_inputs, make_lips
from tasks.sync_evidence import expert_inputs
from tasks.timeline import frame_times_s, speech_share
from tasks.types import Casting, FaceTrack, Film, LipPatch, Models, Shot, ShotFaces, ShotPatches, SpeakingSpan, Stem, TakeSettings
from tasks.voices import Voices, heard_inputs, heard_part, stem_of, voice_of
from wav2lip_core.speech import runs

VERSION = 3
MAX_PATCH_FRAMES = 500  # a long span becomes several patches, so that memory stays flat
LONGEST_UNSEEN_S = 0.5  # a face not detected for longer is left alone
RAMP_FRAMES = 3  # over which a patch fades in and out inside a shot
FIRST_TAKE = TakeSettings()


def sync_lips(
    store: ArtifactStore,
    film: Film,
    shot: Shot,
    faces: ShotFaces,
    casting: Casting,
    dub: Stem,
    original: Stem | None,
    models: Models,
    settings: TakeSettings = FIRST_TAKE,
    voices: Voices | None = None,
) -> ShotPatches:
    """The patches of one take of one shot in one language. Where both the dub and the original are silent the picture stays as it is.

    voices: where a cast file says who is who, the faces that are driven by their own characters' stems; any other face hears the dub.
    """
    if not casting.spans:
        return ShotPatches(shot_index=shot.index, language=dub.language or "", reason=casting.reason)
    inputs = {"film": film.sha256, "timing": film.timing.sha256, "shot": shot, "faces": faces, "spans": casting.spans}
    inputs["dub"] = heard_part(store, film, shot, dub)  # a changed line elsewhere in the film changes nothing here
    inputs |= {"language": dub.language, "original": original and original.analysis.sha256, "generator": models.generator_sha256}
    inputs |= expert_inputs(models) | arithmetic_inputs(models)  # the expert finds the faces at rest that some generators edit
    ways = settings.model_copy(update={"rung": "", "model": None})  # a rung's name changes nothing, and the model is named by its digest
    if ways != FIRST_TAKE.model_copy(update={"rung": ""}):
        inputs["settings"] = ways
    if voices is not None:
        inputs |= heard_inputs(store, film, shot, casting, dub, voices)
    return store.get_or_make(
        "sync_lips", VERSION, inputs, ShotPatches, lambda: _make(store, film, shot, faces, casting, dub, original, models, settings, voices)
    )


def _make(
    store: ArtifactStore,
    film: Film,
    shot: Shot,
    faces: ShotFaces,
    casting: Casting,
    dub: Stem,
    original: Stem | None,
    models: Models,
    settings: TakeSettings,
    voices: Voices | None,
) -> ShotPatches:
    started = time.perf_counter()
    tracks = {track.track_id: track for track in faces.tracks}
    patches: list[LipPatch] = []
    for span in casting.spans:
        heard, voice = stem_of(voices, span.track_id, dub), voice_of(voices, span.track_id)
        strength = _strength(store, film, shot, tracks[span.track_id], span, heard, original, None if voice is None else voice.spoke)
        for first, end in _pieces(strength):
            patches.append(_patch(store, film, tracks[span.track_id], span, (first, end), strength, heard, models, settings))
    seconds = time.perf_counter() - started
    reason = None if patches else "silent"
    return ShotPatches(shot_index=shot.index, language=dub.language or "", patches=tuple(patches), reason=reason, seconds=seconds)


def _strength(
    store: ArtifactStore,
    film: Film,
    shot: Shot,
    track: FaceTrack,
    span: SpeakingSpan,
    dub: Stem,
    original: Stem | None,
    spoke: Sequence[SpeakingSpan] | None = None,
) -> np.ndarray:
    """How much of the patch each frame of the span gets, float32 (n,): 1 where a voice is heard in either language, 0 in common silence.

    spoke: where the original voice is this face's; None: all through the span.
    """
    times = frame_times_s(store, film)[span.first_frame : span.end_frame]
    window_s = 2 * SPEECH_MARGIN_S
    voiced = speech_share(store, dub, times - SPEECH_MARGIN_S, window_s) > 0
    if original is not None:
        own = speech_share(store, original, times - SPEECH_MARGIN_S, window_s) > 0
        voiced |= own if spoke is None else own & _inside(spoke, span)
    voiced &= ~_hidden(store, film, track, span)
    if not voiced.any():
        return np.zeros(len(times), np.float32)
    padded = np.pad(voiced, RAMP_FRAMES, constant_values=False)
    if span.first_frame in (shot.first_frame, track.first_frame):
        padded[:RAMP_FRAMES] = voiced[0]
    if span.end_frame in (shot.end_frame, track.end_frame):
        padded[-RAMP_FRAMES:] = voiced[-1]
    num_voiced = np.lib.stride_tricks.sliding_window_view(padded, 2 * RAMP_FRAMES + 1).sum(axis=1)
    return np.where(voiced, np.clip((num_voiced - RAMP_FRAMES) / (RAMP_FRAMES + 1), 0.1, 1), 0).astype(np.float32)


def _inside(parts: Sequence[SpeakingSpan], span: SpeakingSpan) -> np.ndarray:
    frames = np.arange(span.first_frame, span.end_frame)
    return np.any([np.zeros(len(frames), bool), *((frames >= part.first_frame) & (frames < part.end_frame) for part in parts)], axis=0)


def _hidden(store: ArtifactStore, film: Film, track: FaceTrack, span: SpeakingSpan) -> np.ndarray:
    """Where the face has not been seen for a while, bool (n,): somebody or something may stand before it, and is not to be painted on."""
    detected = store.load_arrays(track.geometry)["detected"][span.first_frame - track.first_frame : span.end_frame - track.first_frame]
    hidden = np.zeros(len(detected), bool)
    for first, end in runs(~detected):
        hidden[first:end] = end - first > LONGEST_UNSEEN_S * film.fps
    return hidden


def _pieces(strength: np.ndarray) -> list[tuple[int, int]]:
    """Half-open ranges of the span with anything to paste, none longer than MAX_PATCH_FRAMES."""
    used = np.flatnonzero(strength)
    if len(used) == 0:
        return []
    breaks = np.flatnonzero(np.diff(used) > 1)
    firsts, ends = used[np.concatenate([[0], breaks + 1])], used[np.concatenate([breaks, [len(used) - 1]])] + 1
    return [
        (a, min(a + MAX_PATCH_FRAMES, int(end)))
        for first, end in zip(firsts, ends, strict=True)
        for a in range(int(first), int(end), MAX_PATCH_FRAMES)
    ]


def _patch(
    store: ArtifactStore,
    film: Film,
    track: FaceTrack,
    span: SpeakingSpan,
    piece: tuple[int, int],
    strength: np.ndarray,
    dub: Stem,
    models: Models,
    settings: TakeSettings,
) -> LipPatch:
    first, end = span.first_frame + piece[0], span.first_frame + piece[1]
    crops, made = make_lips(store, film, track, (first, end), dub, models, settings)
    weight = strength[piece[0] : piece[1], None, None, None]
    faces = np.round(crops + weight * (made.astype(np.float32) - crops)).astype(np.uint8)
    boxes = store.load_arrays(track.geometry)["boxes"][first - track.first_frame : end - track.first_frame].astype(np.float32)
    return LipPatch(
        shot_index=track.shot_index,
        language=dub.language or "",
        track_id=track.track_id,
        first_frame=first,
        end_frame=end,
        patch=store.put_arrays(faces=faces, boxes=boxes),
        model_sha256=models.generator_sha256,
    )
