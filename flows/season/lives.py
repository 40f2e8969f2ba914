"""Whether a run on some worker still lives, told by its episode's lease: the server learns late, or never, of a machine that is gone."""

import logging
import time
from dataclasses import dataclass, field

from flows.episode.lease import FOLDER
from infra.errors import DubflowError
from infra.lease import LeaseRecord, newest
from infra.storage import Storage

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 15.0
LIVES_LOST = 2.0  # a lease unchanged for so many times to live is a dead run's, and nobody waits for it


@dataclass
class Lives:
    """What is seen of the episodes' leases from one look to the next. To be used under a lock."""

    storage: Storage
    _seen: dict[str, tuple[LeaseRecord | None, float]] = field(default_factory=dict)  # episode -> lease, monotonic time since when it is so
    _looked: dict[str, float] = field(default_factory=dict)

    def is_dead(self, episode_id: str) -> bool:
        """Whether whoever holds the episode has given no sign of life for long; False while that is not known."""
        now = time.monotonic()
        if now - self._looked.get(episode_id, -LOOK_EVERY_S) < LOOK_EVERY_S:
            return False
        self._looked[episode_id] = now
        try:
            lease = newest(self.storage, f"{FOLDER}/{episode_id}")
        except DubflowError as error:
            logger.info("the lease of %s cannot be looked at: %s", episode_id, error)
            return False
        before, since = self._seen.get(episode_id, (None, now))
        if lease is None or lease.state != "held" or lease != before:
            self._seen[episode_id] = (lease, now)
            return False
        return now - since > LIVES_LOST * lease.ttl_s
