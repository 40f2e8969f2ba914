"""The GPU slot: held by as many as there are GPUs, freed when its holder dies, and never a reason to lose a shot."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import InputError
from tests.prefect_server import prefect_server


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The setting names a limit."""
    from infra.settings import get_settings

    monkeypatch.setenv("DUBFLOW_GPU_SLOT", "two-cards")
    get_settings.cache_clear()
    yield "two-cards"
    get_settings.cache_clear()


def active_slots(name: str) -> int:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(name).active_slots


def make_limit(name: str, limit: int) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, limit)


def test_no_more_work_at_a_time_than_there_are_slots(prefect_api, named):
    from contextvars import copy_context

    from flows.runners.gpu_slot import gpu_slot

    make_limit(named, 1)
    lock, num_inside, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal num_inside, most
        with gpu_slot():
            with lock:
                num_inside += 1
                most = max(most, num_inside)
            time.sleep(0.2)
            with lock:
                num_inside -= 1

    threads = [threading.Thread(target=copy_context().run, args=(work,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert most == 1
    assert active_slots(named) == 0


def test_a_limit_that_is_named_and_does_not_exist_is_told(prefect_api, monkeypatch):
    from flows.runners.gpu_slot import gpu_slot
    from infra.settings import get_settings

    monkeypatch.setenv("DUBFLOW_GPU_SLOT", "no-such-cards")
    get_settings.cache_clear()
    with pytest.raises(InputError, match=r"no-such-cards.*prefect gcl create"), gpu_slot():
        pass
    get_settings.cache_clear()


def test_without_a_gpu_nothing_is_asked_for(monkeypatch):
    from flows.run.local_server import talking_to
    from flows.runners.gpu_slot import gpu_slot
    from infra.settings import get_settings

    monkeypatch.setenv("DUBFLOW_DEVICE", "cpu")
    get_settings.cache_clear()
    with talking_to("http://127.0.0.1:9/api"), gpu_slot():  # nobody is there
        pass
    get_settings.cache_clear()


def test_a_server_out_of_reach_stops_no_work(named, caplog):
    from flows.run.local_server import talking_to
    from flows.runners.gpu_slot import gpu_slot

    is_done = False
    with talking_to("http://127.0.0.1:9/api"), gpu_slot():
        is_done = True
    assert is_done
    assert "no GPU slot could be asked for" in caplog.text


def test_an_error_of_the_work_comes_through_and_the_slot_is_free_again(prefect_api, named):
    from flows.runners.gpu_slot import gpu_slot

    def work() -> None:
        with gpu_slot():
            assert active_slots(named) == 1
            raise InputError("the work's own")

    make_limit(named, 1)
    with pytest.raises(InputError, match="the work's own"):
        work()
    assert active_slots(named) == 0


def hold(api_url: str, limit: str, is_held) -> None:
    """In a process of its own: take a slot and keep it."""
    os.environ |= {"PREFECT_API_URL": api_url, "DUBFLOW_GPU_SLOT": limit}
    from flows.runners.gpu_slot import gpu_slot

    with gpu_slot():
        is_held.set()
        time.sleep(3600)


@pytest.mark.long
def test_the_slot_of_a_holder_that_was_killed_is_free_again_also_when_the_server_has_been_started_anew(named, tmp_path: Path):
    from flows.run.local_server import talking_to
    from flows.runners.gpu_slot import gpu_slot

    context = multiprocessing.get_context("spawn")
    is_held = context.Event()
    with prefect_server(tmp_path) as environment:
        with talking_to(environment["PREFECT_API_URL"]):
            make_limit(named, 1)
        holder = context.Process(target=hold, args=(environment["PREFECT_API_URL"], named, is_held))
        holder.start()
        assert is_held.wait(120)
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        holder.join()
    with prefect_server(tmp_path) as environment, talking_to(environment["PREFECT_API_URL"]):  # the same database, another process
        assert active_slots(named) == 1
        started = time.monotonic()
        with gpu_slot():
            assert active_slots(named) == 1
        assert time.monotonic() - started < 300
        assert active_slots(named) == 0
