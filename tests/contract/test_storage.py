"""One contract for every storage: a folder, and a real S3 server (OpenStack Swift)."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.storage import Storage, fetch, open_storage

MIB = 1 << 20


@pytest.fixture(params=["folder", "s3"])
def root(request, tmp_path) -> str:
    """Where the storage lies, as the user would write it."""
    if request.param == "folder":
        return str(tmp_path / "storage")
    return f"{request.getfixturevalue('s3_bucket')}/a prefix"


@pytest.fixture
def storage(root) -> Storage:
    return open_storage(root)


@pytest.fixture
def write(tmp_path):
    """write(data) -> a local file that holds it."""
    folder = tmp_path / "local"
    folder.mkdir()

    def write_file(data: bytes, name: str = "file") -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write_file


@pytest.mark.parametrize("num_bytes", [0, 1, 100_000, 17 * MIB + 1])
def test_what_was_put_comes_back_byte_for_byte(storage, write, tmp_path, num_bytes):
    data = os.urandom(num_bytes)
    storage.put(write(data), "fr/ep1.fr.mp4")
    storage.get("fr/ep1.fr.mp4", tmp_path / "new folder" / "back.mp4")
    assert (tmp_path / "new folder" / "back.mp4").read_bytes() == data
    assert storage.read_bytes("fr/ep1.fr.mp4") == data
    assert storage.size("fr/ep1.fr.mp4") == num_bytes
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["back.mp4"]


def test_the_local_file_stays_where_it_was(storage, write):
    path = write(b"mine")
    storage.put(path, "a")
    storage.put_if_absent(path, "b")
    assert path.read_bytes() == b"mine"


def test_put_replaces(storage, write):
    storage.put(write(b"old and longer"), "report.html")
    storage.put(write(b"new"), "report.html")
    assert storage.read_bytes("report.html") == b"new"
    assert storage.list() == ["report.html"]


@pytest.mark.parametrize("num_bytes", [10, 16 * MIB + 5])
def test_put_if_absent_keeps_what_is_there(storage, write, num_bytes):
    first, second = os.urandom(num_bytes), os.urandom(num_bytes)
    assert storage.put_if_absent(write(first), "record.json") is True
    assert storage.put_if_absent(write(second), "record.json") is False
    assert storage.put_if_absent(write(b"short"), "record.json") is False
    assert storage.put_if_absent(write(first), "record.json") is True, "the same bytes again: they are there, which is what was asked for"
    assert storage.read_bytes("record.json") == first


def race(storage: Storage, write, num: int) -> tuple[list[bytes], list[bool]]:
    """`num` writers of different bytes start put_if_absent("winner") together."""
    data = [bytes([65 + number]) * 50_000 for number in range(num)]
    paths = [write(content, f"file{number}") for number, content in enumerate(data)]
    together = threading.Barrier(num)

    def put(path: Path) -> bool:
        together.wait(30)
        return storage.put_if_absent(path, "winner")

    with ThreadPoolExecutor(num) as pool:
        return data, list(pool.map(put, paths))


def test_of_many_at_once_one_stays_whole_and_was_told_so(storage, write):
    data, told = race(storage, write, 6)
    assert told[data.index(storage.read_bytes("winner"))] is True
    assert storage.list() == ["winner"]


def test_of_many_at_once_exactly_one_wins_in_a_folder(tmp_path, write):
    """Not so in Swift: it looks for an earlier object when a write begins, not when it ends."""
    for number in range(20):
        _, told = race(open_storage(tmp_path / "storage" / str(number)), write, 6)
        assert sum(told) == 1


def test_listing_is_sorted_and_by_prefix(storage, write):
    for key in ("fr/ep1.mp4", "report.html", "fr/sub/x", "de/ep1.mp4", "fro/other"):
        storage.put(write(b"x"), key)
    assert storage.list() == ["de/ep1.mp4", "fr/ep1.mp4", "fr/sub/x", "fro/other", "report.html"]
    assert storage.list("fr/") == ["fr/ep1.mp4", "fr/sub/x"]
    assert storage.list("fr") == ["fr/ep1.mp4", "fr/sub/x", "fro/other"]
    assert storage.list("nothing") == []


def test_a_neighbour_whose_name_begins_alike_is_not_seen(root, write):
    open_storage(f"{root}/ep1").put(write(b"one"), "a")
    open_storage(f"{root}/ep10").put(write(b"ten"), "b")
    assert open_storage(f"{root}/ep1").list() == ["a"]
    assert open_storage(root).list() == ["ep1/a", "ep10/b"]


def test_delete_removes_and_may_be_repeated(storage, write):
    storage.put(write(b"x"), "a/b")
    assert storage.exists("a/b")
    storage.delete("a/b")
    storage.delete("a/b")
    assert not storage.exists("a/b")
    assert storage.list() == []


def test_a_folder_of_keys_is_not_a_key(storage, write):
    storage.put(write(b"x"), "fr/ep1.mp4")
    assert not storage.exists("fr")
    assert not storage.exists("fr/ep1.mp4/deeper")


@pytest.mark.parametrize("ask", ["get", "read_bytes", "size"])
def test_a_missing_key_is_named_and_nothing_is_left_behind(storage, write, tmp_path, ask):
    target = tmp_path / "target"
    target.mkdir()
    (target / "back").write_bytes(b"what I had")
    storage.put(write(b"x"), "there")
    arguments = (target / "back",) if ask == "get" else ()
    with pytest.raises(InputError) as caught:
        getattr(storage, ask)("not/there", *arguments)
    assert storage.describe("not/there") in str(caught.value)
    assert [(path.name, path.read_bytes()) for path in target.iterdir()] == [("back", b"what I had")]


@pytest.mark.parametrize(
    "key", ["épisode 1/été.mp4", "100%/a+b&c=d.mp4", "what?#is:this;.html", "日本語", "a b  c ", ".hidden", "-rf", "%2e%2e/x", "...", "a/..b"]
)
def test_odd_but_honest_names_work(storage, write, tmp_path, key):
    storage.put(write(key.encode()), key)
    assert storage.list() == [key]
    assert storage.exists(key)
    storage.get(key, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == key.encode()
    storage.delete(key)
    assert storage.list() == []


def test_a_storage_travels_to_another_process(storage, write):
    storage.put(write(b"x"), "a")
    assert pickle.loads(pickle.dumps(storage)).read_bytes("a") == b"x"


def test_fetch_gives_a_local_file_with_the_same_bytes(storage, root, write, tmp_path):
    storage.put(write(b"a film"), "in/film.mp4")
    local = fetch(f"{root}/in/film.mp4", tmp_path / "inputs")
    assert local.is_absolute()
    assert local.suffix == ".mp4"
    assert local.read_bytes() == b"a film"


def test_a_local_input_is_used_where_it_lies(write, tmp_path, monkeypatch):
    path = write(b"x", "film #1.mp4")
    monkeypatch.chdir(path.parent)
    for given in (path, str(path), "film #1.mp4", f"file://{path.parent}/film%20%231.mp4", f"file://localhost{path.parent}/film%20%231.mp4"):
        assert fetch(given, tmp_path / "inputs") == path
    assert not (tmp_path / "inputs").exists()


def test_an_s3_input_is_fetched_once_per_version(s3_bucket, write, tmp_path):
    storage = open_storage(s3_bucket)
    storage.put(write(b"first"), "film.mp4")
    first = fetch(f"{s3_bucket}/film.mp4", tmp_path)
    arrived = first.stat().st_mtime_ns
    assert fetch(f"{s3_bucket}/film.mp4", tmp_path) == first
    assert first.stat().st_mtime_ns == arrived
    storage.put(write(b"second"), "film.mp4")
    second = fetch(f"{s3_bucket}/film.mp4", tmp_path)
    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"second")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {first.name, second.name}


def test_an_object_that_somebody_else_uploaded_is_readable(s3_bucket, swift, write, tmp_path):
    swift.client().put_object(Bucket=s3_bucket.removeprefix("s3://"), Key="theirs.wav", Body=b"no digest of ours")
    storage = open_storage(s3_bucket)
    storage.get("theirs.wav", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"no digest of ours"
    assert storage.put_if_absent(write(b"no digest of ours"), "theirs.wav") is True
    assert storage.put_if_absent(write(b"no digest of mine"), "theirs.wav") is False


def test_the_digest_and_the_media_type_travel_with_the_object(s3_bucket, swift, write):
    open_storage(s3_bucket).put(write(b"hello"), "report.html")
    head = swift.client().head_object(Bucket=s3_bucket.removeprefix("s3://"), Key="report.html")
    assert head["Metadata"]["sha256"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert head["ContentType"] == "text/html"


def test_a_finished_upload_leaves_no_loose_parts(s3_bucket, swift, write):
    storage = open_storage(s3_bucket)
    storage.put(write(os.urandom(17 * MIB)), "big")
    storage.put_if_absent(write(os.urandom(17 * MIB)), "big too")
    assert "Uploads" not in swift.client().list_multipart_uploads(Bucket=s3_bucket.removeprefix("s3://"))
