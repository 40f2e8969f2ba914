"""Text that others wrote stays text: in titles, reasons, metadata and notes, in the parsed page of a real browser."""

import json

import pytest

from infra.artifacts import ArtifactStore
from tests.browser.conftest import serving, wait_until
from tests.synthetic_report import make_film, make_qa, publish_report

ATTACKS = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "</script><script>window.hacked = 1</script>",
    "</title></style></textarea><svg onload=window.hacked=1>",
    "\" autofocus onfocus='window.hacked=1' x=\"",
    "{{ 7 * 7 }}{% raw %}",
    "<!--<script>",
)
ELEMENTS = "() => Object.fromEntries([...document.querySelectorAll('*')].reduce((m, e) => m.set(e.tagName, (m.get(e.tagName) || 0) + 1), new Map()))"


def published_with(tmp_path, text: str, name: str):
    store = ArtifactStore(tmp_path / name)
    qa = make_qa(3)
    reports = [report.model_copy(update={"reason": text, "evidence": text}) for report in qa.reports]
    reports = [report.model_copy(update={"takes": tuple(take.model_copy(update={"reason": text}) for take in report.takes)}) for report in reports]
    hostile = qa.model_copy(update={"reports": tuple(reports), "policy_name": text})
    return publish_report(store, tmp_path / name / "out", [hostile], make_film(store, 225), warnings=(text,), film_name=text.replace("/", "_"))


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_element_comes_of_hostile_text_wherever_it_stands(tmp_path, open_page, attack):
    harmless = open_page(published_with(tmp_path, "harmless", "plain").page())
    page = open_page(published_with(tmp_path, attack, "hostile").page())
    for each, note in ((harmless, "harmless"), (page, attack)):
        each.keyboard.press("r")
        each.keyboard.type(note)
        each.keyboard.press("Enter")
        each.keyboard.press("k")
    assert page.evaluate(ELEMENTS) == harmless.evaluate(ELEMENTS)
    assert page.evaluate("window.hacked") is None
    assert page.input_value("#note") == attack
    assert page.inner_text("#shot-reason").lower() == attack.lower()


def test_hostile_notes_of_another_reviewer_stay_text_too(plain, open_page):
    entry = {"shot": 3, "language": "fr", "take_sha256": None, "decision": "reject", "note": ATTACKS[1], "reviewer": ATTACKS[0], "version": 1}
    data = json.loads((plain.folder / "report.json").read_text())["languages"][0]
    entry["take_sha256"] = data["shots"][3]["take_sha256"]
    (plain.folder / "review.json").write_text(json.dumps({"format": 1, "episode_id": "episode-1", "version": 1, "entries": [entry]}))
    with serving(plain) as address:
        page = open_page(address + "#shot-3")
        wait_until(page, "document.getElementById('progress-text').textContent === '1 of 10 decided'")
        assert page.input_value("#note") == ATTACKS[1]
        assert ATTACKS[0] in page.inner_text("#shot-state")
        assert page.evaluate("window.hacked") is None


def test_hostile_storage_of_the_browser_does_not_break_the_page(plain, open_page):
    page = open_page(plain.page())
    key = page.evaluate("(() => { for (let n = 0; n < localStorage.length; n += 1) localStorage.removeItem(localStorage.key(0)); return 0 })()")
    digest = json.loads((plain.folder / "report.json").read_text())["languages"][0]["digest"]
    for content in ("nonsense", "[]", '{"3": null, "99": {"decision": "approve"}, "4": {"decision": "launch"}, "x": 1}'):
        page.evaluate(f"localStorage.setItem('dubflow:decisions:episode-1:fr:{digest}', {json.dumps(content)})")
        page.reload()
        wait_until(page, "document.getElementById('progress-text').textContent === '0 of 10 decided'")
    assert key == 0


def test_a_script_that_got_in_would_not_run(plain, chromium):
    """The content security policy holds even if all escaping failed."""
    path = plain.page()
    path.write_text(path.read_text().replace("</body>", "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'></body>"))
    page = chromium.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector(".row")
    assert page.evaluate("window.hacked") is None
    page.close()
