"""The one cache: equal bytes are kept once, equal work is done once, and a key depends on nothing but what was asked."""

import ast
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from infra.array_rows import ArrayRows
from infra.artifacts import Artifact, ArtifactStore, artifacts_of
from infra.record_keys import canonical_json, record_key
from tasks.types import Casting, Film, SpeakingSpan

REPOSITORY = Path(__file__).parents[2]


class Take(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    picture: Artifact | None = None
    more: tuple[Artifact, ...] = ()
    score: float = 0.0


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_bytes_come_back_and_are_kept_once(store):
    first, second = store.put_bytes(b"hello", "text/plain"), store.put_bytes(b"hello", "text/plain")
    assert first == second
    assert store.path(first).read_bytes() == b"hello"
    assert first.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert len(files_under(store.root / "objects")) == 1


def test_a_file_is_moved_in_and_nothing_else_is_left(store):
    with store.scratch() as scratch:
        (scratch / "take.mkv").write_bytes(b"x" * 100_000)
        artifact = store.put_file(scratch / "take.mkv", "video/x-matroska")
        assert not (scratch / "take.mkv").exists()
        (scratch / "again.mkv").write_bytes(b"x" * 100_000)
        assert store.put_file(scratch / "again.mkv", "video/x-matroska") == artifact
        assert not (scratch / "again.mkv").exists()
    assert store.path(artifact).stat().st_size == artifact.num_bytes == 100_000
    assert files_under(store.root) == [store.path(artifact)]


@pytest.mark.skipif(not Path("/dev/shm").is_dir() or not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_a_file_on_another_disk_is_moved_in_too(store):
    source = Path("/dev/shm") / f"dubflow-test-{os.getpid()}"
    source.write_bytes(b"far away")
    store.root.mkdir()
    if source.stat().st_dev == store.root.stat().st_dev:
        source.unlink()
        pytest.skip("/dev/shm and the temporary folder are one file system")
    artifact = store.put_file(source, "text/plain")
    assert store.path(artifact).read_bytes() == b"far away"
    assert not source.exists()
    assert files_under(store.root) == [store.path(artifact)]


def test_a_link_is_not_taken_in_for_what_it_points_to(store, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"the user's film")
    (tmp_path / "link").symlink_to(tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="regular file"):
        store.put_file(tmp_path / "link", "video/mp4")
    assert (tmp_path / "film.mp4").read_bytes() == b"the user's film"


def test_stored_bytes_are_read_only(store):
    assert store.path(store.put_bytes(b"x", "text/plain")).stat().st_mode & 0o222 == 0


def test_arrays_come_back_with_dtype_and_shape_and_equal_arrays_are_one_artifact(store):
    arrays = {"pts": np.arange(5, dtype=np.int64), "faces": np.zeros((0, 96, 96, 3), np.uint8), "score": np.float32(2.5)}
    artifact = store.put_arrays(**arrays)
    loaded = store.load_arrays(artifact)
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array, strict=isinstance(array, np.ndarray))
    assert store.put_arrays(**dict(reversed(arrays.items()))) == artifact


def test_one_array_is_mapped_rather_than_read(store):
    array = np.random.default_rng(0).integers(0, 255, (7, 8, 3), dtype=np.uint8)
    for given_array in (array, np.asfortranarray(array), np.zeros((0, 4), np.float32), np.array(5.0)):
        np.testing.assert_array_equal(store.load_array(store.put_array(given_array)), given_array, strict=True)
    mapped = store.load_array(store.put_array(array))
    assert isinstance(mapped, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 0


def test_object_arrays_are_refused_both_ways(store, tmp_path):
    with pytest.raises(TypeError, match="bad"):
        store.put_arrays(good=np.zeros(3), bad=np.array([{}], dtype=object))
    with pytest.raises(TypeError):
        store.put_array(np.array([{}], dtype=object))
    np.savez(tmp_path / "bomb.npz", bomb=np.array([{}], dtype=object))
    artifact = store.put_file(tmp_path / "bomb.npz", "application/x-npz")
    with pytest.raises(ValueError, match="allow_pickle"):
        store.load_arrays(artifact)


def test_equal_work_is_done_once_and_the_log_says_so(store, caplog):
    caplog.set_level(logging.INFO)
    made = []

    def make() -> Take:
        made.append(1)
        return Take(name="a", picture=store.put_bytes(b"pixels", "image/png"), score=0.1 + 0.2)

    first = store.get_or_make("sync_lips", 1, {"shot": 3}, Take, make)
    again = pickle.loads(pickle.dumps(store)).get_or_make("sync_lips", 1, {"shot": 3}, Take, make)
    assert (first, len(made)) == (again, 1)
    key = record_key("sync_lips", 1, {"shot": 3})[:12]
    assert [line.split(" in ")[0] for line in caplog.messages] == [f"made sync_lips {key}", f"reused sync_lips {key}"]
    assert store.counts() == {"sync_lips": (1, 1)}


@pytest.mark.parametrize(
    ("step", "version", "inputs"), [("sync_lips", 1, {"shot": 4}), ("sync_lips", 2, {"shot": 3}), ("judge_shot", 1, {"shot": 3})]
)
def test_another_input_version_or_step_is_other_work(store, step, version, inputs):
    store.get_or_make("sync_lips", 1, {"shot": 3}, Take, lambda: Take(name="old"))
    assert store.get_or_make(step, version, inputs, Take, lambda: Take(name="new")).name == "new"


def test_a_failed_step_stores_nothing_and_is_tried_again(store):
    def fail() -> Take:
        raise RuntimeError("no such luck")

    with pytest.raises(RuntimeError, match="luck"):
        store.get_or_make("sync_lips", 1, {}, Take, fail)
    assert files_under(store.root) == []
    assert store.get_or_make("sync_lips", 1, {}, Take, lambda: Take(name="b")).name == "b"


def test_a_record_with_nan_or_of_another_type_is_our_mistake_and_is_not_stored(store):
    with pytest.raises(ValueError, match="nan"):
        store.get_or_make("sync_lips", 1, {}, Take, lambda: Take(name="a", score=float("nan")))
    with pytest.raises(TypeError, match="Casting"):
        store.get_or_make("sync_lips", 1, {}, Take, lambda: Casting(shot_index=1, evidence="x"))
    assert files_under(store.root) == []


def test_makers_racing_for_one_key_all_get_the_same_record(store):
    together = threading.Barrier(8)

    def work(number: int) -> Take:
        def make() -> Take:
            together.wait(30)
            return Take(name=f"maker {number}")

        return store.get_or_make("race", 1, {}, Take, make)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    settled = store.get_or_make("race", 1, {}, Take, lambda: pytest.fail("it is stored"))
    assert settled.name.startswith("maker ")
    assert len(files_under(store.root)) == 1


def test_a_real_record_with_fractions_and_number_keys_survives(store):
    timing = store.put_arrays(pts=np.arange(3))
    film = Film(
        path="/film.mp4", sha256="0" * 64, timing=timing, time_base=Fraction(1, 24000), fps=Fraction(24000, 1001), num_frames=3, width=64, height=48,
        pixel_format="yuv420p", video_codec="h264",
    )  # fmt: skip
    casting = Casting(shot_index=0, spans=(SpeakingSpan(track_id=1, first_frame=0, end_frame=3),), evidence="one face", margins={1: 0.25, 0: -0.5})
    for step, record in (("inspect_film", film), ("choose_speaker", casting)):
        store.get_or_make(step, 1, {}, type(record), lambda record=record: record)
        assert store.get_or_make(step, 1, {}, type(record), lambda: pytest.fail("it is stored")) == record


def test_every_artifact_of_a_record_is_found(store):
    one, two, three = (store.put_bytes(text, "text/plain") for text in (b"1", b"2", b"3"))
    assert list(artifacts_of(Take(name="x", picture=one, more=(two, three)))) == [one, two, three]
    assert list(artifacts_of({"a": [Take(name="x", picture=two)], "b": 3})) == [two]


def test_a_key_is_the_same_in_another_process_with_another_hash_seed():
    code = "from infra.record_keys import *\nprint(record_key('a', 1, {'z': Fraction(24000, 1001), 'a': ['é', 1.5, None]}))"
    keys = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code]
        answer = subprocess.run(command, env={"PYTHONHASHSEED": seed}, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
        keys.add(answer.stdout.strip())
    assert keys == {record_key("a", 1, {"a": ("é", 1.5, None), "z": Fraction(24000, 1001)})}


@pytest.mark.parametrize("value", [{"a": {1, 2}}, {"a": Path("/film.mp4")}, {"a": b"bytes"}, {"a": np.int64(3)}, {1: "a"}, {"a": object()}])
def test_what_has_no_one_json_form_cannot_be_an_input(value):
    with pytest.raises(TypeError):
        record_key("step", 1, value)


@pytest.mark.parametrize("step", ["", "../x", "a/b", "A", "a b", "a" * 65])
def test_a_step_name_cannot_leave_its_folder(store, step):
    with pytest.raises(ValueError, match="must match"):
        store.get_or_make(step, 1, {}, Take, lambda: Take(name="a"))


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_json_values, _json_values)
def test_different_values_have_different_texts_and_equal_ones_the_same(left, right):
    assert json.loads(canonical_json(left)) == left
    if repr(left) == repr(right):
        assert canonical_json(left) == canonical_json(right)
    if canonical_json(left) == canonical_json(right):
        assert left == right


def test_scratch_is_fresh_on_the_same_disk_and_gone_afterwards(store):
    with store.scratch() as one, store.scratch() as two:
        assert one != two
        assert one.is_dir()
        assert one.stat().st_dev == store.root.stat().st_dev
        (one / "deep" / "er").mkdir(parents=True)
    assert not one.exists()
    with pytest.raises(RuntimeError, match="inside"), store.scratch() as three:
        raise RuntimeError("inside")
    assert not three.exists()


@pytest.mark.parametrize("times", [1, 4])
def test_arrays_are_read_again_where_pythons_threads_got_mixed_up_over_their_headers(tmp_path, monkeypatch, times: int) -> None:
    """CPython 3.11 raises SystemError when two threads build syntax trees at once, as numpy does of every header."""
    store = ArtifactStore(tmp_path)
    many, one = store.put_arrays(faces=np.arange(6).reshape(2, 3)), store.put_array(np.arange(4.0))
    real, num_left = ast.literal_eval, [0]

    def mixed_up(text):
        num_left[0] -= 1
        if num_left[0] >= 0:
            raise SystemError("AST constructor recursion depth mismatch (before=54, after=51)")
        return real(text)

    monkeypatch.setattr(ast, "literal_eval", mixed_up)
    for read in (lambda: store.load_arrays(many)["faces"], lambda: store.load_array(one), lambda: ArrayRows(store.path(many), "faces")[1]):
        num_left[0] = times
        assert read().size in (3, 4, 6)
        assert num_left[0] < 0  # it did come to that
