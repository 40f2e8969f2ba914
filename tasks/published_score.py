"""Scores a face against original and dub by the published protocol, in place of our own sync expert, where the user chose that scorer.

The published weights, syncnet_v2.model, are the user's own: they do not come with the package and were not at hand to try this with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from infra.video import FrameReader, upright_bgr
from tasks.sync_evidence import MIN_SPEECH_WINDOWS, REACH, speech_weights
from tasks.timeline import Ticks, frame_times_s, ticks_of
from tasks.types import FaceTrack, Film, LipPatch, Models, Record, ShotPatches, Stem, SyncScore
from wav2lip_core.checkpoint import load_vgg_syncnet
from wav2lip_core.face_crop import paste_delta
from wav2lip_core.mfcc import SAMPLE_RATE_HZ
from wav2lip_core.sync_interval import bootstrap, distance_rows, middle_columns
from wav2lip_core.sync_scorer import score
from wav2lip_core.vgg_scorer import FEWEST_WINDOWS, SAMPLES_PER_FRAME, LipEmbedder, crop, crop_places, embed_sound, num_windows, tight_boxes
from wav2lip_core.vgg_syncnet import VggSyncNet

VERSION = 2
TOO_SHORT = "the face is seen for less than 0.44 s, too short for the published scorer"
TOO_LITTLE_SPEECH = "too little speech to judge"


class PublishedScores(Record):
    before: SyncScore
    undubbed: SyncScore
    after: SyncScore
    evidence: Artifact  # .npz: before_rows, after_rows float32 (n, 43) distances, before_weights, after_weights (n,)


class FilmedLips(Record):
    """Embeddings of a track as it was filmed: every language is compared with them."""

    rows: Artifact  # .npy float32 (ticks - 4, 1024)


@dataclass(frozen=True, eq=False)
class _Sound:
    """A stem over the track's time span: embeddings (n, 1024) of the windows to score, or the reason why there are none."""

    rows: np.ndarray
    reason: str | None = None


def published_scores(
    store: ArtifactStore, film: Film, track: FaceTrack, patches: ShotPatches, original: Stem | None, dub: Stem, models: Models
) -> tuple[SyncScore, SyncScore, SyncScore]:
    """(before, undubbed, after); arguments as for `published_evidence`."""
    made = published_evidence(store, film, track, patches, original, dub, models)
    return made.before, made.undubbed, made.after


def published_evidence(
    store: ArtifactStore, film: Film, track: FaceTrack, patches: ShotPatches, original: Stem | None, dub: Stem, models: Models
) -> PublishedScores:
    """(before, undubbed, after) and the distances that tell it.

    That is: as filmed with the original, as filmed with the dub, patched with the dub, over the whole track.

    models.vgg_path must be set. As published, all of the track counts alike and nothing is heard beyond its ends; but where a stem speaks for less
    than a third of a second there is no score. The film's frames are taken at 25 ticks a second; one reading of the film gives both pictures.
    """
    inputs = {
        "film": film.sha256,
        "timing": film.timing.sha256,
        "patches": _named(patches),
        "dub": dub.analysis.sha256,
        **_named_track(track, models),
    }
    inputs["original"] = original and original.analysis.sha256
    return store.get_or_make(
        "published_score", VERSION, inputs, PublishedScores, lambda: _scores(store, film, track, patches.patches, original, dub, models)
    )


@lru_cache(maxsize=1)
def shared_vgg_syncnet(path: str, sha256: str) -> VggSyncNet:
    """The published network of this process, loaded once. sha256 is part of the name: a changed file is another network."""
    return load_vgg_syncnet(path)


def _network(models: Models) -> VggSyncNet:
    assert models.vgg_path is not None
    assert models.vgg_sha256 is not None
    return shared_vgg_syncnet(models.vgg_path, models.vgg_sha256)


def _named(patches: ShotPatches) -> list[tuple[str, int, int]]:
    return [(patch.patch.sha256, patch.first_frame, patch.end_frame) for patch in patches.patches]


def _named_track(track: FaceTrack, models: Models) -> dict:
    return {"geometry": track.geometry.sha256, "first": track.first_frame, "end": track.end_frame, "vgg": models.vgg_sha256}


def _scores(
    store: ArtifactStore, film: Film, track: FaceTrack, patches: Sequence[LipPatch], original: Stem | None, dub: Stem, models: Models
) -> PublishedScores:
    ticks = ticks_of(frame_times_s(store, film), track.first_frame, track.end_frame, float(film.fps))
    dubbed = _heard(store, dub, ticks, models)
    spoken = _Sound(dubbed.rows[:0], "the film has no original dialogue") if original is None else _heard(store, original, ticks, models)
    filmed = patched = dubbed.rows[:0]
    if spoken.reason is None or dubbed.reason is None:
        filmed, patched = _lips(store, film, track, ticks, patches, models)
    before, before_rows = _score(filmed, spoken, models)
    undubbed, _ = _score(filmed, dubbed, models)
    after, after_rows = _score(patched, dubbed, models)
    weights = {"before_weights": np.ones(len(before_rows)), "after_weights": np.ones(len(after_rows))}
    evidence = store.put_arrays(before_rows=before_rows, after_rows=after_rows, **weights)
    return PublishedScores(before=before, undubbed=undubbed, after=after, evidence=evidence)


def _heard(store: ArtifactStore, stem: Stem, ticks: Ticks, models: Models) -> _Sound:
    network, nothing = _network(models), np.zeros((0, 0), np.float32)
    first = round(ticks.times_s[0] * SAMPLE_RATE_HZ)
    wave = store.load_array(stem.analysis)[first : first + len(ticks.times_s) * SAMPLES_PER_FRAME]
    count = num_windows(len(ticks.times_s), len(wave))
    if count < FEWEST_WINDOWS:
        return _Sound(nothing, TOO_SHORT)
    if speech_weights(store, stem, ticks).sum() < MIN_SPEECH_WINDOWS:
        return _Sound(nothing, TOO_LITTLE_SPEECH)
    samples = np.clip(np.rint(wave * np.float32(32768)), -32768, 32767).astype(np.int16)
    return _Sound(embed_sound(network, samples, count))


def _score(lips: np.ndarray, sound: _Sound, models: Models) -> tuple[SyncScore, np.ndarray]:
    """The score with its interval, and the distances of each window, float32 (n, 43); (0, 43) where there is no score."""
    digest = models.vgg_sha256 or ""
    if sound.reason is not None:
        return SyncScore(scorer_sha256=digest, reason=sound.reason), np.zeros((0, 2 * REACH + 1), np.float32)
    count = len(sound.rows)
    offset, lse_d, lse_c = score(lips[:count], sound.rows)
    rows = distance_rows(lips[:count], np.pad(sound.rows, ((REACH, REACH), (0, 0))))  # zeros beyond the ends, as published
    low, high, agreement = bootstrap(middle_columns(rows), np.ones(count))
    found = SyncScore(
        offset_frames=offset,
        confidence=lse_c,
        distance=lse_d,
        confidence_low=low,
        confidence_high=high,
        offset_agreement=agreement,
        num_windows=count,
        scorer_sha256=digest,
    )
    return found, rows


# -- lips


def _lips(
    store: ArtifactStore, film: Film, track: FaceTrack, ticks: Ticks, patches: Sequence[LipPatch], models: Models
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the track as filmed and as patched. The first are kept; where they must be made, the film is read once for both."""
    fresh: list[np.ndarray] = []

    def make() -> FilmedLips:
        filmed, patched = _embedded(store, film, track, ticks, [(), patches], models)
        fresh.append(patched)
        return FilmedLips(rows=store.put_array(filmed))

    inputs = {"film": film.sha256, "timing": film.timing.sha256, **_named_track(track, models)}
    filmed = store.load_array(store.get_or_make("embed_published_lips", VERSION, inputs, FilmedLips, make).rows)
    return filmed, fresh[0] if fresh else _embedded(store, film, track, ticks, [patches], models)[0]


def _embedded(
    store: ArtifactStore, film: Film, track: FaceTrack, ticks: Ticks, versions: Sequence[Sequence[LipPatch]], models: Models
) -> list[np.ndarray]:
    """Embeddings of the track as it looks under each set of patches, float32 (ticks - 4, 1024) each, in one reading of the film."""
    timing = store.load_arrays(film.timing)
    reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
    places = crop_places(tight_boxes(store.load_arrays(track.geometry)["boxes"][ticks.frames]))
    looks = [(_Patches(store, patches), LipEmbedder(_network(models))) for patches in versions]
    for n, frame in reader.frames(track.first_frame, track.end_frame):
        first, end = np.searchsorted(ticks.frames, [n - track.first_frame, n - track.first_frame + 1])
        if first == end:  # a film of more than 25 fps: not on screen at any tick
            continue
        picture = upright_bgr(frame, film.rotation_degrees)
        for patches, embedder in looks:
            shown = patches.pasted(picture, n)
            for place in places[first:end]:
                embedder.add(crop(shown, place))
    return [embedder.finish() for _, embedder in looks]


class _Patches:
    """Pastes patches frame by frame, each patch in memory only while it lasts. Ask for frames in rising order."""

    def __init__(self, store: ArtifactStore, patches: Sequence[LipPatch]) -> None:
        self._store, self._patches = store, patches
        self._arrays: dict[int, dict[str, np.ndarray]] = {}

    def pasted(self, picture: np.ndarray, n: int) -> np.ndarray:
        """Frame n, uint8 (H, W, 3) BGR, as a viewer of the dub sees it; the very same array where nothing is pasted."""
        shown = picture
        for index, patch in enumerate(self._patches):
            if not patch.first_frame <= n < patch.end_frame:
                self._arrays.pop(index, None)
                continue
            if index not in self._arrays:
                self._arrays[index] = self._store.load_arrays(patch.patch)
            boxes, faces = self._arrays[index]["boxes"], self._arrays[index]["faces"]
            change = paste_delta(picture, boxes[n - patch.first_frame], faces[n - patch.first_frame])
            if change is not None:
                (x0, y0, x1, y1), delta = change
                shown = picture.copy() if shown is picture else shown
                shown[y0:y1, x0:x1] = np.clip(np.rint(shown[y0:y1, x0:x1] + delta), 0, 255)
        return shown
