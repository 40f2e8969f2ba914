"""Tells Prefect that a data drop has come in. One drop is one event, however often it is told: the event's id is made from the drop's."""

import flows.environment  # noqa: F401  # isort: skip
import uuid
from typing import Literal

import httpx
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL
from prefect.types._datetime import now

from infra.errors import TransientError
from infra.storage import Storage
from training.drops import Drop
from training.registry import file_of

EVENT = "dubflow.data.added"
_NAMESPACE = uuid.UUID("6f0c7c1e-8a0b-4f0e-9d53-0a6f2d1d5b11")


def announce(storage: Storage, drop: Drop) -> Literal["sent", "sent before", "no server"]:
    """Emit the event of a stored drop, once; that it was sent is noted in the registry. Raises TransientError when the server does not take it."""
    noted = f"announced/{drop.id}.json"
    if storage.exists(noted):
        return "sent before"
    if not PREFECT_API_URL.value():  # a server of one command's own has no automations: nobody would hear it
        return "no server"
    event = Event(
        occurred=now("UTC"),  # type: ignore[arg-type]
        id=uuid.uuid5(_NAMESPACE, drop.id),
        event=EVENT,
        resource={"prefect.resource.id": f"dubflow.data.{drop.id}", "prefect.resource.name": f"data drop {drop.id[:12]}"},  # type: ignore[arg-type]
        payload={"drop": drop.id, "people": list(drop.people), "num_clips": len(drop.clips), "duration_s": round(drop.duration_s, 1)},
    )
    try:
        with get_client(sync_client=True) as client:
            client.request("POST", "/events", json=[event.model_dump(mode="json")])  # type: ignore[arg-type]
    except (httpx.HTTPError, PrefectException) as error:
        raise TransientError(
            f"The drop is stored, but Prefect's server at {PREFECT_API_URL.value()} did not take the event ({type(error).__name__}). "
            "The same command sends it again."
        ) from error
    with file_of(event.model_dump_json().encode()) as path:
        storage.put_if_absent(path, noted)
    return "sent"
