"""Machines share what they have finished: found there, brought when it is needed, made again where it is missing or damaged."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from infra import remote_artifacts
from infra.artifact import object_key
from infra.artifacts import Artifact, ArtifactStore
from infra.errors import CorruptArtifactError, TransientError
from infra.storage import Storage, open_storage
from tests.swift_server import point_at

PIXELS = bytes(range(256)) * 400


class Take(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    maker: str
    picture: Artifact


@pytest.fixture(params=["folder", "s3"])
def tier(request, tmp_path) -> str:
    """Where the machines share, as the setting would say it."""
    return str(tmp_path / "shared") if request.param == "folder" else f"{request.getfixturevalue('s3_bucket')}/steps"


@pytest.fixture
def machine(tier, tmp_path):
    """machine(name) -> the store of a machine with a folder of its own."""
    remote_artifacts._sent.clear()
    return lambda name: ArtifactStore(tmp_path / name / "artifacts", tier)


def do_shot(store: ArtifactStore, maker: str = "a", data: bytes = PIXELS) -> tuple[Take, bool]:
    """The one step of these tests. Returns its record and whether it had to be made."""
    made = []

    def make() -> Take:
        made.append(1)
        return Take(maker=maker, picture=store.put_bytes(data, "application/octet-stream"))

    return store.get_or_make("sync_lips", 1, {"shot": 7}, Take, make), bool(made)


def objects_in(store: ArtifactStore) -> list[str]:
    return sorted(path.name for path in (store.root / "objects").rglob("*") if path.is_file())


def overwrite(storage: Storage, key: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(data)
    storage.put(tmp_path / "other", key)


def test_what_one_machine_made_another_finds_and_fetches_only_when_it_is_asked_for(machine):
    take, made = do_shot(machine("a"))
    assert made
    other = machine("b")
    assert do_shot(other) == (take, False)
    assert objects_in(other) == [], "a record alone is enough to know that it is done"
    assert other.path(take.picture).read_bytes() == PIXELS
    assert objects_in(other) == [take.picture.sha256]


def test_without_the_setting_nothing_leaves_the_machine(tmp_path, tier):
    store = ArtifactStore(tmp_path / "a")
    do_shot(store)
    assert not (store.root / "shared").exists()
    assert open_storage(tier).list() == []


def test_a_store_that_shares_travels_to_another_process(machine):
    store = pickle.loads(pickle.dumps(machine("a")))
    assert store == machine("a")
    assert store.remote is not None


def test_what_was_made_before_machines_shared_goes_up_when_it_is_used(machine):
    take, _ = do_shot(ArtifactStore(machine("a").root))
    assert do_shot(machine("a")) == (take, False)
    assert do_shot(machine("b")) == (take, False)


def test_artifacts_go_up_before_the_record_that_names_them(machine, tier, monkeypatch):
    order = []
    monkeypatch.setattr(remote_artifacts.RemoteTier, "offer_record", lambda *_: order.append(open_storage(tier).list("objects/")) or True)
    take, _ = do_shot(machine("a"))
    assert order == [[object_key(take.picture.sha256)]]


@pytest.mark.parametrize(
    ("tier", "harm"),
    [("folder", harm) for harm in ("record missing", "record damaged", "object missing", "object damaged", "object short")]
    + [("s3", "record damaged"), ("s3", "object short")],
    indirect=["tier"],
)
def test_what_is_missing_or_damaged_there_counts_as_absent_and_is_mended(machine, tier, tmp_path, harm):
    take, _ = do_shot(machine("a"))
    storage = open_storage(tier)
    (record,) = storage.list("records/")
    key = object_key(take.picture.sha256)
    if harm == "record missing":
        storage.delete(record)
    elif harm == "record damaged":
        overwrite(storage, record, storage.read_bytes(record).replace(b'"a"', b'"z"'), tmp_path)
    elif harm == "object missing":
        storage.delete(key)
    else:
        overwrite(storage, key, PIXELS[:-1] + (b"" if harm == "object short" else b"x"), tmp_path)
    remote_artifacts._sent.clear()
    other = machine("b")
    found, made = do_shot(other, "b")
    assert made
    assert other.path(found.picture).read_bytes() == PIXELS
    assert storage.read_bytes(key) == PIXELS
    third = machine("c")
    assert do_shot(third, "c") == (found, False)
    assert third.path(found.picture).read_bytes() == PIXELS


@pytest.mark.parametrize("tier", ["s3"], indirect=True)  # in a folder the digest is looked at before a record is believed
def test_bytes_that_turn_out_damaged_when_they_are_needed_are_given_up_and_made_again(machine, s3_bucket, swift):
    take, _ = do_shot(machine("a"))
    client, bucket, key = swift.client(), s3_bucket.removeprefix("s3://"), f"steps/{object_key(take.picture.sha256)}"
    promised = client.head_object(Bucket=bucket, Key=key)["Metadata"]
    client.put_object(Bucket=bucket, Key=key, Body=bytes(len(PIXELS)), Metadata=promised)
    other = machine("b")
    assert do_shot(other) == (take, False)
    with pytest.raises(CorruptArtifactError):
        other.path(take.picture)
    assert do_shot(other, "b")[1] is True
    assert do_shot(machine("c"), "c")[1] is False


def test_many_machines_making_the_same_thing_end_with_one_record_and_all_can_use_it(machine, tier):
    together = threading.Barrier(3)

    def work(number: int) -> Take:
        store = machine(f"m{number}")

        def make() -> Take:
            together.wait(60)
            return Take(maker=f"m{number}", picture=store.put_bytes(PIXELS, "application/octet-stream"))

        return store.get_or_make("race", 1, {}, Take, make)

    with ThreadPoolExecutor(3) as pool:
        takes = list(pool.map(work, range(3)))
    storage = open_storage(tier)
    assert len(storage.list("records/")) == len(storage.list("objects/")) == 1
    if not tier.startswith("s3:"):  # Swift decides at the start of a write, so that several may be told that they were first
        assert len({take.maker for take in takes}) == 1
    settled = machine("late").get_or_make("race", 1, {}, Take, lambda: pytest.fail("it is there"))
    assert settled in takes


def test_an_object_dropped_here_is_fetched_again(machine):
    store = machine("a")
    take, _ = do_shot(store)
    store.path(take.picture).unlink()
    assert do_shot(store) == (take, False)
    assert store.path(take.picture).read_bytes() == PIXELS


def test_a_damaged_local_object_is_set_aside_and_fetched(machine):
    store = machine("a")
    take, _ = do_shot(store)
    path = store.root / object_key(take.picture.sha256)
    path.chmod(0o644)
    path.write_bytes(bytes(len(PIXELS)))
    os.utime(path, (1, 1))
    assert store.path(take.picture).read_bytes() == PIXELS
    assert len(list((store.root / "quarantine").iterdir())) == 1


def test_when_the_shared_store_does_not_answer_nothing_is_lost_and_the_next_try_shares_it(s3_bucket, swift, monkeypatch, tmp_path):
    store = ArtifactStore(tmp_path / "a", f"{s3_bucket}/steps")
    monkeypatch.setenv("DUBFLOW_S3_MAX_ATTEMPTS", "1")

    def make() -> Take:
        point_at(monkeypatch, "http://127.0.0.1:9")  # the line goes while the step is at work
        return Take(maker="a", picture=store.put_bytes(PIXELS, "application/octet-stream"))

    with pytest.raises(TransientError):
        store.get_or_make("sync_lips", 1, {"shot": 7}, Take, make)
    point_at(monkeypatch, swift.endpoint_url)
    _, made = do_shot(store)
    assert not made
    assert do_shot(ArtifactStore(tmp_path / "b", f"{s3_bucket}/steps"))[1] is False
