"""The lease of an episode and what is published under it: numbers only grow, and a run that came to nothing leaves nothing behind."""

import json

import pytest

from flows.episode.lease import episode_lease
from infra.lease import LostLeaseError
from infra.storage import open_storage
from tasks.types import DubRequest, PlanRequest


@pytest.fixture
def request_to(tmp_path):
    return DubRequest(film="/film.mp4", audio={"fr": "/fr.wav"}, out=str(tmp_path / "out"), episode_id="ep")


@pytest.fixture
def publish(tmp_path):
    def write(token: int) -> None:
        (tmp_path / "out" / "ep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "ep" / "manifest.json").write_text(json.dumps({"lease": {"token": token}}))

    return write


def test_a_run_with_a_lower_number_than_what_is_published_touches_nothing(request_to, publish):
    storage = open_storage(request_to.out)
    with episode_lease(request_to, storage) as lease:
        publish(7)
        with pytest.raises(LostLeaseError, match=r"published by a later run \(its lease: 7, ours: 1\)"):
            lease.begin_publishing()


def test_the_next_number_is_above_what_is_published_even_if_all_leases_were_removed(request_to, publish):
    publish(7)
    with episode_lease(request_to, open_storage(request_to.out)) as lease:
        lease.begin_publishing()
        assert lease.in_words()["token"] == 8


@pytest.mark.parametrize("manifest", ["", "[]", '{"lease": {"token": "x"}}', '{"format": 1}'])
def test_a_manifest_of_an_earlier_version_or_none_at_all_bears_no_number(request_to, publish, tmp_path, manifest):
    publish(7)
    (tmp_path / "out" / "ep" / "manifest.json").write_text(manifest)
    with episode_lease(request_to, open_storage(request_to.out)) as lease:
        assert lease.fence.token == 1


def test_a_run_that_fails_before_it_publishes_leaves_not_even_the_folder(request_to, tmp_path):
    with episode_lease(request_to, open_storage(request_to.out)):
        assert open_storage(request_to.out).list() == [".leases/ep/000001.json"]
    with pytest.raises(ZeroDivisionError), episode_lease(request_to, open_storage(request_to.out)):
        raise ZeroDivisionError
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_there_and_what_lies_in_it_stay(request_to, tmp_path):
    (tmp_path / "out" / "other").mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), episode_lease(request_to, open_storage(request_to.out)):
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["other"]


def test_a_plan_holds_nothing(tmp_path):
    with episode_lease(PlanRequest(film="/film.mp4"), None) as lease:
        assert lease is None
