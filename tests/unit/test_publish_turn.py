"""Two runs never publish one episode at the same time, and a run that died holds nobody up for good."""

import threading
import time

from flows import publish_turn
from flows.publish_turn import publishing_turn
from infra.storage import open_storage


def test_the_second_waits_until_the_first_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(publish_turn, "POLL_S", 0.02)
    storage, inside, most = open_storage(tmp_path), [], []

    def publish() -> None:
        with publishing_turn(storage, "ep"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=publish) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5
    assert storage.list() == []


def test_the_turn_of_a_run_that_died_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(publish_turn, "POLL_S", 0.02)
    left = tmp_path / "ep" / "publishing.json"
    left.parent.mkdir()
    left.write_text('{"id": "dead"}')
    with publishing_turn(open_storage(tmp_path), "ep", abandoned_s=0.1):
        assert "dead" not in left.read_text()
    assert not left.exists()


def test_a_turn_is_given_back_when_publishing_fails(tmp_path):
    try:
        with publishing_turn(open_storage(tmp_path), "ep"):
            raise OSError("the disk is full")
    except OSError:
        pass
    assert open_storage(tmp_path).list() == []
