"""What the first look at a film finds is what the steps find that read it again, and what it cannot find is left to them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from av.video.frame import VideoFrame

from flows.episode import first_look
from flows.episode.first_look import FirstLook, FirstSight, look_at_film
from infra import decoded_frames
from infra.artifacts import ArtifactStore
from tasks.inspect_film import inspect_film
from tasks.split_shots import CutFinder, split_shots
from tasks.track_faces import open_once, track_faces
from tasks.types import Film, Shot, ShotFaces
from tests.small_film import make_small_film

FRAMES_PER_SHOT = (14, 10, 24)
NUM_FRAMES = sum(FRAMES_PER_SHOT)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_film(tmp_path_factory.mktemp("film") / "film.mp4", None, FRAMES_PER_SHOT)


def faces_of(store: ArtifactStore, film: Film, shots: tuple[Shot, ...]) -> list[ShotFaces]:
    return [track_faces(store, film, shot, "dlib", None) for shot in shots]


@pytest.fixture(scope="module")
def step_by_step(path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Film, tuple[Shot, ...], list[ShotFaces]]:
    """The film as the steps alone see it."""
    store = ArtifactStore(tmp_path_factory.mktemp("store"))
    film = inspect_film(store, path)
    shots = split_shots(store, film)
    return film, shots, faces_of(store, film, shots)


def num_decoded(path: Path) -> int:
    return decoded_frames.counts().get(str(path), 0)


def test_one_decoding_gives_all_that_the_steps_find_in_many(path, step_by_step, tmp_path):
    store, before = ArtifactStore(tmp_path), num_decoded(path)
    sight = look_at_film(store, path, "dlib", None, 2)
    film, shots = sight.film, split_shots(store, sight.film)
    assert list(sight.faces.values()) == step_by_step[2]
    assert (film, shots, faces_of(store, film, shots)) == step_by_step
    assert num_decoded(path) - before == NUM_FRAMES
    assert [shot.num_frames for shot in shots] == list(FRAMES_PER_SHOT)


def test_a_film_seen_before_is_not_decoded_again(path, tmp_path):
    store = ArtifactStore(tmp_path)
    film = look_at_film(store, path, "dlib", None, 1).film
    before = num_decoded(path)
    assert look_at_film(store, path, "dlib", None, 1) == FirstSight(film)
    assert num_decoded(path) == before


def test_episodes_that_look_at_one_film_at_once_see_it_once(path, step_by_step, tmp_path):
    store, before = ArtifactStore(tmp_path), num_decoded(path)
    both_here = threading.Barrier(2)

    def look() -> tuple[Film, tuple[Shot, ...]]:
        both_here.wait(60)
        film = look_at_film(store, path, "dlib", None, 1).film
        return film, split_shots(store, film)

    with ThreadPoolExecutor(2) as pool:
        seen = [future.result() for future in [pool.submit(look) for _ in range(2)]]
    assert seen == [step_by_step[:2]] * 2
    assert num_decoded(path) - before == NUM_FRAMES
    assert (store.counts()["inspect_film"], store.counts()["split_shots"]) == ((1, 1), (1, 2))


def test_networks_are_loaded_once_and_only_where_frames_are_decoded(path, step_by_step, tmp_path):
    store, loads = ArtifactStore(tmp_path), []

    def load() -> None:
        loads.append(path)
        raise OSError("no such weights")  # the step that needs them will say so

    assert look_at_film(store, path, "dlib", None, 1, load).film == step_by_step[0]
    assert len(loads) == 1
    look_at_film(store, path, "dlib", None, 1, load)
    assert len(loads) == 1  # everything was known: nothing is loaded in vain


def test_a_shot_that_memory_has_no_room_for_is_left_to_its_step(path, step_by_step, tmp_path):
    store = ArtifactStore(tmp_path)
    with FirstLook(store, open_once("dlib", None), 1, held_bytes=1 << 20) as look:  # nine frames
        film = inspect_film(store, path, look)
        seen = look.keep(film)
    assert seen == {2: step_by_step[2][2]}  # of the others, frames had to go before their end was known
    assert store.counts()["track_faces"] == (1, 0)
    shots = split_shots(store, film)
    assert (film, shots, faces_of(store, film, shots)) == step_by_step


def test_frames_are_read_no_further_ahead_of_the_faces_than_one_shot(tmp_path, monkeypatch):
    path = make_small_film(tmp_path / "film.mp4", None, (14, 10, 12, 14, 10, 12))
    find = first_look.follow_faces
    monkeypatch.setattr(first_look, "follow_faces", lambda *how: (time.sleep(0.2), find(*how))[1])
    waiting = []

    class Watched(FirstLook):
        def see(self, frame: VideoFrame) -> None:
            super().see(frame)
            waiting.append(len(self._under_way))

    with Watched(ArtifactStore(tmp_path / "store"), open_once("dlib", None), 1) as look:
        inspect_film(look._store, path, look)
    assert max(waiting) == 2  # one whose faces are looked for, and the next


@pytest.mark.parametrize("told", [[], [3]], ids=["none", "a wrong one"])
def test_cuts_that_are_told_late_or_wrongly_change_nothing(path, step_by_step, tmp_path, monkeypatch, told):
    settled = CutFinder.settled
    monkeypatch.setattr(CutFinder, "settled", lambda finder: told if settled(finder) == [14] else [])
    store = ArtifactStore(tmp_path)
    film = look_at_film(store, path, "dlib", None, 1).film
    shots = split_shots(store, film)
    assert (film, shots, faces_of(store, film, shots)) == step_by_step
