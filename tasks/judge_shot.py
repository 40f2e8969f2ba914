"""How well a dubbed shot is in sync, beside the same shot's original: the same crops, the same scorer, an honest verdict."""

from typing import Literal

import cv2
import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from tasks.published_score import published_scores
from tasks.sync_evidence import lips_of, score_of, sound_of, speech_weights
from tasks.timeline import Ticks, frame_times_s, ticks_of
from tasks.types import Box, Casting, FaceTrack, Film, Models, QaReport, Record, Shot, ShotFaces, ShotPatches, Stem, SyncScore
from wav2lip_core.face_crop import patched

VERSION = 1
MAX_OFFSET = 2  # frames of 40 ms; more is an error by the two-frame rule
MIN_SHARE_OF_ORIGINAL = 0.5  # of the original's own LSE-C, under which a person should look
DUB_SPEECH_TO_MENTION = 0.3  # share of a shot's time with dub speech from which keeping the original deserves a look
THUMBNAIL_PX = 192


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
) -> QaReport:
    """The row of the QA table for one shot and language."""
    inputs = {"film": film.sha256, "timing": film.timing.sha256, "shot": shot, "faces": faces, "casting": casting, "patches": patches}
    inputs |= {"original": original and original.analysis.sha256, "dub": dub.analysis.sha256, "expert": models.expert_sha256}
    inputs["vgg"] = models.vgg_sha256
    return store.get_or_make(
        "judge_shot", VERSION, inputs, QaReport, lambda: _judge(store, film, shot, faces, casting, patches, original, dub, models)
    )


def _judge(
    store: ArtifactStore,
    film: Film,
    shot: Shot,
    faces: ShotFaces,
    casting: Casting,
    patches: ShotPatches,
    original: Stem | None,
    dub: Stem,
    models: Models,
) -> QaReport:
    common = {"shot": shot, "language": dub.language or "", "num_faces": faces.num_faces, "evidence": casting.evidence}
    if not patches.patches:
        return _kept(store, film, shot, patches.reason or casting.reason or "refused", dub, common)
    track = _main_track(faces, patches)
    crops = _patched_crops(store, track, patches)
    if models.vgg_path is not None:
        before, undubbed, after = published_scores(store, film, track, patches, original, dub, models)
    else:
        before, undubbed, after = _expert_scores(store, film, track, crops, casting, original, dub, models)
    verdict, reason = _verdict(before, undubbed, after)
    return QaReport(
        **common,
        outcome="synced",
        reason=reason,
        track_id=track.track_id,
        face_box=_box_at_middle(store, shot, track),
        before=before,
        undubbed=undubbed,
        after=after,
        verdict=verdict,
        num_tries=1,
        seconds=patches.seconds,
        thumbnail=_thumbnail(store, shot, track, crops),
    )


def _expert_scores(
    store: ArtifactStore, film: Film, track: FaceTrack, patched_crops: Artifact, casting: Casting, original: Stem | None, dub: Stem, models: Models
) -> tuple[SyncScore, SyncScore, SyncScore]:
    """(before, undubbed, after) by our own sync expert, over the speech in the track's speaking spans."""
    ticks, lips, inside = _seen(store, film, track, casting, models)
    dub_sound, dub_weights = sound_of(store, dub, ticks, models), speech_weights(store, dub, ticks) * inside
    before = SyncScore(reason="the film has no original dialogue")
    if original is not None:
        before = score_of(lips, sound_of(store, original, ticks, models), speech_weights(store, original, ticks) * inside, models)
    undubbed = score_of(lips, dub_sound, dub_weights, models)
    return before, undubbed, score_of(lips_of(store, patched_crops, ticks, models), dub_sound, dub_weights, models)


def _kept(store: ArtifactStore, film: Film, shot: Shot, reason: str, dub: Stem, common: dict) -> QaReport:
    ticks = ticks_of(frame_times_s(store, film), shot.first_frame, shot.end_frame, float(film.fps))
    share = float(speech_weights(store, dub, ticks).mean()) if ticks.num_windows else 0.0
    # Nobody seen speaking is a safe reason; a face that could not be dubbed although the dub speaks is not.
    needs_eye = reason in ("too_small", "profile", "ambiguous", "too_short", "silent") and share > DUB_SPEECH_TO_MENTION
    if needs_eye:
        common = common | {"evidence": f"{common['evidence']}; but the dub speaks for {share:.0%} of the shot"}
    return QaReport(**common, outcome="kept_original", reason=reason, verdict="review" if needs_eye else "kept_original")


def _main_track(faces: ShotFaces, patches: ShotPatches) -> FaceTrack:
    frames: dict[int, int] = {}
    for patch in patches.patches:
        frames[patch.track_id] = frames.get(patch.track_id, 0) + patch.end_frame - patch.first_frame
    longest = max(frames, key=lambda track_id: frames[track_id])
    return next(track for track in faces.tracks if track.track_id == longest)


def _seen(store: ArtifactStore, film: Film, track: FaceTrack, casting: Casting, models: Models) -> tuple[Ticks, np.ndarray, np.ndarray]:
    """The track's ticks, its lips' embeddings, and 1.0 for each window inside the track's speaking spans."""
    ticks = ticks_of(frame_times_s(store, film), track.first_frame, track.end_frame, float(film.fps))
    assert track.crops is not None
    lips = lips_of(store, track.crops, ticks, models)
    inside = np.zeros(ticks.num_windows)
    for span in casting.spans:
        if span.track_id == track.track_id:
            frames = ticks.frames[: ticks.num_windows] + track.first_frame
            inside[(frames >= span.first_frame) & (frames < span.end_frame)] = 1
    return ticks, lips, inside


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


def _verdict(before: SyncScore, undubbed: SyncScore, after: SyncScore) -> tuple[Literal["pass", "review"], str]:
    if after.confidence is None or after.offset_frames is None:
        return "review", f"synced, not scored: {after.reason}"
    if abs(after.offset_frames) > MAX_OFFSET:
        return "review", f"lips are {abs(after.offset_frames)} frames of 40 ms {'behind' if after.offset_frames > 0 else 'ahead of'} the dub"
    if undubbed.confidence is not None and after.confidence <= undubbed.confidence:
        return "review", "the dubbed picture scores no better than the undubbed one"
    if before.confidence is not None and after.confidence < MIN_SHARE_OF_ORIGINAL * before.confidence:
        return "review", f"in sync, but only {after.confidence / before.confidence:.0%} of the original's own score"
    return "pass", "in sync"


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
