"""The GPU slot: of all runs on all machines only so many use a GPU at a time. Whoever dies holding a slot loses it within two minutes."""

import flows.environment  # noqa: F401  # isort: skip
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import httpx
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_API_URL

from infra.errors import InputError
from infra.settings import get_settings

LIMIT = "dubflow-gpu"  # the global concurrency limit that `dub deploy` makes: as many slots as there are GPUs
LEASE_S = 60.0  # renewed while held; the least that Prefect's server takes
logger = logging.getLogger(__name__)


@contextmanager
def gpu_slot() -> Iterator[None]:
    """Hold one slot within, once one is free.

    Taken where the work is done on a GPU, or where DUBFLOW_GPU_SLOT names a limit; without either, or where the server knows no such limit, nothing
    is waited for. A slot spares trouble, it is no matter of right or wrong: a server that cannot be reached does not stop a shot.
    Raises InputError when DUBFLOW_GPU_SLOT names a limit that does not exist.
    """
    slot = _take_slot()
    try:
        yield
    finally:
        if slot is not None:
            try:
                slot.__exit__(None, None, None)
            except (httpx.HTTPError, PrefectException) as error:
                logger.warning("the GPU slot could not be given back (%s); it is free again in %.0f s", type(error).__name__, 2 * LEASE_S)


def _take_slot() -> AbstractContextManager[None] | None:
    named = get_settings().gpu_slot
    if named is None and not _is_on_gpu():
        return None
    try:
        if not _exists(named or LIMIT, PREFECT_API_URL.value()):
            if named is None:
                return None
            raise InputError(
                f"DUBFLOW_GPU_SLOT={named}: Prefect's server knows no such limit. Make it: prefect gcl create {named} --limit NUMBER_OF_GPUS, "
                "or `dub deploy`, which makes dubflow-gpu."
            )
        slot = concurrency(named or LIMIT, occupy=1, lease_duration=LEASE_S, raise_on_lease_renewal_failure=False)
        slot.__enter__()
    except (ConcurrencySlotAcquisitionError, httpx.HTTPError, PrefectException) as error:
        logger.warning("no GPU slot could be asked for (%s); going on without", type(error.__cause__ or error).__name__)
        return None
    return slot


@cache
def _exists(name: str, api_url: str | None) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return False
        return True


def _is_on_gpu() -> bool:
    import torch

    return get_settings().device != "cpu" and torch.cuda.is_available()
