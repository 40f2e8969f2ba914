"""Two machines and one bucket: what the first has finished, the second with an empty disk does not do again; and what the report links to opens."""

import shutil
import urllib.request
from html import unescape
from re import search

import pytest

from infra.settings import get_settings
from infra.storage import open_storage
from tests.flows.test_dub_episode import request_for

pytestmark = pytest.mark.usefixtures("settings_of_test")


def test_a_machine_with_an_empty_disk_redoes_nothing_and_its_report_opens_by_links(small, s3_bucket, tmp_path, monkeypatch, caplog, capsys) -> None:
    from flows.dub_episode import dub_episode
    from flows.run.show import show_result

    monkeypatch.setenv("DUBFLOW_ARTIFACTS", f"{s3_bucket}/steps")
    get_settings.cache_clear()
    storage = open_storage(s3_bucket)
    storage.put(small.film, "in/film.mp4")
    fields = {"film": f"{s3_bucket}/in/film.mp4", "work": str(tmp_path / "work")}
    first = dub_episode(request_for(small, f"{s3_bucket}/out", **fields))
    assert first.steps["track_faces"].made == 3
    film = storage.read_bytes("out/small/fr/small.fr.mp4")
    shutil.rmtree(tmp_path / "work")
    again = dub_episode(request_for(small, f"{s3_bucket}/out", **fields, link_hours=1))

    assert {step: count.made for step, count in again.steps.items() if count.made} == {}
    assert again.steps["track_faces"].reused == 3
    assert again.num_rendered_frames == 0
    assert storage.read_bytes("out/small/fr/small.fr.mp4") == film
    assert storage.list("steps/live/") == [], "nobody is at work any more"

    page = unescape(storage.read_bytes("out/small/fr/report.html").decode()).replace("\\u0026", "&")
    link = search(r'"small\.fr\.mp4":"(http[^"]+)"', page)
    assert link is not None
    with urllib.request.urlopen(link[1], timeout=60) as answer:
        assert answer.read() == film
    show_result(again, link_hours=1)
    assert "X-Amz-Signature" in capsys.readouterr().out
    assert "X-Amz-Signature" not in again.model_dump_json() + caplog.text
