"""How a lease lies in a storage: who holds it, its number, its heartbeat. One file for each lease ever taken; see infra.lease."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import InputError, OurTroubleError
from infra.storage import Storage


class Owner(BaseModel):
    """Who holds a lease, for people; process: its identity by infra.process_life."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    pid: int
    user: str
    since: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))  # by its own clock
    process: str = ""

    def __str__(self) -> str:
        text = f"{self.user} on {self.host} (process {self.pid}) since {self.since.replace('T', ' ').replace('+00:00', ' UTC')}"
        return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)[:300]


class LeaseRecord(BaseModel):
    """A lease as it lies in the storage."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    token: int = Field(ge=1)
    id: str
    owner: Owner
    ttl_s: float = Field(gt=0, le=86400)
    beat: int = 0
    state: Literal["held", "released"] = "held"


def newest(storage: Storage, key: str) -> LeaseRecord | None:
    """The lease with the highest number, held or released; None where none was ever taken."""
    for name in sorted(storage.list(f"{key}/"), reverse=True):
        number = name.removeprefix(f"{key}/").removesuffix(".json")
        if number.isdecimal() and (record := read_lease(storage, key, int(number))) is not None:
            return record
    return None


def name_of(key: str, token: int) -> str:
    return f"{key}/{token:06d}.json"


def read_lease(storage: Storage, key: str, token: int) -> LeaseRecord | None:
    name = name_of(key, token)
    try:
        return LeaseRecord.model_validate_json(storage.read_bytes(name))
    except FileNotFoundError:
        return None
    except InputError:
        if storage.exists(name):
            raise
        return None
    except ValidationError:
        raise OurTroubleError(f"{storage.describe(name)} is no lease of this version of dubflow. If no other run is on, remove it.") from None


def write_lease(storage: Storage, key: str, record: LeaseRecord) -> None:
    with file_of(record) as path:
        storage.put(path, name_of(key, record.token))


@contextmanager
def file_of(record: LeaseRecord) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dubflow-") as folder:
        path = Path(folder) / "lease.json"
        path.write_text(record.model_dump_json(), encoding="utf-8")
        yield path
