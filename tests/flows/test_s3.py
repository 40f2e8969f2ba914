"""The same job with film, dub and output on a real S3 server."""

import hashlib
import json

import av
import pytest

from infra.storage import open_storage
from tests.flows.test_dub_episode import request_for
from tests.small_film import NUM_FRAMES

pytestmark = pytest.mark.usefixtures("settings_of_test")


def test_film_and_dub_come_from_s3_and_the_episode_goes_there(small, s3_bucket, tmp_path) -> None:
    from flows.dub_episode import dub_episode

    store = open_storage(s3_bucket)
    store.put(small.film, "in/film.mp4")
    store.put(small.dub, "in/dub.wav")
    fields = {"film": f"{s3_bucket}/in/film.mp4", "audio": {"fr": f"{s3_bucket}/in/dub.wav"}, "work": str(tmp_path / "work")}
    result = dub_episode(request_for(small, f"{s3_bucket}/out", **fields))

    keys = {"fr/small.fr.mp4", "fr/report.html", "fr/timeline.otio", "fr/small.fr.edl", "shots.parquet", "shots.csv"}
    keys |= {"report.html", "report.json", "report.schema.json", "summary.md", "manifest.json"}
    assert {key for key in store.list("out/small/") if "/previews/" not in key} == {f"out/small/{key}" for key in keys}
    manifest = json.loads(store.read_bytes("out/small/manifest.json"))
    for key, output in manifest["outputs"].items():
        assert hashlib.sha256(store.read_bytes(f"out/small/{key}")).hexdigest() == output["sha256"]
    assert result.outputs["fr"] == f"{s3_bucket}/out/small/fr/small.fr.mp4"

    store.get("out/small/fr/small.fr.mp4", tmp_path / "back.mp4")
    with av.open(str(tmp_path / "back.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == NUM_FRAMES
        assert len(film.streams.audio) == 2, "the dub, and the film's own sound carried over"
    assert not (tmp_path / "work" / "inputs").is_dir() or not list((tmp_path / "work" / "inputs").glob("*.mp4")), "it was never fetched whole"


def test_an_object_that_is_not_there_is_your_input_and_nothing_is_written(small, s3_bucket, tmp_path) -> None:
    from flows.dub_episode import dub_episode
    from infra.errors import InputError

    with pytest.raises(InputError, match=r"film\.mp4"):
        dub_episode(request_for(small, f"{s3_bucket}/out", film=f"{s3_bucket}/in/film.mp4", work=str(tmp_path / "work")))
    assert open_storage(s3_bucket).list("") == []
