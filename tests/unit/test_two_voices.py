"""Two real people in one shot, dubbed by the bundled weights, and heard by the bundled judge: each has the lips of its own stem."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from infra.artifacts import ArtifactStore
from infra.settings import get_settings
from infra.sound import read_audio
from tasks.choose_speaker import cast_shot
from tasks.inspect_film import inspect_film
from tasks.judge_shot import _scored, judge_shot
from tasks.likeness import looks_of
from tasks.model_shelf import pin_models
from tasks.prepare_stem import prepare_original, prepare_stem
from tasks.split_shots import split_shots
from tasks.sync_lips import sync_lips
from tasks.track_faces import track_faces
from tasks.types import BUNDLED_MODEL, Casting, Character, FaceIdentity, Film, Models, Shot, ShotFaces, ShotMeasures, ShotPatches, Stem
from tasks.voices import Voiced, give_voices, stem_of
from tasks.who_is_who import tell_apart
from tests.media import Sound, write_film, write_sound
from wav2lip_core.face_crop import crop
from wav2lip_core.face_detector import open_detector

LEFT = ("s26_m/lrbi7p.mpg", "s26_m/lwajza.mpg", "s26_m/swbm3n.mpg")  # filmed, dub, picture
RIGHT = ("spkB_m/bbal2n.mpg", "spkB_m/bbar6n.mpg", "spkB_m/bbar7s.mpg")


CLEARLY = 0.05  # in the distance between lips and sound; two unrelated ones are about 1.1 to 1.2 apart
pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Scene:
    """ANNA (left) is filmed speaking, BEN (right) is filmed speaking too, but the original sound has ANNA's voice alone."""

    store: ArtifactStore
    film: Film
    shot: Shot
    faces: ShotFaces
    casting: Casting
    who: tuple[FaceIdentity, ...]
    original: Stem
    models: Models
    anna: Stem
    ben: Stem

    def dubbed(self, anna: Stem, ben: Stem) -> tuple[Voiced, ShotPatches, ShotMeasures]:
        given = give_voices(self.store, self.film, self.shot, self.faces, self.casting, self.who, {"ANNA": anna, "BEN": ben})
        known = (self.store, self.film, self.shot, self.faces, given.casting)
        patches = sync_lips(*known, anna, self.original, self.models, voices=given.voices)
        return given, patches, judge_shot(*known, patches, self.original, anna, self.models, given.voices)

    def distance(self, track_id: int, patches: ShotPatches, heard: Voiced) -> float:
        """The judge's mean distance between a face's lips and what it is heard to say, at the same moment."""
        track = self.faces.tracks[track_id]
        stem = stem_of(heard.voices, track_id, self.anna)
        scored = _scored(self.store, self.film, track, heard.casting, patches, self.original, stem, self.models, heard.voices)
        rows, weights = scored.evidence["after_rows"], scored.evidence["after_weights"]
        return float(np.average(rows[:, rows.shape[1] // 2], weights=weights))


def pictures_of(clip: Path) -> list[np.ndarray]:
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def scene(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    grid, folder = shared / "media" / "grid", tmp_path_factory.mktemp("scene")
    left, right = (pictures_of(grid / clip[0]) for clip in (LEFT, RIGHT))
    sound, rate, _ = read_audio(grid / LEFT[0])
    both = [np.concatenate(pair, axis=1) for pair in zip(left, right, strict=False)]
    path = write_film(folder / "both.mp4", both, sound=Sound(sound[:, :1], rate))
    store = ArtifactStore(folder / "work")
    film = inspect_film(store, path)
    (shot,) = split_shots(store, film)
    faces = track_faces(store, film, shot, "dlib", None)
    original, models = prepare_original(store, film, None), pin_models(get_settings().models_folder, BUNDLED_MODEL, "expert")
    assert original is not None
    anna, ben = (
        prepare_stem(store, film, later(grid / clip[1], folder / f"{delay_s}.wav", delay_s), "fr", "dialogue")
        for clip, delay_s in ((LEFT, 0.2), (RIGHT, 0.7))
    )  # fmt: skip
    looks = {(0, track.track_id): looks_of(store.load_array(track.crops)) for track in faces.tracks if track.crops is not None}
    tracks = {(0, track.track_id): track for track in faces.tracks}
    references = {name: [reference(grid / clip[2])] for name, clip in (("ANNA", LEFT), ("BEN", RIGHT))}
    who = tell_apart(tracks, looks, (Character(name="ANNA", pictures=("a",)), Character(name="BEN", pictures=("b",))), references)
    casting = cast_shot(store, film, shot, faces, original, models)
    return Scene(store, film, shot, faces, casting, tuple(who.values()), original, models, anna, ben)


def later(clip: Path, path: Path, delay_s: float) -> Path:
    """A clip's voice, heard later: sentences of this corpus are built alike, and would fit each other's lips a little."""
    sound, rate, _ = read_audio(clip)
    delay = np.zeros((round(delay_s * rate), 1), np.float32)
    return write_sound(path, Sound(np.concatenate([delay, sound[:, :1]])[: len(sound)], rate, codec="pcm_s16le"))


def reference(clip: Path) -> np.ndarray:
    picture = pictures_of(clip)[10]
    return looks_of(crop(picture, np.asarray(open_detector("dlib").detect([picture])[0][0].box, np.float32))[None])


def test_each_is_found_by_a_picture_from_another_recording(scene: Scene) -> None:
    assert [(each.track_id, each.character) for each in scene.who] == [(0, "ANNA"), (1, "BEN")]


def test_who_is_silent_in_the_original_gets_lips_too_and_the_shots_score_is_that_of_the_face_that_fits_least(scene: Scene) -> None:
    assert {span.track_id for span in scene.casting.spans} == {0}  # only ANNA is heard in the original
    _, patches, measures = scene.dubbed(scene.anna, scene.ben)
    assert {patch.track_id for patch in patches.patches} == {0, 1}
    anna, ben = sorted(measures.voices, key=lambda voice: voice.track_id)
    assert (anna.character, ben.character) == ("ANNA", "BEN")
    assert anna.before.confidence is not None
    assert ben.before.reason == "this face does not speak in the original"
    for voice in (anna, ben):
        assert voice.after.offset_frames is not None
        assert abs(voice.after.offset_frames) <= 1
    worst = min(measures.voices, key=lambda voice: voice.after.confidence or 0)
    assert (measures.track_id, measures.after) == (worst.track_id, worst.after)


def test_lips_made_from_swapped_stems_fit_the_swapped_stems_and_lips_made_from_the_right_ones_the_right_ones(scene: Scene) -> None:
    given, own, _ = scene.dubbed(scene.anna, scene.ben)
    as_swapped, swapped, _ = scene.dubbed(scene.ben, scene.anna)
    assert not {patch.patch.sha256 for patch in own.patches} & {patch.patch.sha256 for patch in swapped.patches}
    for track in (0, 1):
        assert scene.distance(track, own, given) < scene.distance(track, swapped, given) - CLEARLY
        assert scene.distance(track, swapped, as_swapped) < scene.distance(track, own, as_swapped) - CLEARLY
