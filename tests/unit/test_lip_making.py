"""A take is made as its settings say: sound earlier or later, a wider frame, another frame's looks; the default changes nothing."""

from pathlib import Path

import numpy as np
import pytest

from infra.artifacts import ArtifactStore
from tasks.inspect_film import inspect_film
from tasks.leak_probe import leak_share
from tasks.lip_making import make_lips
from tasks.prepare_stem import prepare_stem
from tasks.resting_faces import resting_faces
from tasks.sync_lips import sync_lips
from tasks.track_faces import track_faces
from tasks.types import Casting, Film, Models, Shot, ShotFaces, ShotPatches, SpeakingSpan, Stem, TakeSettings
from tests.media import write_film
from tests.small_film import make_random_weights, make_track, portrait_pictures
from wav2lip_core.checkpoint import ModelCard, save_model, sha256_of
from wav2lip_core.generator import GeneratorConfig, LipGenerator, mouth_window

NUM_FRAMES = 24


class Scene:
    """One shot of one face, a dub, and a generator of random weights."""

    def __init__(self, folder: Path) -> None:
        self.store = ArtifactStore(folder / "artifacts")
        self.film: Film = inspect_film(self.store, write_film(folder / "film.mp4", portrait_pictures(NUM_FRAMES)))
        self.shot = Shot(index=0, first_frame=0, end_frame=NUM_FRAMES)
        self.faces: ShotFaces = track_faces(self.store, self.film, self.shot, "dlib", None)
        self.dub: Stem = prepare_stem(self.store, self.film, make_track(folder / "dub.wav", NUM_FRAMES / 25), "fr", "dialogue")
        generator, expert = make_random_weights(folder / "weights")
        self.models = Models(
            name="tiny", generator_path=str(generator), generator_sha256=sha256_of(generator), expert_path=str(expert),
            expert_sha256=sha256_of(expert),
        )  # fmt: skip

    def patches(self, **settings) -> ShotPatches:
        casting = Casting(shot_index=0, spans=(SpeakingSpan(track_id=0, first_frame=0, end_frame=NUM_FRAMES),), evidence="")
        return sync_lips(self.store, self.film, self.shot, self.faces, casting, self.dub, None, self.models, TakeSettings(**settings))

    def made(self, first: int = 0, end: int = NUM_FRAMES, **settings) -> np.ndarray:
        return make_lips(self.store, self.film, self.faces.tracks[0], (first, end), self.dub, self.models, TakeSettings(**settings))[1]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


def test_a_rungs_name_alone_makes_no_other_take(scene: Scene) -> None:
    first = scene.patches()
    made = scene.store.counts()["sync_lips"][0]
    assert scene.patches(rung="again") == first
    assert scene.store.counts()["sync_lips"][0] == made
    scene.patches(sound_shift_frames=1.0)
    assert scene.store.counts()["sync_lips"][0] == made + 1


def test_a_shifted_sound_makes_the_lips_come_later_by_as_much(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[np.ndarray] = []

    def note(_store, _dub, times):
        heard.append(times)
        return np.zeros((len(times), 80, 16), np.float32)

    monkeypatch.setattr("tasks.lip_making.heard", note)
    for shift in (0.0, 3.0, -2.0):
        scene.made(sound_shift_frames=shift)
    np.testing.assert_allclose(heard[1], heard[0] - 0.12)
    np.testing.assert_allclose(heard[2], heard[0] + 0.08)


@pytest.mark.parametrize(
    "settings", [{"padding": 0.1}, {"reference": "middle_frame"}, {"smoothing": "none"}, {"padding": 0.2, "reference": "middle_frame"}]
)
def test_every_other_way_gives_another_take_in_the_same_boxes(scene: Scene, settings: dict) -> None:
    plain, other = scene.made(), scene.made(**settings)
    assert other.shape == plain.shape
    assert not np.array_equal(other, plain)
    assert np.abs(other.astype(int) - plain).mean() < 40  # still the same face, in its place


def test_silence_is_probed_with_the_takes_own_ways(scene: Scene) -> None:
    patch = scene.patches().patches[0]
    share = leak_share(scene.store, scene.film, scene.faces.tracks[0], patch, scene.models, TakeSettings())
    assert share is None or share >= 0


@pytest.fixture(scope="module")
def at_rest(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A generator of random weights that edits a face at rest and paints its mouth alone."""
    path = tmp_path_factory.mktemp("rest") / "generator.safetensors"
    card = ModelCard(name="rest", kind="generator", data="nothing: random numbers", licence="none", attribution="none", evaluation={})
    save_model(path, LipGenerator(GeneratorConfig(0.125, 96, "edit", "mouth", "resting")), card)
    return scene.models.model_copy(update={"generator_path": str(path), "generator_sha256": sha256_of(path)})


def test_a_generator_that_edits_a_face_at_rest_is_given_one_of_the_track(scene: Scene, at_rest: Models) -> None:
    track = scene.faces.tracks[0]
    resting = resting_faces(scene.store, scene.film, track, at_rest)
    own, made = make_lips(scene.store, scene.film, track, (0, NUM_FRAMES), scene.dub, at_rest, TakeSettings())
    outside = np.ones(own.shape[1:3], bool)
    outside[mouth_window(96, 96)] = False
    np.testing.assert_array_equal(made[:, outside], resting[:NUM_FRAMES][:, outside])
    assert (resting[:NUM_FRAMES] != own).any()


def test_a_piece_of_a_take_is_what_the_whole_take_shows_there(scene: Scene, at_rest: Models) -> None:
    track = scene.faces.tracks[0]
    whole = make_lips(scene.store, scene.film, track, (0, NUM_FRAMES), scene.dub, at_rest, TakeSettings())[1]
    piece = make_lips(scene.store, scene.film, track, (7, 19), scene.dub, at_rest, TakeSettings())[1]
    assert np.abs(whole[7:19].astype(int) - piece).max() <= 1


def test_another_reference_overrules_the_face_at_rest(scene: Scene, at_rest: Models) -> None:
    track = scene.faces.tracks[0]
    usual, other = (
        make_lips(scene.store, scene.film, track, (0, NUM_FRAMES), scene.dub, at_rest, settings)[1]
        for settings in (TakeSettings(), TakeSettings(reference="same_frame"))
    )
    assert (usual != other).any()


def test_faster_arithmetic_makes_another_take_that_looks_the_same(scene: Scene) -> None:
    exact = scene.patches()
    quick = Scene.__new__(Scene)
    quick.__dict__ = scene.__dict__ | {"models": scene.models.model_copy(update={"precision": "bf16"})}
    patches, again = quick.patches(), quick.patches()
    assert patches == again
    assert [patch.patch for patch in patches.patches] != [patch.patch for patch in exact.patches]
    assert scene.patches() == exact  # what was made in float32 is found under its own name
    difference = np.abs(quick.made().astype(int) - scene.made())
    assert 0 < difference.max() <= 4
