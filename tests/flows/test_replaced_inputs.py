"""A film or a dub that is replaced while a run is on ends it soon, with a message; nothing made from the wrong bytes is published or kept."""

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.run import progress, source_watch
from flows.run.source_watch import SourceWatch
from flows.runners.step_runs import TallyStore
from infra.artifacts import Artifact, ArtifactStore
from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.file_state import refuse_changed, state_of
from infra.storage import open_storage
from tests.flows.test_dub_episode import request_for
from tests.small_film import DURATION_S, make_small_film, make_track, make_voice


@dataclass
class Replacer:
    """Puts another file in the place of `path` when a call of this stage has ended."""

    stage: str
    path: Path
    other: Path
    ended: Counter = field(default_factory=Counter)

    def hear(self, event: progress.Event) -> None:
        if isinstance(event, progress.Ended):
            self.ended[event.stage] += 1
            if event.stage == self.stage and self.ended[event.stage] == 1:
                shutil.copy(self.other, self.path)


@pytest.mark.usefixtures("settings_of_test")
@pytest.mark.parametrize("what", ["film", "dub"])
def test_the_run_ends_soon_after_and_the_right_file_can_be_dubbed_as_if_nothing_had_been(small, tmp_path, what):
    from flows.dub_episode import dub_episode

    film, dub = shutil.copy(small.film, tmp_path / "film.mp4"), shutil.copy(small.dub, tmp_path / "dub.wav")
    other = {
        "film": lambda: make_small_film(tmp_path / "other.mp4", make_voice(DURATION_S), (16, 20, 16)),
        "dub": lambda: make_track(tmp_path / "other.wav", pitch_hz=240.0),
    }[what]()
    path = {"film": film, "dub": dub}[what]
    request = request_for(small, tmp_path / "out", film=str(film), audio={"fr": str(dub)}, work=str(tmp_path / "work"), num_workers=1)
    replacer = Replacer("shots", Path(path), other)
    with progress.listening(replacer), pytest.raises(InputError, match=f"{path} was changed or removed while .* nothing was published"):
        dub_episode(request)
    assert replacer.ended["reels"] == 0
    assert not (tmp_path / "out").exists()

    shutil.copy({"film": small.film, "dub": small.dub}[what], path)
    again = dub_episode(request)
    assert again.steps["inspect_film"].made == 0
    expected = dub_episode(request_for(small, tmp_path / "undisturbed"))
    assert again.episodes[0].sha256 == expected.episodes[0].sha256


@pytest.mark.usefixtures("settings_of_test")
def test_once_publishing_has_begun_the_episode_is_published_whole_whatever_becomes_of_the_film(small, tmp_path):
    from flows.dub_episode import dub_episode

    film = Path(shutil.copy(small.film, tmp_path / "film.mp4"))
    other = tmp_path / "other"
    other.write_bytes(b"another film")
    request = request_for(small, tmp_path / "out", film=str(film), work=str(tmp_path / "work"))
    replacer = Replacer("publish", film, other)
    with progress.listening(replacer):
        result = dub_episode(request)
    assert replacer.ended["manifest"] == 1
    assert all(Path(path).is_file() for path in (*result.outputs.values(), result.report, result.manifest))


class SomeFilm:
    def __init__(self, path: Path) -> None:
        self.path, self.state, self.sha256 = str(path), state_of(path), sha256_of_file(path)


def test_a_file_replaced_just_after_a_look_is_noticed_where_the_next_stage_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(source_watch, "LOOK_S", 3600.0)
    film = tmp_path / "film"
    film.write_bytes(b"right")
    watch = SourceWatch(files={str(film): (sha256_of_file(film), state_of(film))})
    watch.check()
    film.write_bytes(b"wrong")
    watch.check()  # it has just looked: after a call, that is soon enough
    with pytest.raises(InputError, match="was changed or removed"):
        watch.check_files()


def test_what_was_made_while_the_film_was_replaced_is_not_kept_under_its_name(tmp_path):
    film = tmp_path / "film"
    film.write_bytes(b"right")
    store = TallyStore.of(ArtifactStore(tmp_path / "store"), "faces", SomeFilm(film))  # pyright: ignore[reportArgumentType]

    def make(data: bytes, then: bytes | None, error: Exception | None = None) -> Artifact:
        if then is not None:
            film.write_bytes(then)
        if error is not None:
            raise error
        return store.put_bytes(data, "text/plain")

    for error in (None, ValueError("frame 7 is missing")):
        film.write_bytes(b"right")
        with pytest.raises(InputError, match="was changed or removed"):
            store.get_or_make("faces", 1, {}, Artifact, lambda error=error: make(b"wrong faces", b"wrong", error))
    film.write_bytes(b"right")  # it is back, at another time and place on the disk
    assert store.path(store.get_or_make("faces", 1, {}, Artifact, lambda: make(b"faces", None))).read_bytes() == b"faces"
    with pytest.raises(ValueError, match="frame 7"):
        store.get_or_make("faces", 2, {}, Artifact, lambda: make(b"", None, ValueError("frame 7 is missing")))


def test_a_file_that_was_only_touched_or_copied_over_with_the_same_bytes_is_the_same(tmp_path):
    film = tmp_path / "film"
    film.write_bytes(b"right")
    sha256, state = sha256_of_file(film), state_of(film)
    film.touch()
    refuse_changed(film, sha256, state)
    film.unlink()
    with pytest.raises(InputError, match="changed or removed"):
        refuse_changed(film, sha256, state)
    film.write_bytes(b"right")
    refuse_changed(film, sha256, state)


def test_an_object_in_a_bucket_that_is_replaced_is_noticed(s3_bucket, tmp_path, monkeypatch):
    storage, file = open_storage(s3_bucket), tmp_path / "film.mp4"
    file.write_bytes(b"right")
    storage.put(file, "film.mp4")
    watch = SourceWatch.of(f"{s3_bucket}/film.mp4", str(file))
    watch.check()
    file.write_bytes(b"wrong")
    storage.put(file, "film.mp4")
    with pytest.raises(InputError, match=f"{s3_bucket}/film.mp4 was changed or removed"):
        watch.check_objects()
    storage.delete("film.mp4")
    with pytest.raises(InputError, match="changed or removed"):
        watch.check_objects()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody:here")
    from infra.s3_client import forget_clients

    forget_clients()
    watch.check_objects()  # a store that does not answer says nothing about the film
