"""The user's own Prefect server, for commands that change what it holds: one clear message where there is none or it does not answer."""

import flows.environment  # noqa: F401  # isort: skip
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectException, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from infra.errors import InputError, OurTroubleError, TransientError


@contextmanager
def studio_server() -> Iterator[SyncPrefectClient]:
    """A client of the server that PREFECT_API_URL (or a Prefect profile) names. Raises InputError, TransientError, OurTroubleError."""
    where = PREFECT_API_URL.value()
    if not where:
        raise InputError(
            "No Prefect server is named. Start one (prefect server start) and say where it is: export PREFECT_API_URL=http://HOST:4200/api. "
            "A single `dub episode` needs none."
        )
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise InputError(
                f"Prefect's server at {where} refuses us ({status}). Set PREFECT_API_AUTH_STRING to what the server has as "
                "PREFECT_SERVER_API_AUTH_STRING."
            ) from None
        raise OurTroubleError(f"Prefect's server at {where} answered {status} to {error.request.method} {error.request.url.path}.") from None
    except httpx.HTTPError as error:
        raise TransientError(
            f"Prefect's server at {where} does not answer ({type(error).__name__}). Is it running, and is PREFECT_API_URL right?"
        ) from None
    except PrefectException as error:
        raise OurTroubleError(f"Prefect's server at {where}: {type(error).__name__}: {error}") from error
