"""A dub that does not fit on the disk is refused before it begins; what is finished already is not counted twice."""

from pathlib import Path

import pytest

from flows.run import disk_check
from flows.run.disk_check import fetch_if_room, finished_bytes, refuse_without_room
from infra.artifacts import Artifact, ArtifactStore
from infra.errors import InputError
from infra.settings import get_settings
from infra.storage import open_storage
from tasks.disk_needs import disk_needs
from tasks.types import DubRequest, Film

FILM = Film.model_validate(
    {
        "path": "/film.mov",
        "sha256": "f" * 64,
        "timing": {"sha256": "0" * 64, "num_bytes": 1, "media_type": "application/x-npz"},
        "time_base": "1/25",
        "fps": "25",
        "num_frames": 45 * 60 * 25,
        "width": 1920,
        "height": 1080,
        "pixel_format": "yuv422p10le",
        "video_codec": "prores",
    }
)


def request_to(out: object, **fields) -> DubRequest:
    return DubRequest.model_validate({"film": "/film.mov", "audio": {"fr": "/fr.wav"}, "out": str(out), "episode_id": "ep", **fields})


def test_forty_five_minutes_take_gigabytes_and_every_language_and_losslessness_more():
    one, five = disk_needs(FILM, 1, "h264"), disk_needs(FILM, 5, "h264")
    assert 10e9 < one.work < 30e9
    assert 3e9 < one.out < 10e9
    assert five.work - one.work == 4 * (one.work - disk_needs(FILM, 0, "h264").work)
    assert disk_needs(FILM, 1, "ffv1").work > 10 * one.out


def test_a_disk_that_is_too_small_is_told_with_both_figures_before_anything_is_written(tiny_disk):
    with pytest.raises(InputError, match=r"expected to take \d+\.\d GB in .*tiny/work and .*tiny/out, but only 0\.\d MB are free there. Free some"):
        refuse_without_room(request_to(tiny_disk / "out"), FILM, 1, tiny_disk / "work")
    assert list(tiny_disk.iterdir()) == []


def test_only_the_disk_that_is_too_small_is_named(tiny_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(disk_check, "disk_needs", lambda *_: disk_needs(FILM, 0, "h264").model_copy(update={"work": 1 << 20, "out": 1}))
    refuse_without_room(request_to(tiny_disk / "out"), FILM, 1, tmp_path / "work")
    with pytest.raises(InputError) as caught:
        refuse_without_room(request_to(tmp_path / "out"), FILM, 1, tiny_disk / "work")
    assert str(tmp_path / "out") not in str(caught.value)
    refuse_without_room(request_to("s3://bucket/out"), FILM, 1, tmp_path / "work")


def test_what_a_run_before_has_finished_is_not_asked_for_again(tiny_disk, tmp_path, monkeypatch):
    store = ArtifactStore(tiny_disk / "work")
    store.get_or_make("made", 1, {"film": FILM.sha256}, Artifact, lambda: store.put_bytes(bytes(150_000), "application/octet-stream"))
    store.get_or_make("made", 1, {"film": "another"}, Artifact, lambda: store.put_bytes(bytes(1000), "application/octet-stream"))
    assert finished_bytes(store.root, FILM.sha256) == 150_000
    for needed, fits in ((200_000, True), (300_000, False)):  # of 262 144, of which some 100 000 are free
        monkeypatch.setattr(disk_check, "disk_needs", lambda *_, needed=needed: disk_needs(FILM, 0, "h264").model_copy(update={"work": needed}))
        if fits:
            refuse_without_room(request_to(tmp_path / "out"), FILM, 1, store.root)
        else:
            with pytest.raises(InputError, match=r"expected to take 0\.[12] MB"):
                refuse_without_room(request_to(tmp_path / "out"), FILM, 1, store.root)


def test_who_knows_better_may_go_on(tiny_disk, monkeypatch):
    monkeypatch.setenv("DUBFLOW_DISK_CHECK", "warn")
    get_settings.cache_clear()
    refuse_without_room(request_to(tiny_disk / "out"), FILM, 1, tiny_disk / "work")
    get_settings.cache_clear()


def test_an_object_that_does_not_fit_is_not_even_begun_to_be_fetched(s3_bucket, tiny_disk, tmp_path):
    large = tmp_path / "film.mp4"
    large.write_bytes(bytes(1 << 20))
    open_storage(s3_bucket).put(large, "film.mp4")
    into = tiny_disk / "inputs"
    with pytest.raises(InputError, match=r"film\.mp4 takes 1\.0 MB, but only 0\.3 MB are free"):
        fetch_if_room(f"{s3_bucket}/film.mp4", into)
    assert not into.exists()
    there = fetch_if_room(f"{s3_bucket}/film.mp4", tmp_path / "inputs")
    assert there.stat().st_size == 1 << 20
    assert fetch_if_room(str(large), Path("/nowhere")) == large
