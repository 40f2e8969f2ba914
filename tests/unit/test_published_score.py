"""A film judged by the published scorer, from a real face and real voices; the scorer's weights are drawn at random."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from infra.artifacts import ArtifactStore
from infra.video import read_audio
from tasks.inspect_film import inspect_film
from tasks.judge_episode import judge_episode, study_ground
from tasks.judge_shot import judge_shot
from tasks.policy import package_policy
from tasks.prepare_stem import prepare_original, prepare_stem
from tasks.published_score import TOO_LITTLE_SPEECH, TOO_SHORT, published_scores
from tasks.shot_table import table_of
from tasks.timeline import frame_times_s
from tasks.track_faces import track_faces
from tasks.types import (
    Casting,
    FaceTrack,
    Film,
    LipPatch,
    Models,
    QaReport,
    Shot,
    ShotFaces,
    ShotPatches,
    ShotTrial,
    SpeakingSpan,
    Stem,
    SyncScore,
    TakeSettings,
    Try,
)
from tests.media import Sound, write_film, write_sound
from tests.unit.test_vgg_scorer import random_state
from wav2lip_core.checkpoint import load_vgg_syncnet, sha256_of
from wav2lip_core.face_crop import paste_delta
from wav2lip_core.vgg_scorer import crop, crop_places, score_clip, tight_boxes
from wav2lip_core.vgg_syncnet import VggSyncNet, VggSyncNetConfig

FIRST, NUM_FRAMES = 25, 34  # of a clip of three seconds, in which somebody speaks
NUM_WINDOWS = NUM_FRAMES - 5


@dataclass(frozen=True)
class Scene:
    """A film of one shot with a face in it, and a dub."""

    store: ArtifactStore
    film: Film
    faces: ShotFaces
    original: Stem
    dub: Stem
    models: Models

    @property
    def track(self) -> FaceTrack:
        return self.faces.tracks[0]

    def patches(self, dark_mouth: int) -> ShotPatches:
        """The film's own face, its mouth `dark_mouth` grey levels darker."""
        assert self.track.crops is not None
        faces = np.array(self.store.load_array(self.track.crops))
        faces[:, 64:80, 34:62] -= np.minimum(faces[:, 64:80, 34:62], dark_mouth)
        patch = self.store.put_arrays(faces=faces, boxes=self.store.load_arrays(self.track.geometry)["boxes"])
        whole = LipPatch(
            shot_index=0, language="es", track_id=0, first_frame=0, end_frame=self.film.num_frames, patch=patch, model_sha256="0" * 64
        )  # fmt: skip
        return ShotPatches(shot_index=0, language="es", patches=(whole,))

    def scores(self, dark_mouth: int = 100) -> tuple[SyncScore, SyncScore, SyncScore]:
        return published_scores(self.store, self.film, self.track, self.patches(dark_mouth), self.original, self.dub, self.models)

    def judge(self) -> QaReport:
        shot = Shot(index=0, first_frame=0, end_frame=self.film.num_frames)
        span = SpeakingSpan(track_id=0, first_frame=0, end_frame=self.film.num_frames)
        casting = Casting(shot_index=0, spans=(span,), evidence="as the casting file says")
        patches = self.patches(100)
        measures = judge_shot(self.store, self.film, shot, self.faces, casting, patches, self.original, self.dub, self.models)
        tried = Try(settings=TakeSettings(), patches=patches, measures=measures, generator_sha256="0" * 64)
        trial = ShotTrial(shot=shot, language="es", tries=(tried,), num_faces=1)
        ground = study_ground(self.store, "es", (measures,), package_policy())
        return judge_episode(self.store, "es", (trial,), ground, package_policy()).reports[0]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_models(folder: Path, seed: int) -> Models:
    """A narrow published network with drawn weights, in a file as syncnet_v2.model is one. The expert is not there: nobody may ask it."""
    network = VggSyncNet(VggSyncNetConfig(width=0.07))
    path = folder / f"syncnet-{seed}.model"
    torch.save(random_state(network, seed), path)
    return Models(
        name="test", generator_path="absent", generator_sha256="0" * 64, expert_path="absent", expert_sha256="0" * 64, vgg_path=str(path),
        vgg_sha256=sha256_of(path),
    )  # fmt: skip


def clip_of(shared: Path, person: str) -> tuple[list[np.ndarray], Sound]:
    path = sorted((shared / "media" / "grid" / person).iterdir())[0]
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)][FIRST : FIRST + NUM_FRAMES]
    samples, rate_hz, _ = read_audio(path)
    first = FIRST * rate_hz // 25
    return pictures, Sound(samples[first : first + NUM_FRAMES * rate_hz // 25, :1], rate_hz, "pcm_s16le")


@pytest.fixture(scope="module")
def scene(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    pictures, sound = clip_of(shared, "s1")
    lossless = {"codec": "ffv1", "pixel_format": "bgr0", "options": {}}
    path = write_film(folder / "film.mkv", pictures, sound=sound, **lossless)
    dub_path = write_sound(folder / "dub.wav", clip_of(shared, "s26_m")[1])
    store = ArtifactStore(folder / "artifacts")
    film = inspect_film(store, path)
    faces = track_faces(store, film, Shot(index=0, first_frame=0, end_frame=film.num_frames), "dlib", None)
    original = prepare_original(store, film, None)
    assert original is not None
    dub = prepare_stem(store, film, dub_path, "es", "dialogue")
    assert (film.num_frames, len(faces.tracks)) == (NUM_FRAMES, 1)
    return Scene(store, film, faces, original, dub, random_models(folder, 5))


def test_a_film_judged_by_the_published_scorer_gives_a_table_with_its_numbers_and_its_digest(scene: Scene) -> None:
    report = scene.judge()
    three = report.before, report.undubbed, report.after
    for score in three:
        assert score.scorer_sha256 == scene.models.vgg_sha256
        assert (score.reason, score.num_windows) == (None, NUM_WINDOWS)
        assert np.isfinite([score.confidence, score.distance]).all()
        assert -15 <= score.offset_frames <= 15
    assert len({score.distance for score in three}) == 3
    assert (report.outcome, report.track_id) == ("synced", 0)
    assert report.thumbnail is not None
    table = table_of(scene.film, [report], frame_times_s(scene.store, scene.film))
    for name, score in zip(("before", "undubbed", "after"), three, strict=True):
        assert table[f"lse_c_{name}"].tolist() == [score.confidence]
        assert table[f"lse_d_{name}"].tolist() == [score.distance]
        assert table[f"offset_{name}"].tolist() == [score.offset_frames]


def test_another_scorer_s_judgement_is_not_taken_for_this_one_s(scene: Scene, tmp_path: Path) -> None:
    first = scene.judge()
    other = replace(scene, models=random_models(tmp_path, 6))
    second = other.judge()
    assert second.after.scorer_sha256 == other.models.vgg_sha256 != first.after.scorer_sha256
    assert second.after.distance != first.after.distance
    assert scene.judge() == first


def test_a_patch_that_changes_nothing_scores_as_the_undubbed_picture_and_a_changed_mouth_does_not(scene: Scene) -> None:
    before, undubbed, after = scene.scores(dark_mouth=0)
    assert after == undubbed
    changed = scene.scores(dark_mouth=100)
    assert changed[:2] == (before, undubbed)
    assert changed[2] != undubbed


def test_the_film_s_own_lips_are_embedded_once_for_all_languages_and_a_score_is_made_once(scene: Scene) -> None:
    scene.scores(dark_mouth=50)
    embedded, scored = (scene.store.counts()[step] for step in ("embed_published_lips", "published_score"))
    scene.scores(dark_mouth=60)
    scene.scores(dark_mouth=60)
    assert scene.store.counts()["embed_published_lips"] == (embedded[0], embedded[1] + 1)
    assert scene.store.counts()["published_score"] == (scored[0] + 1, scored[1] + 1)


def test_scores_do_not_depend_on_whether_the_film_s_own_lips_were_known(scene: Scene, tmp_path: Path) -> None:
    fresh = ArtifactStore(tmp_path)
    for artifact in (scene.film.timing, scene.track.geometry, scene.track.crops, scene.original.analysis, scene.dub.analysis):
        fresh.put_bytes(scene.store.path(artifact).read_bytes(), artifact.media_type)  # type: ignore[union-attr, arg-type]
    scene.scores(dark_mouth=70)
    assert replace(scene, store=fresh).scores(dark_mouth=80) == scene.scores(dark_mouth=80)


def test_a_track_in_the_middle_of_a_film_is_scored_with_its_own_frames_patches_and_sound(scene: Scene, shared: Path) -> None:
    first, end = 7, 30
    boxes, crops = scene.store.load_arrays(scene.track.geometry)["boxes"][first:end], scene.store.load_array(scene.track.crops)  # type: ignore[arg-type]
    geometry = scene.store.put_arrays(boxes=boxes)
    track = scene.track.model_copy(update={"first_frame": first, "end_frame": end, "geometry": geometry})
    patched_from, faces = 12, 255 - crops[12:20]
    patch = LipPatch(
        shot_index=0, language="es", track_id=0, first_frame=patched_from, end_frame=20, model_sha256="0" * 64,
        patch=scene.store.put_arrays(faces=faces, boxes=boxes[patched_from - first : 20 - first]),
    )  # fmt: skip
    patches = ShotPatches(shot_index=0, language="es", patches=(patch,))
    before, _, after = published_scores(scene.store, scene.film, track, patches, scene.original, scene.dub, scene.models)

    pictures, places = clip_of(shared, "s1")[0][first:end], crop_places(tight_boxes(boxes))
    network = load_vgg_syncnet(scene.models.vgg_path or "")
    for found, stem, is_patched in ((before, scene.original, False), (after, scene.dub, True)):
        shown = [picture.astype(np.float32) for picture in pictures]
        for n, face in enumerate(faces if is_patched else (), patched_from - first):
            (x0, y0, x1, y1), delta = paste_delta(pictures[n], boxes[n], face)  # type: ignore[misc]
            shown[n][y0:y1, x0:x1] += delta
        seen = [crop(np.clip(np.rint(picture), 0, 255).astype(np.uint8), place) for picture, place in zip(shown, places, strict=True)]
        heard = np.rint(scene.store.load_array(stem.analysis)[first * 640 : end * 640] * 32768).astype(np.int16)
        wanted = score_clip(network, seen, heard)
        assert (found.offset_frames, found.distance, found.confidence) == pytest.approx(wanted, rel=1e-6)
        assert found.num_windows == end - first - 5


def test_a_film_of_fifty_frames_a_second_is_seen_at_twenty_five(scene: Scene, shared: Path, tmp_path: Path) -> None:
    pictures, sound = clip_of(shared, "s1")
    doubled = [picture for picture in pictures for _ in range(2)]
    path = write_film(tmp_path / "film50.mkv", doubled, fps=Fraction(50), sound=sound, codec="ffv1", pixel_format="bgr0", options={})
    film = inspect_film(scene.store, path)
    original = prepare_original(scene.store, film, None)
    boxes, crops = scene.store.load_arrays(scene.track.geometry)["boxes"], scene.store.load_array(scene.track.crops)  # type: ignore[arg-type]
    track = scene.track.model_copy(update={
        "end_frame": film.num_frames,
        "geometry": scene.store.put_arrays(boxes=np.repeat(boxes, 2, axis=0)),
        "crops": scene.store.put_array(np.repeat(crops, 2, axis=0)),
    })  # fmt: skip
    assert original is not None
    fast = replace(scene, film=film, original=original, faces=scene.faces.model_copy(update={"tracks": (track,)}))
    assert film.num_frames == 2 * NUM_FRAMES
    assert fast.scores() == scene.scores()


def test_without_speech_time_or_original_dialogue_there_is_a_reason_and_no_score(scene: Scene, tmp_path: Path) -> None:
    silence = write_sound(tmp_path / "silent.wav", Sound(np.zeros((NUM_FRAMES * 640, 1), np.float32), 16000, "pcm_s16le"))
    silent = prepare_stem(scene.store, scene.film, silence, "es", "dialogue")
    before, undubbed, after = replace(scene, dub=silent).scores()
    assert before == scene.scores()[0]
    assert undubbed.reason == after.reason == TOO_LITTLE_SPEECH
    assert after.confidence is None
    patches = scene.patches(100)
    before, _, after = published_scores(scene.store, scene.film, scene.track, patches, None, scene.dub, scene.models)
    assert before.reason == "the film has no original dialogue"
    assert after == scene.scores()[2]
    for num_frames, reason in ((10, TOO_SHORT), (1, TOO_SHORT), (14, None)):
        track = scene.track.model_copy(update={"end_frame": num_frames})
        short = published_scores(scene.store, scene.film, track, patches, scene.original, scene.dub, scene.models)
        assert short[0].reason == reason
        assert short[0].scorer_sha256 == scene.models.vgg_sha256
