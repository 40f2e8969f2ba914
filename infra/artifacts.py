"""The one cache: content-addressed bytes and the records that name them. Stored = done; resume is a look-up."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from infra import store_lock
from infra.artifact import Artifact as Artifact
from infra.artifact import artifacts_of as artifacts_of
from infra.artifact import record_place
from infra.artifact_objects import ArtifactObjects
from infra.durable import disk_errors, publish, write_synced
from infra.errors import CorruptArtifactError
from infra.record_keys import check_step, record_key
from infra.remote_artifacts import RemoteTier
from infra.stored_records import UNREADABLE, first_line, open_record, seal_record

logger = logging.getLogger(__name__)
RecordT = TypeVar("RecordT", bound=BaseModel)

_lock = threading.Lock()  # guards the table below; it is per process on purpose
_counts: dict[tuple[str, str], list[int]] = {}  # (root, step) -> [made, reused]


@dataclass(frozen=True)
class ArtifactStore(ArtifactObjects):
    """A folder: objects/AA/SHA256 (read-only bytes), records/STEP/KEY.json, quarantine/, scratch/. Safe among threads and processes; picklable.

    With `remote` (a folder or s3:// URI) it is the near tier of a store that machines share: what is not here is looked for there, what is made here
    goes there, the artifacts before the record that names them. What is missing or damaged there counts as absent.
    """

    def get_or_make(self, step: str, version: int, inputs: dict, record_type: type[RecordT], make: Callable[[], RecordT]) -> RecordT:
        """The record of this step for these inputs: read if stored, else made by `make()` and stored.

        `inputs` holds JSON values, records, fractions and tuples; name files in it by digest, not by path. A record that cannot be read,
        or that names artifacts that are missing or corrupt, counts as absent. Two makers at once are harmless: both get the first one's record.
        On a store with a remote tier a record is found there too, and its artifacts are brought when path() asks for them.
        Raises whatever `make` raises (nothing is stored then), and TransientError when the disk is full.
        """
        check_step(step)
        key = record_key(step, version, inputs)
        record = self._find_record(step, key, record_type)
        if record is not None:
            self._count(step, made=0, reused=1)
            logger.info("reused %s %s", step, key[:12])
            return record
        started = time.monotonic()
        made = make()
        if not isinstance(made, record_type):
            raise TypeError(f"{step} made a {type(made).__name__}, not a {record_type.__name__}")
        record = self._keep_record(step, key, seal_record(step, version, inputs, made), record_type)
        self._count(step, made=1, reused=0)
        logger.info("made %s %s in %.1f s", step, key[:12], time.monotonic() - started)
        return record

    def find(self, step: str, version: int, inputs: dict, record_type: type[RecordT]) -> RecordT | None:
        """The record that get_or_make() would find, or None where it would have to make one. Nothing is counted."""
        check_step(step)
        return self._find_record(step, record_key(step, version, inputs), record_type)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Per step: (made, reused) by this process in this store."""
        with _lock:
            return {step: (numbers[0], numbers[1]) for (root, step), numbers in _counts.items() if root == str(self.root)}

    # -- records

    def _find_record(self, step: str, key: str, record_type: type[RecordT]) -> RecordT | None:
        record = self._read_record(step, key, record_type)
        if self.tier is None:
            return record
        if record is not None:
            return self._share(self.tier, step, key, record)
        data = self.tier.read_record(step, key)
        record = None if data is None else self._understood(step, key, data, record_type)
        if data is not None and record is not None:
            self._publish_record(step, key, data)
            self._mark_shared(self.tier, step, key)
        return record

    def _read_record(self, step: str, key: str, record_type: type[RecordT]) -> RecordT | None:
        """The record in the folder, if it and all that it names can be had; it then counts as used just now."""
        path = self.root / record_place(step, key)
        with store_lock.in_use(self.root):
            try:
                data = path.read_bytes()
                record = self._understood(step, key, data, record_type)
                if record is not None:
                    os.utime(path)
            except FileNotFoundError:
                return None
            return record

    def _understood(self, step: str, key: str, data: bytes, record_type: type[RecordT]) -> RecordT | None:
        try:
            record = open_record(data, key, record_type)
            if self._check_artifacts(record) and self.tier is not None:
                self.tier.keep_young(step, key, data)
        except (*UNREADABLE, CorruptArtifactError) as error:
            logger.warning("record %s %s counts as absent: %s", step, key[:12], first_line(error))
            return None
        return record

    def _check_artifacts(self, record: BaseModel) -> bool:
        """Raise CorruptArtifactError unless all that it names is here or on the remote tier. Returns whether some of it is only there."""
        elsewhere = []
        for artifact in artifacts_of(record):
            try:
                self._local_path(artifact)
            except CorruptArtifactError:
                if self.tier is None:
                    raise
                elsewhere.append(artifact)
        if self.tier is not None:
            for artifact in self.tier.unsure_of(elsewhere):
                self._fetch(self.tier, artifact)
        return bool(elsewhere)

    def _keep_record(self, step: str, key: str, data: bytes, record_type: type[RecordT]) -> RecordT:
        """Store a record that was just made; where another maker was faster, theirs is given."""
        record = open_record(data, key, record_type)
        self._check_artifacts(record)
        earlier = self._read_record(step, key, record_type)
        if earlier is None:
            with store_lock.in_use(self.root):
                self._check_artifacts(record)
                self._publish_record(step, key, data)
        kept = earlier or record
        if self.tier is None:
            return kept
        self._shared_mark(self.tier, step, key).unlink(missing_ok=True)  # of an earlier record, lost since
        return self._share(self.tier, step, key, kept)

    def _publish_record(self, step: str, key: str, data: bytes) -> None:
        with self._temporary_file() as temporary, disk_errors(f"storing the record of {step}", self.root):
            write_synced(temporary, data)
            publish(temporary, self.root / record_place(step, key))

    def _share(self, tier: RemoteTier, step: str, key: str, record: RecordT) -> RecordT:
        """Put a record of the folder on the remote tier, unless that was done before; where another is there and can be used, that one is given."""
        if self._shared_mark(tier, step, key).exists():
            return record
        here = {artifact.sha256: artifact for artifact in artifacts_of(record) if self._object_path(artifact.sha256).exists()}
        tier.send([(artifact, self.path(artifact)) for artifact in here.values()])
        data = (self.root / record_place(step, key)).read_bytes()
        if not tier.offer_record(step, key, data):
            theirs = tier.read_record(step, key)
            first = None if theirs is None else self._understood(step, key, theirs, type(record))
            if theirs is not None and first is not None:
                self._publish_record(step, key, theirs)
                record = first
            else:
                tier.replace_record(step, key, data)
        self._mark_shared(tier, step, key)
        return record

    def _shared_mark(self, tier: RemoteTier, step: str, key: str) -> Path:
        return self.root / "shared" / tier.name / step / key

    def _mark_shared(self, tier: RemoteTier, step: str, key: str) -> None:
        mark = self._shared_mark(tier, step, key)
        with disk_errors(f"noting what is shared of {step}", self.root):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()

    def _count(self, step: str, made: int, reused: int) -> None:
        with _lock:
            numbers = _counts.setdefault((str(self.root), step), [0, 0])
            numbers[0] += made
            numbers[1] += reused
