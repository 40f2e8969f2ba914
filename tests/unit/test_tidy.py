"""What nobody uses any more goes; what a live run uses or a manifest names stays, whatever its age and however full the disk."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from infra import live_runs, remote_artifacts
from infra.artifact import object_key
from infra.artifacts import Artifact, ArtifactStore
from infra.folder_storage import FolderStorage
from infra.live_runs import at_work
from infra.pins import pin_manifest
from infra.remote_artifacts import RemoteTier
from infra.tidy import shrink_work, tidy_tier, tidy_work
from tests.flows.command_process import wait_for_text

REPOSITORY = Path(__file__).parents[2]
DAY_S = 24 * 3600.0
NOBODY: frozenset[str] = frozenset()


class Take(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    pixels: Artifact


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    remote_artifacts._sent.clear()
    return ArtifactStore(tmp_path / "work" / "artifacts")


def do(store: ArtifactStore, shot: int) -> Take:
    return store.get_or_make("sync", 1, {"shot": shot}, Take, lambda: Take(pixels=store.put_bytes(bytes([shot]) * 1000, "x/y")))


def age(store: ArtifactStore, days: float) -> None:
    """Make all in a store look as if it was last used so many days ago."""
    then = time.time() - days * DAY_S
    for part in ("objects", "records"):
        for path in (store.root / part).rglob("*"):
            os.utime(path, (then, then))


def shots_in(store: ArtifactStore, *takes: Take) -> list[bool]:
    return [(store.root / object_key(take.pixels.sha256)).exists() for take in takes]


def work_of(store: ArtifactStore) -> Path:
    return store.root.parent


def test_what_was_not_used_for_long_goes_with_its_record_and_what_was_used_stays(store):
    old, used = do(store, 1), do(store, 2)
    age(store, 30)
    do(store, 2)
    would = tidy_work(work_of(store), 7 * DAY_S, NOBODY, dry_run=True)
    assert (would.num_records, would.num_objects, would.num_bytes_kept) == (1, 1, 1000)
    assert shots_in(store, old, used) == [True, True], "a dry run removes nothing"
    assert tidy_work(work_of(store), 7 * DAY_S, NOBODY, dry_run=False) == would
    assert shots_in(store, old, used) == [False, True]
    assert len(list((store.root / "records").rglob("*.json"))) == 1
    assert shots_in(store, do(store, 1)) == [True], "it is made again"


def test_bytes_that_two_records_name_stay_as_long_as_one_is_used(store):
    first = store.get_or_make("a", 1, {}, Take, lambda: Take(pixels=store.put_bytes(b"same", "x/y")))
    store.get_or_make("b", 1, {}, Take, lambda: Take(pixels=store.put_bytes(b"same", "x/y")))
    age(store, 30)
    store.get_or_make("b", 1, {}, Take, lambda: pytest.fail("it is there"))
    assert tidy_work(work_of(store), 7 * DAY_S, NOBODY, dry_run=False).num_records == 1
    assert shots_in(store, first) == [True]


def test_what_a_manifest_names_stays_until_the_manifest_is_gone(store, tmp_path):
    named, other = do(store, 1), do(store, 2)
    manifest = tmp_path / "out" / "ep" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"patches": [{"sha256": named.pixels.sha256}]}))
    pin_manifest(FolderStorage(store.root), str(tmp_path / "out"), "ep/manifest.json", manifest.read_text())
    age(store, 365)
    tidy_work(work_of(store), 7 * DAY_S, NOBODY, dry_run=False)
    assert shots_in(store, named, other) == [True, False]
    assert store.get_or_make("sync", 1, {"shot": 1}, Take, lambda: pytest.fail("it is there")) == named

    age(store, 365)
    (tmp_path / "out").rename(tmp_path / "not mounted")
    tidy_work(work_of(store), 7 * DAY_S, NOBODY, dry_run=False)
    assert shots_in(store, named) == [True], "where OUT cannot be seen its manifests count as there"
    (tmp_path / "not mounted").rename(tmp_path / "out")
    manifest.unlink()
    tidy_work(work_of(store), 7 * DAY_S, NOBODY, dry_run=False)
    assert shots_in(store, named) == [False]


_RUN = """
import sys, time
from pathlib import Path
from infra.artifacts import ArtifactStore
from infra.folder_storage import FolderStorage
from infra.live_runs import at_work
from tests.unit.test_tidy import do
store = ArtifactStore(Path(sys.argv[1]), sys.argv[2] or None)
with at_work(FolderStorage(store.root), *([store.tier.storage] if store.tier else [])):
    do(store, 1)
    print("uses it", flush=True)
    sys.stdin.readline()
    assert store.path(do(store, 1).pixels).read_bytes() == bytes([1]) * 1000
    print("still there", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def live_run(tmp_path):
    """start(store) -> a run in a process of its own, which uses shot 1 and then waits."""
    started = []

    def start(store: ArtifactStore) -> subprocess.Popen:
        command = [sys.executable, "-c", _RUN, str(store.root), store.remote or ""]
        with open(tmp_path / "stdout", "w") as out:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, cwd=REPOSITORY)
        started.append(process)
        wait_for_text(tmp_path / "stdout", "uses it", process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def long_after(monkeypatch, days: float) -> None:
    """The clock of this process is so many days ahead."""
    now = time.time
    monkeypatch.setattr("infra.tidy._now", lambda: now() + days * DAY_S)


def test_what_a_live_run_in_another_process_uses_stays_and_when_it_is_killed_it_may_go(store, live_run, monkeypatch, tmp_path):
    used, other = do(store, 1), do(store, 2)
    age(store, 30)
    process = live_run(store)
    long_after(monkeypatch, 30)
    tidied = tidy_work(work_of(store), 7 * DAY_S, NOBODY, dry_run=False)
    assert tidied.num_live_runs == 1
    assert shots_in(store, used, other) == [True, False]
    assert shrink_work(work_of(store), 0, None).num_objects == 0, "not even a full disk takes it from a live run"
    process.stdin.write(b"\n")
    process.stdin.flush()
    wait_for_text(tmp_path / "stdout", "still there", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (mark,) = (store.root / "live").iterdir()
    os.utime(mark, (1, time.time() - live_runs.DEAD_AFTER_S - 1))
    tidy_work(work_of(store), 7 * DAY_S, NOBODY, dry_run=False)
    assert shots_in(store, used) == [False]


def test_a_run_of_another_host_counts_as_live_while_its_mark_is_fresh(store):
    marks = FolderStorage(store.root)
    do(store, 1)
    with at_work(marks):
        (key,) = marks.list("live/")
        (store.root / key).write_text(json.dumps({"host": "elsewhere", "pid": 1, "started_s": 5.0}))
        assert [run.host for run in live_runs.live_runs(marks)] == ["elsewhere"]
        os.utime(store.root / key, (1, time.time() - live_runs.DEAD_AFTER_S - 1))
        assert live_runs.live_runs(marks) == []
    assert marks.list("live/") == []


def test_a_mark_is_kept_fresh_while_the_run_lives(store, monkeypatch):
    monkeypatch.setattr(live_runs, "HEARTBEAT_S", 0.02)
    marks = FolderStorage(store.root)
    do(store, 1)
    with at_work(marks):
        (key,) = marks.list("live/")
        os.utime(store.root / key, (1, 1))
        deadline = time.monotonic() + 30
        while (store.root / key).stat().st_mtime < 100 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (store.root / key).stat().st_mtime > 100


def test_a_full_disk_first_gives_up_fetched_films_then_copies_then_what_is_oldest(store, tmp_path, monkeypatch):
    shared = ArtifactStore(store.root, str(tmp_path / "shared"))
    copied, old, newer = do(shared, 1), do(store, 2), do(store, 3)
    inputs = work_of(store) / "inputs"
    inputs.mkdir()
    (inputs / "film.mp4").write_bytes(bytes(1000))
    age(store, 30)
    do(store, 3)
    long_after(monkeypatch, 1)

    shrink_work(work_of(store), 3000, shared.tier)
    assert (shots_in(store, copied, old, newer), (inputs / "film.mp4").exists()) == ([True, True, True], False)
    shrink_work(work_of(store), 2000, shared.tier)
    assert shots_in(store, copied, old, newer) == [False, True, True]
    assert shared.path(do(shared, 1).pixels).read_bytes() == bytes([1]) * 1000, "its record stayed, its bytes are fetched"
    age(shared, 30)
    shrink_work(work_of(store), 1000, shared.tier)
    shrink_work(work_of(store), 1000, None)
    assert sum(shots_in(store, old, newer)) == 1


def test_what_was_used_within_the_hour_never_goes(store):
    take = do(store, 1)
    assert shrink_work(work_of(store), 0, None).num_objects == 0
    assert tidy_work(work_of(store), 0, NOBODY, dry_run=False).num_objects == 0
    assert shots_in(store, take) == [True]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_the_shared_tier_is_tidied_by_the_same_rules(kind, request, store, live_run, monkeypatch, tmp_path):
    place = str(tmp_path / "shared") if kind == "folder" else f"{request.getfixturevalue('s3_bucket')}/steps"
    shared = ArtifactStore(store.root, place)
    used, named, other = do(shared, 1), do(shared, 2), do(shared, 3)
    there = RemoteTier(place).storage
    pin_manifest(there, str(tmp_path / "out"), "ep/manifest.json", named.pixels.sha256)
    long_after(monkeypatch, 30)
    process = live_run(ArtifactStore(tmp_path / "other machine", place))
    assert tidy_tier(place, 7 * DAY_S, NOBODY, dry_run=False).num_objects == 0, "all of it is as young as the live run"
    process.kill()
    process.wait()
    for key in there.list("live/"):
        there.delete(key)
    pinned = frozenset({used.pixels.sha256})
    tidied = tidy_tier(place, 7 * DAY_S, pinned, dry_run=False)
    assert (tidied.num_records, tidied.num_objects) == (1, 1)
    assert [there.exists(object_key(take.pixels.sha256)) for take in (used, named, other)] == [True, True, False]
    assert len(there.list("records/")) == 2


def test_what_is_being_looked_up_is_not_removed_under_its_finders_hands(store, monkeypatch):
    do(store, 1)
    age(store, 30)
    looked, real = threading.Event(), ArtifactStore._check_artifacts

    def slow_look(self, record):
        found = real(self, record)
        looked.set()
        time.sleep(0.5)  # all is there, and is about to count as used
        return found

    monkeypatch.setattr(ArtifactStore, "_check_artifacts", slow_look)
    with ThreadPoolExecutor(1) as pool:
        using = pool.submit(do, store, 1)
        assert looked.wait(60)
        tidy_work(work_of(store), 7 * DAY_S, NOBODY, dry_run=False)
        assert shots_in(store, using.result()) == [True]


def gc(*words: str, **environment: str) -> dict:
    """The command, as its JSON answer."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DUBFLOW_")} | environment
    done = subprocess.run([sys.executable, "-m", "flows.cli", "gc", *words, "--json"], capture_output=True, text=True, env=own, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_command_tidies_the_work_folder_and_the_shared_tier_and_heeds_manifests(store, tmp_path):
    shared = ArtifactStore(store.root, str(tmp_path / "shared"))
    named, other = do(shared, 1), do(shared, 2)
    for each in (shared, ArtifactStore(tmp_path / "shared")):
        age(each, 30)
    (tmp_path / "out" / "ep").mkdir(parents=True)
    (tmp_path / "out" / "ep" / "manifest.json").write_text(json.dumps({"patches": [{"sha256": named.pixels.sha256}]}))
    environment = {"DUBFLOW_ARTIFACTS": str(tmp_path / "shared"), "DUBFLOW_WORK_FOLDER": str(work_of(store))}

    told = gc(str(tmp_path / "out"), "--dry-run", **environment)
    assert [place["num_objects"] for place in told["places"]] == [1, 1, 0]
    assert shots_in(shared, named, other) == [True, True]
    assert gc(str(tmp_path / "out"), "--older-than", "60", **environment)["places"][0]["num_objects"] == 0
    told = gc(str(tmp_path / "out"), **environment)
    assert [place["num_objects"] for place in told["places"]] == [1, 1, 0]
    assert shots_in(shared, named, other) == [True, False]
    assert not (tmp_path / "shared" / object_key(other.pixels.sha256)).exists()
