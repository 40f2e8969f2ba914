"""One process at a time holds a lease; a dead or sleeping holder is replaced, and overwrites nothing when it wakes up."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.heartbeat import Heartbeat, beating
from infra.lease import BusyError, Lease, LeaseRecord, LostLeaseError, Owner, acquire, acquire_when_free, newest
from infra.process_life import fate, identity
from infra.storage import Storage, open_storage
from tests.faults.lease_holder import KEY

REPOSITORY = Path(__file__).parents[2]
ELSEWHERE = Owner(host="far-away", pid=1, user="anna", since="2001-01-01T00:00:00+00:00")  # a process that nobody here can look at


class Holder:
    """A process of tests.faults.lease_holder."""

    def __init__(self, root: str, ttl_s: float, if_busy: str) -> None:
        command = [sys.executable, "-m", "tests.faults.lease_holder", root, str(ttl_s), if_busy]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self) -> str:
        assert self.hear() == "ready"
        self.tell("go")
        return self.hear()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


S3 = pytest.param("s3", marks=pytest.mark.long)  # Swift settles for a second at every lease: only what differs there is in the default run
IN_BOTH = pytest.mark.parametrize("kind", ["folder", "s3"])


@pytest.fixture(params=["folder", S3])
def kind(request) -> str:
    return request.param


@pytest.fixture
def root(request, kind, tmp_path) -> str:
    return str(tmp_path / "out") if kind == "folder" else f"{request.getfixturevalue('s3_bucket')}/out"


@pytest.fixture
def holder(root) -> Iterator[Callable[..., Holder]]:
    """holder(ttl_s, if_busy) -> a process that is ready to take the lease."""
    with ExitStack() as stack:

        def start(ttl_s: float = 60.0, if_busy: str = "refuse") -> Holder:
            process = Holder(root, ttl_s, if_busy)
            stack.callback(process.end)
            return process

        yield start


def me(**fields) -> Owner:
    return Owner(**{"host": "here", "pid": os.getpid(), "user": "tester", "process": identity()} | fields)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@IN_BOTH
def test_of_several_processes_at_once_one_gets_it_and_the_others_are_told_whose_it_is(root, holder):
    rivals = [holder() for _ in range(4)]
    for rival in rivals:
        assert rival.hear() == "ready"
    for rival in rivals:
        rival.tell("go")
    answers = [rival.hear() for rival in rivals]
    winners = [rival for rival, answer in zip(rivals, answers, strict=True) if answer.startswith("took")]
    assert len(winners) == 1, answers
    others = [answer for answer in answers if answer.startswith("busy")]
    assert len(others) == 3
    since = re.escape(newest(open_storage(root), KEY).owner.since.replace("T", " ").replace("+00:00", " UTC"))
    assert all(re.search(rf"held by tester on \S+ \(process {winners[0].process.pid}\) since {since}", answer) for answer in others)


def test_those_that_wait_get_it_one_after_the_other_under_growing_numbers(root, holder):
    first, second = holder(), holder(if_busy="wait")
    assert first.start() == "took 1"
    assert second.start() == f"waiting for {first.process.pid}"
    first.tell("release")
    assert second.hear() == "took 2"
    second.tell("release")
    assert second.hear() == "ended"
    assert acquire(open_storage(root), KEY, me(), 60.0).token == 3


def test_a_holder_that_was_asleep_overwrites_nothing_when_it_wakes_up(root, holder):
    sleeper, heir = holder(ttl_s=1.0), holder(if_busy="wait")
    assert sleeper.start() == "took 1"
    sleeper.process.send_signal(signal.SIGSTOP)
    assert heir.start() == f"waiting for {sleeper.process.pid}"
    assert heir.hear() == "took 2"
    heir.tell("publish ep/film new")
    assert heir.hear() == "published"
    sleeper.process.send_signal(signal.SIGCONT)
    sleeper.tell("publish ep/film old")
    assert re.match(rf"lost \S+ was taken over by tester on \S+ \(process {heir.process.pid}\)", sleeper.hear())
    assert open_storage(root).read_bytes("ep/film") == b"new"


@IN_BOTH
def test_nor_does_one_that_fell_asleep_in_the_middle_of_a_write_after_it_was_let_through(root, holder):
    sleeper, heir = holder(ttl_s=1.0), holder(if_busy="wait")
    assert sleeper.start() == "took 1"
    sleeper.tell("sleep-publish ep/film old")
    wait_until(lambda: is_stopped(sleeper.process.pid))
    assert heir.start().startswith("waiting")
    assert heir.hear() == "took 2"
    heir.tell("publish ep/film new")
    assert heir.hear() == "published"
    sleeper.process.send_signal(signal.SIGCONT)
    assert sleeper.hear().startswith("lost")
    assert open_storage(root).read_bytes("ep/film") == b"new"
    assert [key for key in open_storage(root).list() if not key.startswith(KEY)] == ["ep/film"]


def test_the_lease_of_a_killed_process_of_this_machine_is_free_at_once(tmp_path):
    process = Holder(str(tmp_path), 3600.0, "refuse")
    try:
        assert process.start() == "took 1"
        with pytest.raises(BusyError, match=f"process {process.process.pid}"):
            acquire(open_storage(tmp_path), KEY, me(), 60.0)
    finally:
        process.end()
    assert acquire(open_storage(tmp_path), KEY, me(), 60.0).token == 2  # an hour's lease, and no hour's wait


def test_a_process_is_known_by_more_than_its_number():
    mine = identity()
    assert fate(mine) == "runs"
    boot, namespace, pid, start = mine.split()
    assert fate(f"{boot} {namespace} {pid} {int(start) + 1}") == "gone"  # the number was given again
    assert fate(f"another-boot {namespace} {pid} {start}") == "unknown"
    assert fate("") == fate("nonsense") == "unknown"


# -- a holder on another machine: only its heartbeat tells


@pytest.fixture
def storage(root) -> Storage:
    return open_storage(root)


def test_a_holder_elsewhere_that_beats_is_believed_and_one_that_does_not_is_replaced_whatever_its_clock_says(storage):
    theirs = acquire(storage, KEY, ELSEWHERE, 3.0)
    with beating(Heartbeat(theirs), lambda error: None), pytest.raises(BusyError, match="anna on far-away"):
        acquire(storage, KEY, me(), 60.0)
    ours = acquire(storage, KEY, me(), 60.0)  # no heartbeat any more
    assert ours.token == 2
    for attempt in (theirs.check, theirs.renew, theirs.release):
        with pytest.raises(LostLeaseError, match="taken over by tester on here"):
            attempt()
    ours.check()


def test_a_heartbeat_keeps_a_lease_beyond_its_life_and_tells_when_it_was_lost(tmp_path):
    storage, told, got = open_storage(tmp_path), [], []
    theirs = acquire(storage, KEY, ELSEWHERE, 3.0)
    heart = Heartbeat(theirs)

    def wait() -> None:
        got.append(acquire_when_free(storage, KEY, me(), 60.0, told.append))

    waiting = threading.Thread(target=wait)
    with beating(heart, lambda error: None):
        waiting.start()
        wait_until(lambda: newest(storage, KEY).beat >= 5)  # more than a life
        assert not got
        heart.raise_if_lost()
        newer = theirs.token + 1
        record = LeaseRecord(token=newer, id="robber", owner=me(user="robber"), ttl_s=3.0, state="released")
        (tmp_path / KEY / f"{newer:06d}.json").write_text(record.model_dump_json())
        wait_until(lambda: heart.lost is not None)
    with pytest.raises(LostLeaseError, match=r"taken over by (robber|tester) on here"):
        heart.raise_if_lost()
    waiting.join(60)
    assert [holder.owner.host for holder in told] == ["far-away"]
    assert [lease.token for lease in got] == [3]


def test_a_store_that_takes_no_heartbeat_is_told_once_and_does_not_end_the_work(tiny_disk):
    lease = acquire(open_storage(tiny_disk), KEY, ELSEWHERE, 0.2)
    heart, troubles = Heartbeat(lease), []
    with beating(heart, troubles.append):
        with pytest.raises(OSError, match="No space"):
            (tiny_disk / "filler").write_bytes(bytes(1 << 20))
        wait_until(lambda: len(troubles) == 1)
        (tiny_disk / "filler").unlink()
        beat = newest(lease.storage, KEY).beat
        wait_until(lambda: newest(lease.storage, KEY).beat > beat)
    heart.raise_if_lost()
    assert len(troubles) == 1
    assert "Disk full" in str(troubles[0])


# -- what lies in the store


@IN_BOTH
def test_the_number_survives_release_and_only_the_latest_records_are_kept(storage):
    for _ in range(3):
        acquire(storage, KEY, me(), 60.0).release()
    assert newest(storage, KEY).token == 3
    assert acquire(storage, KEY, me(), 60.0, floor=41).token == 42  # never below what a manifest bears
    assert storage.list() == [f"{KEY}/000042.json"]


def test_a_first_lease_under_which_nothing_was_done_leaves_no_trace(storage):
    acquire(storage, KEY, me(), 60.0).withdraw()
    assert storage.list() == []
    acquire(storage, KEY, me(), 60.0).release()
    acquire(storage, KEY, me(), 60.0).withdraw()
    assert newest(storage, KEY).token == 2  # not the first: its number stays used


def test_a_lease_that_was_removed_is_lost_not_held_for_ever(storage):
    lease = acquire(storage, KEY, me(), 60.0)
    storage.delete(f"{KEY}/000001.json")
    with pytest.raises(LostLeaseError):
        lease.renew()


def test_a_lease_travels_to_another_process(storage):
    import pickle

    lease = acquire(storage, KEY, me(), 60.0)
    there: Lease = pickle.loads(pickle.dumps(lease))
    there.check()
    assert there == lease


def test_threads_of_one_process_do_not_take_each_other_s_lease_for_that_of_the_dead(tmp_path, monkeypatch):
    """As two reviews in one server are: a lease lies in the store a moment before its taker can say so."""
    from infra import lease as module

    claim, lies_there, go_on = module._claim, threading.Event(), threading.Event()

    def slow(lease: Lease) -> bool:
        is_claimed = claim(lease)
        lies_there.set()
        go_on.wait(30)
        return is_claimed

    monkeypatch.setattr(module, "_claim", slow)
    mine = Owner(host="here", pid=os.getpid(), user="anna", process=identity())
    taken: list[Lease] = []
    first = threading.Thread(target=lambda: taken.append(acquire(open_storage(tmp_path), KEY, mine, 60)))
    first.start()
    assert lies_there.wait(30)
    monkeypatch.setattr(module, "_claim", claim)
    with pytest.raises(BusyError):
        acquire(open_storage(tmp_path), KEY, mine, 60)
    go_on.set()
    first.join()
    taken[0].check()
