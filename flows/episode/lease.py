"""One run at a time works on an episode: who comes second waits or is told who is at it, and who overslept publishes nothing any more.

The lease lies in OUT/.leases/ID/ (infra.lease). It is held from before the first step until the episode is published, never while people review.
"""

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flows.run import progress
from infra.errors import DubflowError, InputError
from infra.heartbeat import Heartbeat, beating
from infra.lease import BusyError, Lease, LeaseRecord, LostLeaseError, Owner, acquire, acquire_when_free
from infra.process_life import identity
from infra.settings import get_settings, user_name
from infra.storage import Storage
from infra.storage_keys import FolderLocation, parse_location, redact
from tasks.types import DubRequest, EpisodeRequest

FOLDER = ".leases"
logger = logging.getLogger(__name__)


@dataclass
class EpisodeLease:
    """The right to publish one episode, as long as it is not lost."""

    heart: Heartbeat
    has_published: bool = False

    @property
    def fence(self) -> Lease:
        """For every write of the publication."""
        return self.heart.lease

    def in_words(self) -> dict[str, object]:
        """For the manifest: the fencing token, and whose it was."""
        return {"token": self.fence.token, "owner": str(self.fence.owner)}

    def begin_publishing(self) -> None:
        """The last look before anything that is published is touched. Raises LostLeaseError."""
        self.fence.check()
        storage, episode_id = self.fence.storage, self.fence.key.rpartition("/")[2]
        if (later := published_token(storage, episode_id)) > self.fence.token:
            raise LostLeaseError(
                f"{self.fence.what} was published by a later run (its lease: {later}, ours: {self.fence.token}). Nothing was published."
            )
        self.has_published = True


@contextmanager
def episode_lease(request: EpisodeRequest, storage: Storage | None) -> Iterator[EpisodeLease | None]:
    """Hold the episode that the request publishes; a plan publishes nothing and holds nothing.

    Raises BusyError where another run is at it and the request does not want to wait.
    """
    if not isinstance(request, DubRequest) or storage is None:
        yield None
        return
    folder = _folder_to_be_made(request)
    held = EpisodeLease(Heartbeat(_taken(request, storage)))
    try:
        with beating(held.heart, _tell_trouble):
            storage.discard_unfinished(held.fence.unfinished, f"{request.episode_id}/")
            yield held
    finally:
        _give_back(held.fence, held.has_published)
        if folder is not None:
            with suppress(OSError):  # something lies in it, which is what it was made for
                folder.rmdir()


def published_token(storage: Storage, episode_id: str) -> int:
    """The fencing token that the published manifest was written under; 0 where there is none."""
    key = f"{episode_id}/manifest.json"
    if not storage.exists(key):
        return 0
    try:
        return max(0, int(json.loads(storage.read_bytes(key))["lease"]["token"]))
    except (ValueError, KeyError, TypeError, InputError):
        return 0  # of an earlier version, or being replaced at this moment


def this_run() -> Owner:
    """Host, process and user, as others are to be told."""
    return Owner(host=socket.gethostname(), pid=os.getpid(), user=user_name(), process=identity())


def _taken(request: DubRequest, storage: Storage) -> Lease:
    key, what = f"{FOLDER}/{request.episode_id}", f"Episode {request.episode_id} in {redact(request.out)}"
    ttl_s, floor = get_settings().lease_s, published_token(storage, request.episode_id)
    if request.if_busy == "wait":
        return acquire_when_free(storage, key, this_run(), ttl_s, lambda holder: _tell_wait(what, holder), floor, what)
    try:
        return acquire(storage, key, this_run(), ttl_s, floor, what)
    except BusyError as error:
        text = f"{what} is being worked on by {error.holder}. Run this again when that run has ended, or wait for it with --if-busy wait."
        raise BusyError(text, error.holder) from None


def _tell_wait(what: str, holder: LeaseRecord) -> None:
    text = f"{what} is being worked on by {holder.owner}; waiting for that run to end (--if-busy refuse does not wait)"
    logger.info("%s", text)
    progress.tell(progress.Said(text))


def _tell_trouble(error: Exception) -> None:
    progress.tell(progress.Said(f"the store does not take this run's sign of life: {error} Work goes on.", is_warning=True))


def _give_back(lease: Lease, has_published: bool) -> None:
    """Never stands in the way of how the run ended: what is not given back expires."""
    try:
        if has_published:
            lease.release()
        else:
            lease.withdraw()
        lease.storage.prune(lease.unfinished)
        lease.storage.prune(lease.key)
    except (DubflowError, OSError) as error:
        logger.warning("the lease on %s was not given back: %s", lease.what, error)


def _folder_to_be_made(request: DubRequest) -> Path | None:
    """OUT, where the lease is the first thing in it."""
    location = parse_location(request.out)
    return location.path if isinstance(location, FolderLocation) and not location.path.exists() else None
