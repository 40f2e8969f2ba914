"""New lips for a cast shot: mel windows at each frame's own time, the generator, a lossless patch. The film itself is not touched."""

import time

import numpy as np

from infra.artifacts import ArtifactStore
from tasks.lip_making import SPEECH_MARGIN_S, make_lips
from tasks.timeline import frame_times_s, speech_share
from tasks.types import Casting, FaceTrack, Film, LipPatch, Models, Shot, ShotFaces, ShotPatches, SpeakingSpan, Stem, TakeSettings
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
) -> ShotPatches:
    """The patches of one take of one shot in one language. Where both the dub and the original are silent the picture stays as it is."""
    if not casting.spans:
        return ShotPatches(shot_index=shot.index, language=dub.language or "", reason=casting.reason)
    inputs = {"film": film.sha256, "timing": film.timing.sha256, "shot": shot, "faces": faces, "spans": casting.spans, "dub": dub.analysis.sha256}
    inputs |= {"language": dub.language, "original": original and original.analysis.sha256, "generator": models.generator_sha256}
    inputs["expert"] = models.expert_sha256  # finds the faces at rest that some generators edit
    ways = settings.model_copy(update={"rung": "", "model": None})  # a rung's name changes nothing, and the model is named by its digest
    if ways != FIRST_TAKE.model_copy(update={"rung": ""}):
        inputs["settings"] = ways
    return store.get_or_make(
        "sync_lips", VERSION, inputs, ShotPatches, lambda: _make(store, film, shot, faces, casting, dub, original, models, settings)
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
) -> ShotPatches:
    started = time.perf_counter()
    tracks = {track.track_id: track for track in faces.tracks}
    patches: list[LipPatch] = []
    for span in casting.spans:
        strength = _strength(store, film, shot, tracks[span.track_id], span, dub, original)
        for first, end in _pieces(strength):
            patches.append(_patch(store, film, tracks[span.track_id], span, (first, end), strength, dub, models, settings))
    seconds = time.perf_counter() - started
    reason = None if patches else "silent"
    return ShotPatches(shot_index=shot.index, language=dub.language or "", patches=tuple(patches), reason=reason, seconds=seconds)


def _strength(store: ArtifactStore, film: Film, shot: Shot, track: FaceTrack, span: SpeakingSpan, dub: Stem, original: Stem | None) -> np.ndarray:
    """How much of the patch each frame of the span gets, float32 (n,): 1 where a voice is heard in either language, 0 in common silence."""
    times = frame_times_s(store, film)[span.first_frame : span.end_frame]
    window_s = 2 * SPEECH_MARGIN_S
    voiced = speech_share(store, dub, times - SPEECH_MARGIN_S, window_s) > 0
    if original is not None:
        voiced |= speech_share(store, original, times - SPEECH_MARGIN_S, window_s) > 0
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
