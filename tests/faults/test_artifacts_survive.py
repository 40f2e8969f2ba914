"""The cache after every accident: nothing false is ever read, nothing finished is lost, what was damaged is kept aside and made again."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from infra import artifact_objects as artifacts_module
from infra.artifacts import Artifact, ArtifactStore
from infra.errors import CorruptArtifactError, InputError, TransientError
from infra.scratch import new_scratch_name

REPOSITORY = Path(__file__).parents[2]
PIXELS = bytes(range(256)) * 400


class Take(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    shot: int
    picture: Artifact


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def do_shot(store: ArtifactStore) -> tuple[Take, bool]:
    """The one step of these tests. Returns its record and whether it had to be made."""
    made = []

    def make() -> Take:
        made.append(1)
        return Take(shot=7, picture=store.put_bytes(PIXELS, "application/octet-stream"))

    return store.get_or_make("sync_lips", 1, {"shot": 7}, Take, make), bool(made)


def object_path(store: ArtifactStore, take: Take) -> Path:
    return store.root / "objects" / take.picture.sha256[:2] / take.picture.sha256


def record_path(store: ArtifactStore) -> Path:
    (path,) = (store.root / "records").rglob("*.json")
    return path


def in_a_new_process() -> None:
    """Forget which digests were checked, as a new process would."""
    artifacts_module._verified.clear()


def damage(path: Path, data: bytes) -> None:
    """Rewrite a file behind the store's back."""
    path.chmod(0o644)
    path.write_bytes(data)


def quarantined(store: ArtifactStore) -> list[bytes]:
    folder = store.root / "quarantine"
    return [path.read_bytes() for path in folder.iterdir()] if folder.exists() else []


def check_promises(store: ArtifactStore) -> None:
    """Every object that bears a digest's name has that digest; no unfinished file lies about."""
    for path in (store.root / "objects").rglob("*"):
        if path.is_file():
            assert artifacts_module.sha256_of_file(path) == path.name
    scratch = store.root / "scratch"
    assert not scratch.exists() or list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("accident", "new_bytes"),
    [
        ("cut in half", PIXELS[: len(PIXELS) // 2]),
        ("emptied", b""),
        ("first bit flipped", bytes([PIXELS[0] ^ 1]) + PIXELS[1:]),
        ("last bit flipped", PIXELS[:-1] + bytes([PIXELS[-1] ^ 128])),
        ("longer", PIXELS + b"x"),
        ("other bytes of the same length", bytes(len(PIXELS))),
    ],
)
def test_a_damaged_object_is_set_aside_and_made_again(store, accident, new_bytes):
    take, _ = do_shot(store)
    damage(object_path(store, take), new_bytes)
    in_a_new_process()
    with pytest.raises(CorruptArtifactError, match="differed from its digest"):
        store.path(take.picture)
    assert quarantined(store) == [new_bytes]
    assert do_shot(store) == (take, True)
    assert store.path(take.picture).read_bytes() == PIXELS
    assert do_shot(store) == (take, False)
    check_promises(store)


def test_a_look_up_itself_notices_the_damage(store):
    take, _ = do_shot(store)
    damage(object_path(store, take), PIXELS[:-1] + b"\x00")
    in_a_new_process()
    assert do_shot(store) == (take, True)
    assert quarantined(store) == [PIXELS[:-1] + b"\x00"]
    check_promises(store)


def test_damage_during_the_process_is_noticed_too(store):
    take, _ = do_shot(store)
    store.path(take.picture)
    damage(object_path(store, take), bytes(len(PIXELS)))
    with pytest.raises(CorruptArtifactError):
        store.path(take.picture)


def test_putting_the_right_bytes_heals_a_damaged_object(store):
    artifact = store.put_arrays(x=np.arange(10))
    damage(store.root / "objects" / artifact.sha256[:2] / artifact.sha256, b"rubbish")
    assert store.put_arrays(x=np.arange(10)) == artifact
    np.testing.assert_array_equal(store.load_arrays(artifact)["x"], np.arange(10))
    assert quarantined(store) == [b"rubbish"]


def test_a_missing_object_is_made_again(store):
    take, _ = do_shot(store)
    object_path(store, take).unlink()
    with pytest.raises(CorruptArtifactError, match="missing"):
        store.path(take.picture)
    assert do_shot(store) == (take, True)
    check_promises(store)


def _with(change) -> bytes:
    """A record file after `change` of its envelope."""

    def apply(text: bytes) -> bytes:
        envelope = json.loads(text)
        change(envelope)
        return json.dumps(envelope).encode()

    return apply


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: b"", id="emptied"),
        pytest.param(lambda text: text[: len(text) // 2], id="cut in half"),
        pytest.param(lambda text: text.replace(b'"shot":7}', b'"shot":8}'), id="a digit flipped: it still parses"),
        pytest.param(lambda text: b"\xff\xfe" + text, id="not text"),
        pytest.param(lambda text: b"[" * 100_000, id="nested without end"),
        pytest.param(lambda text: b"null", id="null"),
        pytest.param(lambda text: b'"text"', id="a string"),
        pytest.param(lambda text: text.replace(b'"shot":7', b'"shot":NaN'), id="NaN"),
        pytest.param(_with(lambda envelope: envelope.pop("sha256")), id="no digest"),
        pytest.param(_with(lambda envelope: envelope["record"].update(extra=1)), id="a field more"),
        pytest.param(_with(lambda envelope: envelope["record"].pop("picture")), id="a field less"),
        pytest.param(_with(lambda envelope: envelope["record"]["picture"].update(sha256="../../etc/passwd")), id="a digest that is a path"),
        pytest.param(_with(lambda envelope: envelope["inputs"].update(shot=9)), id="another shot's record"),
        pytest.param(_with(lambda envelope: envelope.update(version=2)), id="another version's record"),
    ],
)
def test_a_record_that_cannot_be_trusted_counts_as_absent(store, change, caplog):
    take, _ = do_shot(store)
    path = record_path(store)
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before
    assert do_shot(store) == (take, True)
    assert any("counts as absent" in line for line in caplog.messages)
    assert do_shot(store) == (take, False)
    check_promises(store)


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_change_of_any_byte_of_a_record_is_believed(store, data):
    take, _ = do_shot(store)
    path = record_path(store)
    text = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(text))
    record, _ = do_shot(store)
    assert record == take


def run_until_killed(root: Path, nth_call: int, moment: str) -> bool:
    """Do the shot in a forked child that is killed before or after its n-th disk operation. Returns whether it finished instead."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _arm(nth_call, moment)
            do_shot(ArtifactStore(root))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    ending = os.waitstatus_to_exitcode(status)
    assert ending in (0, -signal.SIGKILL)
    return ending == 0


def _arm(nth_call: int, moment: str) -> None:
    """From now on this process dies at its n-th disk operation."""
    num_calls = 0

    def dying(real):
        def call(*arguments, **named):
            nonlocal num_calls
            num_calls += 1
            if num_calls == nth_call and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*arguments, **named)
            finally:
                if num_calls == nth_call:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in ("fsync", "replace", "chmod", "mkdir"):
        setattr(os, name, dying(getattr(os, name)))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_kill_minus_nine_at_every_disk_operation_costs_at_most_the_shot_under_way(tmp_path, moment):
    expected, _ = do_shot(ArtifactStore(tmp_path / "undisturbed"))
    num_kills, num_kept, finished = 0, 0, False
    while not finished:
        root = tmp_path / f"killed at {num_kills + 1}"
        finished = run_until_killed(root, num_kills + 1, moment)
        store = ArtifactStore(root)
        was_stored = any((root / "records").rglob("*.json"))
        assert do_shot(store) == (expected, not was_stored)
        check_promises(store)
        assert quarantined(store) == []
        num_kills += not finished
        num_kept += was_stored and not finished
        assert num_kills < 60, "the step never finished"
    assert num_kills >= 8, "bytes and record each take mkdir, fsync, rename and fsync of the folder"
    assert num_kept >= 1, "killed after the record's rename: it counts as done"


def test_killed_between_bytes_and_record_the_shot_is_redone_and_its_bytes_are_reused(tmp_path):
    store = ArtifactStore(tmp_path / "artifacts")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom infra.artifacts import ArtifactStore\n"
        "from tests.faults.test_artifacts_survive import PIXELS\n"
        "def make():\n"
        "    store.put_bytes(PIXELS, 'application/octet-stream')\n"
        "    with store.scratch() as scratch:\n"
        "        (scratch / 'half.mkv').write_bytes(PIXELS)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "store = ArtifactStore(Path(sys.argv[1]))\n"
        "store.get_or_make('sync_lips', 1, {'shot': 7}, object, make)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(store.root)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert child.returncode == -signal.SIGKILL, child.stderr
    (kept,) = [path for path in (store.root / "objects").rglob("*") if path.is_file()]
    inode = kept.stat().st_ino
    assert len(list((store.root / "scratch").iterdir())) == 1, "the dead process left its scratch folder"
    _, made = do_shot(store)
    assert made
    assert kept.stat().st_ino == inode, "the bytes were there already"
    check_promises(store)


def test_scratch_of_the_living_and_of_other_hosts_is_left_alone(store):
    folder = store.root / "scratch"
    folder.mkdir(parents=True)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        random = "0" * 32
        host, _, _ = new_scratch_name().split("~")
        living, elsewhere, foreign = f"{host}~{child.pid}~{random}", f"elsewhere~1~{random}", "my notes"
        for name in (living, elsewhere, foreign):
            (folder / name).mkdir()
        with store.scratch():
            assert {living, elsewhere, foreign} < {path.name for path in folder.iterdir()}
    finally:
        child.communicate(b"\n", timeout=60)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_disk_that_fails_at_any_call_publishes_nothing_false_and_the_next_run_finishes(store, monkeypatch, operation, number):
    real = getattr(os, operation)
    num_failures = 0
    for nth_call in range(1, 20):
        left = nth_call

        def fail(*arguments, **named):
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(number, os.strerror(number))
            return real(*arguments, **named)

        shutil.rmtree(store.root, ignore_errors=True)
        in_a_new_process()
        with monkeypatch.context() as patch:
            patch.setattr(os, operation, fail)
            try:
                do_shot(store)
            except TransientError:
                num_failures += 1
            else:
                assert left > 0, "a failure must not pass for success"
                break
        check_promises(store)
        take, _ = do_shot(store)
        assert store.path(take.picture).read_bytes() == PIXELS
        assert do_shot(store)[1] is False
        check_promises(store)
    assert num_failures >= 2


def test_a_really_full_disk_is_said_so_and_freed_space_is_enough_to_go_on(tiny_disk):
    store = ArtifactStore(tiny_disk / "artifacts")
    kept = store.put_bytes(b"finished earlier", "text/plain")
    filler = tiny_disk / "filler"
    filler.write_bytes(bytes(190_000))
    for attempt in (lambda: store.put_bytes(PIXELS, "application/octet-stream"), lambda: store.put_arrays(x=np.zeros(100_000, np.uint8))):
        with pytest.raises(TransientError, match="Disk full"):
            attempt()
    check_promises(store)
    filler.unlink()
    take, made = do_shot(store)
    assert made
    assert store.path(take.picture).read_bytes() == PIXELS
    assert store.path(kept).read_bytes() == b"finished earlier"
    check_promises(store)


def test_a_work_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match="Choose a folder"):
        ArtifactStore(tmp_path / "file" / "artifacts").put_bytes(b"x", "text/plain")
