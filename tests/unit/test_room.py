"""Work that fills memory goes one after another, work that does not goes side by side, and nothing waits for ever."""

import threading
import time
from contextlib import suppress

import pytest

from infra.room import Room


def most_at_once(room: Room, sizes: list[int]) -> tuple[int, int]:
    """(most bytes held at a time, most holders at a time)"""
    lock, held, most = threading.Lock(), [], [(0, 0)]

    def work(size: int) -> None:
        with room.taking(size):
            with lock:
                held.append(size)
                most.append((sum(held), len(held)))
            time.sleep(0.02)
            with lock:
                held.remove(size)

    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return max(num_bytes for num_bytes, _ in most), max(count for _, count in most)


@pytest.mark.parametrize(("sizes", "num_bytes", "num_at_once"), [([60] * 6, 60, 1), ([20] * 10, 100, 5), ([500, 500, 10], 500, 1)])
def test_no_more_is_held_than_there_is_room_for_unless_one_alone_needs_more(sizes: list[int], num_bytes: int, num_at_once: int) -> None:
    assert most_at_once(Room(100), sizes) == (num_bytes, num_at_once)


def test_room_is_free_again_after_an_error() -> None:
    room = Room(100)
    with suppress(RuntimeError), room.taking(90):
        raise RuntimeError
    assert most_at_once(room, [90]) == (90, 1)
