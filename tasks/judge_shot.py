"""What can be measured of a dubbed shot, beside the same shot's original: the same crops, the same scorer. What to make of it is said later."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from tasks.likeness import looks_of
from tasks.published_score import published_evidence
from tasks.sync_evidence import REACH, expert_inputs, lips_of, score_of, sound_around, speech_weights
from tasks.timeline import Ticks, frame_times_s, ticks_of
from tasks.types import Box, Casting, FaceTrack, Film, Models, Record, Shot, ShotFaces, ShotMeasures, ShotPatches, Stem, SyncScore, VoiceScore
from tasks.voices import Voices, heard_inputs, heard_part, stem_of, voice_of
from wav2lip_core.face_crop import patched

VERSION = 2
THUMBNAIL_PX = 192
_NOTHING = np.zeros((0, 2 * REACH + 1), np.float32)


class PatchedCrops(Record):
    """A track's crops after pasting."""

    crops: Artifact  # .npy uint8 (n, 96, 96, 3) BGR


def judge_shot(
    store: ArtifactStore,
    film: Film,
    shot: Shot,
    faces: ShotFaces,
    casting: Casting,
    patches: ShotPatches,
    original: Stem | None,
    dub: Stem,
    models: Models,
    voices: Voices | None = None,
) -> ShotMeasures:
    """Scores of one take of one shot in one language.

    voices: as in sync_lips; each face is scored against the sound that drove it, and the shot's own scores are those of the face that fits it least.

    The evidence (.npz) holds, for original voice (before) and dub (after): *_rows float32 (n, 43), each window's distance at shifts of
    -21 to 21 frames, and *_weights (n,), how much of it is speech; and looks float32 (D,), the face's own (see tasks.likeness).
    """
    inputs = {"film": film.sha256, "timing": film.timing.sha256, "shot": shot, "faces": faces, "casting": casting}
    inputs |= {"patches": patches.patches, "language": dub.language}  # not how long they took
    inputs |= {"original": original and original.analysis.sha256, "dub": heard_part(store, film, shot, dub)} | expert_inputs(models)
    inputs["vgg"] = models.vgg_sha256
    if voices is not None:
        inputs |= heard_inputs(store, film, shot, casting, dub, voices)
    return store.get_or_make(
        "judge_shot", VERSION, inputs, ShotMeasures, lambda: _measure(store, film, shot, faces, casting, patches, original, dub, models, voices)
    )


@dataclass(frozen=True, eq=False)
class _Scored:
    """One face of the shot: its scores, what tells them, and the face as the viewer will see it."""

    track: FaceTrack
    crops: Artifact
    before: SyncScore
    undubbed: SyncScore
    after: SyncScore
    evidence: dict[str, np.ndarray]


def _measure(
    store: ArtifactStore,
    film: Film,
    shot: Shot,
    faces: ShotFaces,
    casting: Casting,
    patches: ShotPatches,
    original: Stem | None,
    dub: Stem,
    models: Models,
    voices: Voices | None,
) -> ShotMeasures:
    spans = ticks_of(frame_times_s(store, film), shot.first_frame, shot.end_frame, float(film.fps))
    measures = ShotMeasures(
        shot_index=shot.index,
        language=dub.language or "",
        num_patch_frames=sum(patch.end_frame - patch.first_frame for patch in patches.patches),
        dub_share=_dub_share(store, spans, casting, dub, voices),
    )
    tracks = _tracks_to_score(faces, casting, patches, voices)
    if not tracks:
        return measures
    scored = [_scored(store, film, track, casting, patches, original, stem_of(voices, track.track_id, dub), models, voices) for track in tracks]
    shown = min(scored, key=lambda each: np.inf if each.after.confidence is None else each.after.confidence)
    assert shown.track.crops is not None
    filmed = store.load_array(shown.track.crops)
    return measures.model_copy(
        update={
            "track_id": shown.track.track_id,
            "face_box": _box_at_middle(store, shot, shown.track),
            "before": shown.before,
            "undubbed": shown.undubbed,
            "after": shown.after,
            "evidence": store.put_arrays(**shown.evidence, looks=looks_of(filmed)),
            "thumbnail": _thumbnail(store, shot, shown.track, shown.crops),
            "voices": () if voices is None else tuple(_voice_score(each, voices) for each in scored),
        }
    )


def _dub_share(store: ArtifactStore, spans: Ticks, casting: Casting, dub: Stem, voices: Voices | None) -> float:
    """The share of the shot in which the sounds that drive its faces speak; of the whole dub where nobody is to be dubbed."""
    heard = {stem.analysis.sha256: stem for span in casting.spans if (stem := stem_of(voices, span.track_id, dub))} or {"": dub}
    if not spans.num_windows:
        return 0.0
    return float(np.max([speech_weights(store, stem, spans) for stem in heard.values()], axis=0).mean())


def _tracks_to_score(faces: ShotFaces, casting: Casting, patches: ShotPatches, voices: Voices | None) -> list[FaceTrack]:
    """The face that is dubbed most; with voices of their own, every face that is dubbed, that one first."""
    main = _main_track(faces, casting, patches)
    if main is None or voices is None:
        return [] if main is None else [main]
    dubbed = {part.track_id for part in patches.patches}
    return [main, *(track for track in faces.tracks if track.track_id in dubbed and track != main)]


def _voice_score(scored: _Scored, voices: Voices) -> VoiceScore:
    voice = voice_of(voices, scored.track.track_id)
    name = None if voice is None else voice.character
    return VoiceScore(track_id=scored.track.track_id, character=name, before=scored.before, undubbed=scored.undubbed, after=scored.after)


def _scored(
    store: ArtifactStore,
    film: Film,
    track: FaceTrack,
    casting: Casting,
    patches: ShotPatches,
    original: Stem | None,
    dub: Stem,
    models: Models,
    voices: Voices | None,
) -> _Scored:
    """One face against what drove it. dub: the sound that did."""
    crops = _patched_crops(store, track, patches)
    voice = voice_of(voices, track.track_id)
    if models.vgg_path is not None:
        made = published_evidence(store, film, track, patches, original, dub, models)
        scored = _Scored(track, crops, made.before, made.undubbed, made.after, store.load_arrays(made.evidence))
    else:
        spoke = casting if voice is None else casting.model_copy(update={"spans": voice.spoke})
        scores, arrays = _expert_scores(store, film, track, crops, casting, spoke, original, dub, models)
        scored = _Scored(track, crops, *scores, arrays)
    if voice is None or voice.spoke or original is None:
        return scored
    evidence = scored.evidence | {"before_rows": _NOTHING, "before_weights": np.zeros(0)}
    silent = SyncScore(scorer_sha256=scored.before.scorer_sha256, reason="this face does not speak in the original")
    return replace(scored, before=silent, evidence=evidence)


def _expert_scores(
    store: ArtifactStore,
    film: Film,
    track: FaceTrack,
    patched_crops: Artifact,
    casting: Casting,
    spoke: Casting,
    original: Stem | None,
    dub: Stem,
    models: Models,
) -> tuple[tuple[SyncScore, SyncScore, SyncScore], dict[str, np.ndarray]]:
    """(before, undubbed, after) by our own sync expert, over the speech in the track's speaking spans; and the evidence.

    spoke: the spans in the original.
    """
    ticks, lips, inside = _seen(store, film, track, casting, models)
    dub_sound, dub_weights = sound_around(store, dub, ticks, models), speech_weights(store, dub, ticks) * inside
    before, before_rows, before_weights = SyncScore(reason="the film has no original dialogue"), _NOTHING, np.zeros(0)
    if original is not None:
        before_weights = speech_weights(store, original, ticks) * _inside(track, spoke, ticks)
        before, before_rows = score_of(lips, sound_around(store, original, ticks, models), before_weights, models)
    undubbed, _ = score_of(lips, dub_sound, dub_weights, models)
    after, after_rows = score_of(lips_of(store, patched_crops, ticks, models), dub_sound, dub_weights, models)
    arrays = {"before_rows": before_rows, "before_weights": before_weights, "after_rows": after_rows, "after_weights": dub_weights}
    return (before, undubbed, after), arrays


def _main_track(faces: ShotFaces, casting: Casting, patches: ShotPatches) -> FaceTrack | None:
    """The face with most patches; where nothing was made, the one that speaks longest; None where nobody does."""
    frames: dict[int, int] = {}
    for part in patches.patches or casting.spans:
        frames[part.track_id] = frames.get(part.track_id, 0) + part.end_frame - part.first_frame
    if not frames:
        return None
    longest = max(frames, key=lambda track_id: frames[track_id])
    return next(track for track in faces.tracks if track.track_id == longest)


def _seen(store: ArtifactStore, film: Film, track: FaceTrack, casting: Casting, models: Models) -> tuple[Ticks, np.ndarray, np.ndarray]:
    """The track's ticks, its lips' embeddings, and 1.0 for each window inside the track's speaking spans."""
    ticks = ticks_of(frame_times_s(store, film), track.first_frame, track.end_frame, float(film.fps))
    assert track.crops is not None
    lips = lips_of(store, track.crops, ticks, models)
    return ticks, lips, _inside(track, casting, ticks)


def _inside(track: FaceTrack, casting: Casting, ticks: Ticks) -> np.ndarray:
    inside = np.zeros(ticks.num_windows)
    for span in casting.spans:
        if span.track_id == track.track_id:
            frames = ticks.frames[: ticks.num_windows] + track.first_frame
            inside[(frames >= span.first_frame) & (frames < span.end_frame)] = 1
    return inside


def _patched_crops(store: ArtifactStore, track: FaceTrack, patches: ShotPatches) -> Artifact:
    """The track as the viewer will see it, through the same pasting as the film's."""
    own = [patch for patch in patches.patches if patch.track_id == track.track_id]

    def make() -> PatchedCrops:
        assert track.crops is not None
        crops = store.load_array(track.crops)
        with store.scratch() as folder:
            out = np.lib.format.open_memmap(folder / "crops.npy", mode="w+", dtype=np.uint8, shape=crops.shape)
            out[:] = crops
            for patch in own:
                first = patch.first_frame - track.first_frame
                for i, face in enumerate(store.load_arrays(patch.patch)["faces"]):
                    out[first + i] = patched(crops[first + i], face)
            out.flush()
            del out
            return PatchedCrops(crops=store.put_file(folder / "crops.npy", "application/x-npy"))

    return store.get_or_make("patch_crops", VERSION, {"track": track, "patches": own}, PatchedCrops, make).crops


def _box_at_middle(store: ArtifactStore, shot: Shot, track: FaceTrack) -> Box:
    boxes = store.load_arrays(track.geometry)["boxes"]
    middle = np.clip((shot.first_frame + shot.end_frame) // 2 - track.first_frame, 0, len(boxes) - 1)
    x0, y0, x1, y1 = (round(float(v), 1) for v in boxes[middle])
    return x0, y0, x1, y1


def _thumbnail(store: ArtifactStore, shot: Shot, track: FaceTrack, after: Artifact) -> Artifact:
    """JPEG of the face at the shot's middle frame: before on the left, after on the right."""
    assert track.crops is not None
    before = store.load_array(track.crops)
    middle = int(np.clip((shot.first_frame + shot.end_frame) // 2 - track.first_frame, 0, len(before) - 1))
    pair = np.concatenate([before[middle], store.load_array(after)[middle]], axis=1)
    ok, jpeg = cv2.imencode(".jpg", cv2.resize(pair, (2 * THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_CUBIC), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert ok
    return store.put_bytes(jpeg.tobytes(), "image/jpeg")
