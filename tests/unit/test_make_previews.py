"""What a reviewer sees of a shot: every frame of it and no other, with the right sound at the right moment, before and after the same moments."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from infra.artifacts import ArtifactStore
from infra.sound import read_audio
from tasks.inspect_film import inspect_film
from tasks.make_previews import make_preview
from tasks.prepare_stem import prepare_original, prepare_stem
from tasks.small_pictures import preview_size
from tasks.types import Clip, Film, LipPatch, Shot, Stem
from tests.film_clips import make_vfr_picture
from tests.media import Sound, beep_starts, beeps, numbered_pictures, read_number, write_film, write_sound

NUM_FRAMES = 120
SHOT = Shot(index=3, first_frame=31, end_frame=84)
ORIGINAL_BEEPS, DUB_BEEPS = (0.6, 2.0, 3.2), (0.2, 1.7, 2.6)
TOLERANCE_S = 0.012


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def film(store: ArtifactStore) -> Film:
    pictures = numbered_pictures(NUM_FRAMES, 320, 192)
    path = write_film(store.root / "film.mp4", pictures, sound=Sound(beeps(4.8, ORIGINAL_BEEPS)))
    return inspect_film(store, str(path))


@pytest.fixture(scope="module")
def original(store: ArtifactStore, film: Film) -> Stem:
    stem = prepare_original(store, film, None)
    assert stem is not None
    return stem


@pytest.fixture(scope="module")
def dub(store: ArtifactStore, film: Film) -> Stem:
    track = write_sound(store.root / "dub.wav", Sound(beeps(4.8, DUB_BEEPS), codec="pcm_s16le"))
    return prepare_stem(store, film, str(track), "fr", "dialogue")


def a_patch(store: ArtifactStore, first: int, end: int) -> LipPatch:
    """Faces of coarse noise in the lower half of the picture, unlike anything in the film."""
    boxes = np.tile(np.array([100, 70, 180, 180], np.float32), (end - first, 1))
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    faces = np.tile(np.kron(noise, np.ones((8, 8, 1), np.uint8)), (end - first, 1, 1, 1))
    artifact = store.put_arrays(boxes=boxes, faces=faces)
    return LipPatch(shot_index=3, language="fr", track_id=0, first_frame=first, end_frame=end, patch=artifact, model_sha256="0" * 64)


def pictures_of(store: ArtifactStore, clip: Clip) -> list[np.ndarray]:
    with av.open(str(store.path(clip.video))) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def beeps_of(store: ArtifactStore, clip: Clip) -> list[float]:
    samples, rate, start_s = read_audio(store.path(clip.video))
    return [start_s + start for start in beep_starts(samples[:, 0], rate)]


def heard(in_film: tuple[float, ...]) -> list[float]:
    start_s, end_s = SHOT.first_frame / 25, SHOT.end_frame / 25
    return [time - start_s for time in in_film if start_s <= time < end_s]


def test_both_clips_hold_every_frame_of_the_shot_in_order_and_no_other(store, film, original, dub):
    preview = make_preview(store, film, SHOT, (), original, dub)
    for clip in (preview.before, preview.after):
        numbers = [read_number(picture) for picture in pictures_of(store, clip)]
        assert numbers == list(range(SHOT.first_frame, SHOT.end_frame))
        assert clip.num_frames == len(numbers)


def test_a_shot_rendered_in_pieces_has_one_preview_of_all_its_frames(store, film, original, dub):
    whole = make_preview(store, film, SHOT, (a_patch(store, 50, 70),), original, dub)
    pieces = ((31, 49), (49, 66), (66, 84))
    preview = make_preview(store, film, SHOT, (a_patch(store, 50, 70),), original, dub, pieces)
    for clip, uncut in ((preview.before, whole.before), (preview.after, whole.after)):
        pictures = pictures_of(store, clip)
        assert [read_number(picture) for picture in pictures] == list(range(SHOT.first_frame, SHOT.end_frame))
        differences = [np.abs(a.astype(int) - b).mean() for a, b in zip(pictures, pictures_of(store, uncut), strict=True)]
        assert max(differences) < 3
        with av.open(str(store.path(clip.video))) as container:
            assert [round(frame.time * 25) for frame in container.decode(video=0)] == list(range(SHOT.num_frames))


def test_before_sounds_like_the_original_and_after_like_the_dub_each_at_its_moment(store, film, original, dub):
    preview = make_preview(store, film, SHOT, (), original, dub)
    assert beeps_of(store, preview.before) == pytest.approx(heard(ORIGINAL_BEEPS), abs=TOLERANCE_S)
    assert beeps_of(store, preview.after) == pytest.approx(heard(DUB_BEEPS), abs=TOLERANCE_S)


def test_a_film_without_sound_has_a_silent_before(store, film, dub):
    with av.open(str(store.path(make_preview(store, film, SHOT, (), None, dub).before.video))) as container:
        assert not container.streams.audio


def test_the_patch_is_in_the_after_alone_and_in_its_frames_alone(store, film, original, dub):
    preview = make_preview(store, film, SHOT, (a_patch(store, 40, 60),), original, dub)
    before, after = pictures_of(store, preview.before), pictures_of(store, preview.after)
    mouth = (slice(130, 150), slice(130, 150))
    changes = [float(np.abs(a[mouth].astype(int) - b[mouth].astype(int)).mean()) for b, a in zip(before, after, strict=True)]
    changed = [SHOT.first_frame + n for n, change in enumerate(changes) if change > 12]
    assert changed == list(range(40, 60))


def test_the_zoom_knows_where_the_mouth_is_and_only_where_there_is_a_patch(store, film, original, dub):
    path = make_preview(store, film, SHOT, (a_patch(store, 40, 60),), original, dub).mouth
    assert [point.frame for point in path] == [9, 19]
    assert path[0].x == pytest.approx(140 / 320, abs=1e-3)
    assert 70 / 192 < path[0].y < 180 / 192
    assert make_preview(store, film, SHOT, (), original, dub).mouth == ()


def test_the_before_is_made_once_for_all_languages_and_takes(store, film, original, dub):
    make_preview(store, film, SHOT, (), original, dub)
    made, _ = store.counts()["make_clip"]
    first = make_preview(store, film, SHOT, (a_patch(store, 40, 60),), original, dub)
    second = make_preview(store, film, SHOT, (a_patch(store, 41, 60),), original, dub)
    assert first.before == second.before
    assert first.after != second.after
    assert make_preview(store, film, SHOT, (a_patch(store, 40, 60),), original, dub) == first
    assert store.counts()["make_clip"][0] - made <= 2


def test_a_variable_rate_is_kept(store, tmp_path: Path, dub):
    film = inspect_film(store, str(make_vfr_picture(tmp_path / "vfr.mp4")))
    assert film.is_vfr
    shot = Shot(index=0, first_frame=10, end_frame=50)
    clip = make_preview(store, film, shot, (), None, dub).after
    with av.open(str(store.path(clip.video))) as container:
        times = [frame.time for frame in container.decode(video=0)]
    pts = store.load_arrays(film.timing)["pts"][10:50]
    assert times == pytest.approx((pts - pts[0]) * float(film.time_base), abs=0.001)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"width": 1920, "height": 1080}, (854, 480)),
        ({"width": 320, "height": 192}, (320, 192)),
        ({"width": 1080, "height": 1920, "rotation_degrees": 90}, (270, 480)),
        ({"width": 720, "height": 576, "sample_aspect_ratio": Fraction(64, 45)}, (854, 480)),
        ({"width": 97, "height": 65}, (96, 64)),
    ],
)
def test_a_preview_is_small_even_and_has_square_pixels(film, fields, size):
    assert preview_size(film.model_copy(update=fields)) == size
