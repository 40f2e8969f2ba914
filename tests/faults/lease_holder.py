"""A process that takes a lease and does as it is told, line by line: `python -m tests.faults.lease_holder ROOT TTL_S refuse|wait`.

It says `took TOKEN` or `busy MESSAGE`; then `publish KEY TEXT`, `sleep-publish KEY TEXT` (stops itself at the last moment of the write), `release`.
"""

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from infra.heartbeat import Heartbeat, beating
from infra.lease import BusyError, Lease, LostLeaseError, Owner, acquire, acquire_when_free
from infra.process_life import identity
from infra.storage import open_storage

KEY = ".leases/ep"


class Sleeper:
    """A fence whose holder is stopped the moment after it was let through."""

    def __init__(self, lease: Lease) -> None:
        self.unfinished = lease.unfinished
        self._lease, self._was_asleep = lease, False

    def check(self) -> None:
        self._lease.check()
        if not self._was_asleep:
            self._was_asleep = True
            os.kill(os.getpid(), signal.SIGSTOP)


def say(text: str) -> None:
    print(text, flush=True)


def publish(lease: Lease, how: str, key: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_text(text)
        try:
            lease.storage.put_fenced(path, key, Sleeper(lease) if how == "sleep-publish" else lease)
            say("published")
        except LostLeaseError as error:
            say(f"lost {error}")


def main(root: str, ttl_s: float, if_busy: str) -> None:
    storage = open_storage(root)
    owner = Owner(host=socket.gethostname(), pid=os.getpid(), user="tester", process=identity())
    say("ready")
    sys.stdin.readline()
    try:
        if if_busy == "refuse":
            lease = acquire(storage, KEY, owner, ttl_s)
        else:
            lease = acquire_when_free(storage, KEY, owner, ttl_s, lambda holder: say(f"waiting for {holder.owner.pid}"))
    except BusyError as error:
        say(f"busy {error}")
        return
    with beating(Heartbeat(lease), lambda error: None):
        storage.discard_unfinished(lease.unfinished, "ep/")
        say(f"took {lease.token}")
        for line in sys.stdin:
            how, _, rest = line.strip().partition(" ")
            if how == "release":
                lease.release()
                break
            publish(lease, how, *rest.split(" ", 1))
    say("ended")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
