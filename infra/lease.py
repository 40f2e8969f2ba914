"""Who works on what: a lease in a storage, with an expiry, a heartbeat, and a number that only grows.

Each lease ever taken is a file of its own, KEY/000007.json, and the highest one holds: its number is the fencing token. A number is given once
(put_if_absent), and only who was given it ever writes that file again (heartbeat, release): one who wakes up late cannot harm the next one's.

No other machine's clock is believed. A lease has expired when its file was seen unchanged for its time to live, by the observer's own monotonic
clock; so whoever comes upon a dead holder waits that long once, unless the holder was a process of this very machine that can be seen to be gone.

Where the server does not decide races (Storage.decides_races; OpenStack Swift), who wrote a number waits SETTLE_S and reads back who has it. Two that
begin within that time of each other, one of them taking longer than SETTLE_S to write one small file, could both start; then the one that was
overwritten notices at its next heartbeat and before everything that it publishes.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from infra.errors import InputError, OurTroubleError
from infra.lease_record import LeaseRecord, Owner, file_of, name_of, newest, read_lease, write_lease
from infra.process_life import fate, identity
from infra.storage import Storage

__all__ = ["BusyError", "Lease", "LeaseRecord", "LostLeaseError", "Owner", "acquire", "acquire_when_free", "newest"]

logger = logging.getLogger(__name__)
SETTLE_S = 1.0
NUM_KEPT = 8  # of past leases: a slow rival that still looks at one of them finds that it is past
_Seen = Literal["lives", "expired", "not known"]
_ours: set[str] = set()  # ids of leases that this process has taken and not given back, whether or not the storage could be told


class BusyError(InputError):
    """Somebody else, the holder, has the lease and is seen to live."""

    def __init__(self, message: str, holder: "Owner") -> None:
        super().__init__(message)
        self.holder = holder

    def __reduce__(self):
        return BusyError, (str(self), self.holder)


class LostLeaseError(OurTroubleError):
    """Somebody else has taken the lease over."""


@dataclass(frozen=True)
class Lease:
    """A lease that was taken. Picklable: workers in other processes ask it before they publish (see infra.fence)."""

    storage: Storage
    key: str
    token: int
    id: str
    owner: Owner
    ttl_s: float
    what: str  # the lease is on, for people

    @property
    def unfinished(self) -> str:
        return f"{self.key}/unfinished"

    def check(self) -> None:
        """Raises LostLeaseError when another took it; TransientError or InputError when the storage does not answer."""
        self._mine()

    def renew(self) -> None:
        """Show that the holder lives. Raises as check()."""
        mine = self._mine()
        write_lease(self.storage, self.key, mine.model_copy(update={"beat": mine.beat + 1}))

    def release(self) -> None:
        """Give it back; the number stays, so that the next one's is higher. Raises as check()."""
        _ours.discard(self.id)
        write_lease(self.storage, self.key, self._mine().model_copy(update={"state": "released"}))

    def withdraw(self) -> None:
        """Give back a lease under which nothing was published, the first one without a trace. Raises as check()."""
        if self.token > 1:
            self.release()
            return
        _ours.discard(self.id)
        self._mine()
        self.storage.delete(name_of(self.key, self.token))

    def _mine(self) -> LeaseRecord:
        mine = read_lease(self.storage, self.key, self.token)
        if mine is not None and mine.id == self.id and not self.storage.exists(name_of(self.key, self.token + 1)):
            return mine
        taken = newest(self.storage, self.key)
        by = f"by {taken.owner}" if taken is not None and taken.id != self.id else "and given up again"
        raise LostLeaseError(
            f"{self.what} was taken over {by}: this run, {self.owner}, had not been heard of for {self.ttl_s:g} s or more "
            "(a machine asleep, a process stopped, a store out of reach?). It publishes nothing any more."
        )


def acquire(storage: Storage, key: str, owner: Owner, ttl_s: float, floor: int = 0, what: str = "") -> Lease:
    """Take the lease with a token above `floor`. what: it is on, for messages.

    Raises BusyError, naming the holder, as soon as a holder is seen to live. One on another machine is watched for a sign of life: that takes as long
    as its heartbeat, or its time to live where there is none.
    """

    def refuse(holder: LeaseRecord, seen: _Seen) -> None:
        if seen == "lives":
            raise BusyError(f"{what or storage.describe(key)} is held by {holder.owner}.", holder.owner)

    return _acquire(_Wanted(storage, key, owner, ttl_s, floor, what or storage.describe(key)), refuse)


def acquire_when_free(
    storage: Storage, key: str, owner: Owner, ttl_s: float, tell: Callable[[LeaseRecord], None], floor: int = 0, what: str = ""
) -> Lease:
    """Take the lease once it is free, however long that takes. tell: called once for every holder that is waited for."""
    told: set[str] = set()

    def wait(holder: LeaseRecord, _seen: _Seen) -> None:
        if holder.id not in told:
            told.add(holder.id)
            tell(holder)

    return _acquire(_Wanted(storage, key, owner, ttl_s, floor, what or storage.describe(key)), wait)


class _Watch:
    """What is seen of a holder, from one look to the next."""

    def __init__(self) -> None:
        self.seen: LeaseRecord | None = None
        self.since = time.monotonic()

    def look(self, holder: LeaseRecord) -> _Seen:
        before, now = self.seen, time.monotonic()
        if holder != before:
            self.seen, self.since = holder, now
        its_fate = fate(holder.owner.process)
        if its_fate == "runs" and holder.owner.process == identity() and holder.id not in _ours:
            its_fate = "gone"
        if its_fate == "gone" or (holder == before and now - self.since > holder.ttl_s):
            return "expired"
        has_beaten = before is not None and before.id == holder.id and before.beat != holder.beat
        return "lives" if its_fate == "runs" or has_beaten else "not known"


@dataclass(frozen=True)
class _Wanted:
    storage: Storage
    key: str
    owner: Owner
    ttl_s: float
    floor: int
    what: str

    def after(self, last: LeaseRecord | None) -> Lease:
        token = max(self.floor, last.token if last else 0) + 1
        return Lease(self.storage, self.key, token, uuid4().hex, self.owner, self.ttl_s, self.what)


def _acquire(wanted: _Wanted, on_holder: Callable[[LeaseRecord, _Seen], None]) -> Lease:
    watch = _Watch()
    while True:
        last = newest(wanted.storage, wanted.key)
        if last is not None and last.state == "held":
            seen = watch.look(last)
            if seen != "expired":
                on_holder(last, seen)
                time.sleep(min(1.0, last.ttl_s / 20))
                continue
            logger.warning("the lease on %s, number %d, has expired; it was held by %s", wanted.what, last.token, last.owner)
        lease = wanted.after(last)
        if _claimed_as_ours(lease):
            _remove_past(lease.storage, lease.key, lease.token)
            logger.info("lease on %s taken, number %d", lease.what, lease.token)
            return lease


def _claimed_as_ours(lease: Lease) -> bool:
    """Known as ours before it lies there: a rival in another thread must not take it for that of a process which is gone."""
    is_claimed = False
    _ours.add(lease.id)
    try:
        is_claimed = _claim(lease)
    finally:
        if not is_claimed:
            _ours.discard(lease.id)
    return is_claimed


def _claim(lease: Lease) -> bool:
    """Put the lease under its number. False: somebody was faster."""
    storage, key = lease.storage, lease.key
    record = LeaseRecord(token=lease.token, id=lease.id, owner=lease.owner, ttl_s=lease.ttl_s)
    with file_of(record) as path:
        try:
            if not storage.put_if_absent(path, name_of(key, lease.token)):
                return False
        except FileNotFoundError:  # the folder went at this moment, with somebody's withdrawn lease
            return False
    if not storage.decides_races():
        time.sleep(SETTLE_S)
    try:
        lease.check()
    except LostLeaseError:
        return False
    last = newest(storage, key)
    return last is not None and last.id == lease.id


def _remove_past(storage: Storage, key: str, token: int) -> None:
    for name in storage.list(f"{key}/"):
        number = name.removeprefix(f"{key}/").removesuffix(".json")
        if number.isdecimal() and int(number) <= token - NUM_KEPT:
            storage.delete(name)
