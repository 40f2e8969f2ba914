"""Links that anybody may open, for a while: made where a store has addresses, told on the page, and nowhere else."""

import time
import urllib.error
import urllib.request

import pytest

from flows.run.show import address
from infra.artifacts import ArtifactStore
from infra.storage import open_storage
from tasks.page_links import NO_LINKS, LinkMaker
from tests.synthetic_report import make_film, make_qa, publish_report


def body_at(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def test_a_link_opens_without_keys_and_ends_when_it_was_said_to(s3_bucket, tmp_path):
    storage = open_storage(f"{s3_bucket}/out")
    (tmp_path / "page").write_bytes(b"<p>a page")
    storage.put(tmp_path / "page", "ep/fr/a page.html")
    links = LinkMaker(storage, "ep/", hours=1).links_to(["fr/a page.html"])
    assert body_at(links.urls["fr/a page.html"]) == b"<p>a page"
    assert body_at(address(f"{s3_bucket}/out/ep/fr/a page.html", 1)) == b"<p>a page"
    short = storage.link("ep/fr/a page.html", 1)
    time.sleep(2.5)
    with pytest.raises(urllib.error.HTTPError) as caught:
        body_at(short)
    assert caught.value.code == 403


def test_links_are_not_shown_where_records_are_shown(s3_bucket):
    maker = LinkMaker(open_storage(f"{s3_bucket}/out"), "ep/", hours=1)
    links = maker.links_to(["fr/report.html"])
    assert "Signature" in links.urls["fr/report.html"]
    assert "Signature" not in repr(links) + repr(maker)


def test_a_folder_has_paths_and_no_links(tmp_path):
    assert LinkMaker(open_storage(tmp_path), "ep/", hours=1).links_to(["fr/report.html"]) is NO_LINKS
    assert address(str(tmp_path / "ep"), 1) == str(tmp_path / "ep")


def test_without_links_asked_for_pages_are_as_ever(tmp_path):
    store = ArtifactStore(tmp_path / "store")
    pages = []
    for name, maker in (("plain", None), ("asked", LinkMaker(open_storage(tmp_path / "asked"), "episode-1/", 1))):
        published = publish_report(store, tmp_path / name, [make_qa(3)], make_film(store, 750), link_maker=maker)
        pages.append([(published.page().read_bytes(), (published.folder / "report.html").read_bytes())])
    assert pages[0] == pages[1]
    assert b"hold until" not in pages[0][0][0]


def test_the_page_says_how_long_and_lets_its_own_media_servers_in_and_no_other(tmp_path, s3_bucket, swift):
    store = ArtifactStore(tmp_path / "store")
    maker = LinkMaker(open_storage(f"{s3_bucket}/out"), "episode-1/", hours=2)
    page = publish_report(
        store, tmp_path / "out", [make_qa(3, language="fr"), make_qa(3, language="de")], make_film(store, 750), link_maker=maker
    ).page()
    text = page.read_text()
    assert "The links on this page hold until 20" in text
    assert f"media-src &#39;self&#39; {swift.endpoint_url};" in text
    assert "out/episode-1/de/report.html?X-Amz-" in text, "the way to the other language is signed too"
    assert '"episode-1.mp4":"' in text
