"""The store of a run is marked as in use, and its disk is kept below the limit that the settings name."""

import os
import time

import pytest
from pydantic import BaseModel, ConfigDict

from flows.run.work_store import pin_episode, work_store
from infra.artifact import object_key
from infra.artifacts import Artifact
from infra.errors import InputError
from infra.folder_storage import FolderStorage
from infra.live_runs import live_runs
from infra.settings import get_settings
from infra.storage import open_storage
from infra.tidy import size_of_work


class Take(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    pixels: Artifact


@pytest.fixture
def setting(monkeypatch):
    def set_it(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"DUBFLOW_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield set_it
    get_settings.cache_clear()


def test_a_run_is_known_while_it_lives_on_both_tiers(tmp_path, setting):
    setting(artifacts=tmp_path / "shared")
    places = [FolderStorage(tmp_path / "work" / "artifacts"), open_storage(tmp_path / "shared")]
    with work_store(tmp_path / "work") as store:
        assert store.remote == str(tmp_path / "shared")
        assert [[run.pid for run in live_runs(place)] for place in places] == [[os.getpid()], [os.getpid()]]
    assert [live_runs(place) for place in places] == [[], []]


def test_a_run_begins_with_a_disk_below_its_limit(tmp_path, setting):
    with work_store(tmp_path / "work") as store:
        takes = [store.get_or_make("sync", 1, {"n": n}, Take, lambda n=n: Take(pixels=store.put_bytes(bytes([n]) * 1000, "x/y"))) for n in range(4)]
    for number, take in enumerate(takes):
        long_ago = time.time() - (10 - number) * 24 * 3600
        for path in (store.root / object_key(take.pixels.sha256), *(store.root / "records").rglob("*.json")):
            os.utime(path, (long_ago, long_ago))
    setting(work_limit_gb=2500 / 1e9)
    with work_store(tmp_path / "work"):
        assert size_of_work(tmp_path / "work") == 2000


def test_a_shared_store_that_cannot_be_used_is_said_before_any_work(tmp_path, setting):
    (tmp_path / "file").write_bytes(b"x")
    setting(artifacts=tmp_path / "file")
    with pytest.raises(InputError, match="a folder is needed"), work_store(tmp_path / "work"):
        pytest.fail("it began")


def test_a_published_manifest_is_noted_on_both_tiers(tmp_path, setting):
    setting(artifacts=tmp_path / "shared")
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"patches": []}')
    with work_store(tmp_path / "work") as store:
        pin_episode(store, "s3://bucket/out", "ep/manifest.json", manifest)
        pin_episode(store, "s3://bucket/out", "ep/manifest.json", manifest)
    for place in (tmp_path / "work" / "artifacts", tmp_path / "shared"):
        assert len(open_storage(place).list("pins/")) == 1
