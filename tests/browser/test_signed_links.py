"""A report in a bucket that only links open: the page shows its pictures although relative addresses would carry no signature."""

from infra.storage import open_storage
from tasks.page_links import LinkMaker
from tests.browser.conftest import _publish, serving, wait_until


def test_a_page_opened_by_a_signed_link_shows_its_previews_and_leads_on(s3_bucket, open_page, tmp_path):
    storage = open_storage(f"{s3_bucket}/out")
    published = _publish(tmp_path, 2, 25, LinkMaker(storage, "episode-1/", hours=1))
    for path in published.folder.rglob("*"):
        if path.is_file():
            storage.put(path, f"episode-1/{path.relative_to(published.folder).as_posix()}")
    page = open_page(storage.link("episode-1/report.html", 3600))
    page.wait_for_selector(".row")  # the overview led on to the only language by its own link
    wait_until(page, "document.getElementById('after').readyState >= 3 && document.getElementById('before').readyState >= 3")
    assert "hold until" in page.inner_text("#notices")


def test_served_for_review_the_page_leads_nowhere_else(s3_bucket, open_page, tmp_path):
    published = _publish(tmp_path, 2, 25, LinkMaker(open_storage(f"{s3_bucket}/out"), "episode-1/", hours=1))
    assert "X-Amz-Signature" in published.page().read_text()
    with serving(published) as address:
        page = open_page(address)
        wait_until(page, "document.getElementById('after').readyState >= 3")
        assert page.get_attribute("nav a", "href") == "../fr/report.html"
