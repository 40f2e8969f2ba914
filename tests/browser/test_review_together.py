"""Two reviewers in two browsers at one review: each sees the other's words, none overwrites unseen ones, new renders come up by themselves."""

import json

from infra.artifacts import ArtifactStore
from tests.browser.conftest import serving, wait_until
from tests.synthetic_report import make_film, make_qa, publish_report, take_of

SAVED = "document.getElementById('saved').textContent.startsWith('Saved')"


def press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_the_second_reviewer_sees_the_first_one_s_decision_and_both_words_are_kept_until_one_is_chosen(plain, open_page):
    with serving(plain) as address:
        ann, ben = open_page(address + "#shot-3"), open_page(address + "#shot-3")
        for page, name in ((ann, "Ann"), (ben, "Ben")):
            page.fill("#reviewer", name)
            press(page, "Escape")
            wait_until(page, SAVED)
        press(ann, "r")
        ann.keyboard.type("late")
        press(ben, "a")
        press(ann, "Enter")
        for page in (ann, ben):
            wait_until(page, "[...document.querySelectorAll('.row .mark')].some(mark => mark.textContent)")
        loser = ann if "Ben" in _entry(plain)["reviewer"] else ben
        wait_until(loser, "!document.getElementById('conflict').hidden")
        assert "decided meanwhile" in loser.inner_text("#conflict")
        mine = "reject" if loser is ann else "approve"
        for _ in range(5):  # each time the other has said more meanwhile, it is shown again
            if _entry(plain)["decision"] == mine:
                break
            wait_until(loser, "!document.getElementById('conflict').hidden")
            loser.click("#conflict button >> text=Put mine instead")
            loser.wait_for_timeout(3000)
        assert _entry(plain)["decision"] == mine
        assert _entry(plain)["version"] > 1


def _entry(plain) -> dict:
    entries = json.loads((plain.folder / "review.json").read_text())["entries"]
    return next((entry for entry in entries if entry["shot"] == 3), {"reviewer": "", "decision": ""})


def test_a_decision_comes_up_in_the_other_browser_and_is_handed_in_for_a_redo(plain, open_page):
    with serving(plain) as address:
        ann, ben = open_page(address + "#shot-3"), open_page(address + "#shot-0")
        ann.fill("#reviewer", "Ann")
        press(ann, "Escape", "a")
        wait_until(ben, "document.getElementById('progress-text').textContent === '1 of 10 decided'")
        wait_until(ann, SAVED)
        ben.click("#hand-in")
        wait_until(ben, "document.getElementById('notices').textContent.includes('1 decisions handed in')")
        file = json.loads((plain.folder / "decisions.json").read_text())
        assert [(said["shot"], said["decision"], said["reviewer"]) for said in file["decisions"]] == [(3, "approve", "Ann")]


def test_a_render_that_comes_during_the_review_is_shown_without_losing_the_place(plain, open_page, tmp_path):
    with serving(plain) as address:
        page = open_page(address + "#shot-4")
        press(page, "a")
        wait_until(page, SAVED)
        store = ArtifactStore(tmp_path / "store")
        qa = make_qa(10)
        again = [report.model_copy(update={"take_sha256": take_of(3, again=1)}) if report.shot.index == 3 else report for report in qa.reports]
        publish_report(store, plain.out, [qa.model_copy(update={"reports": tuple(again)})], make_film(store, 750))
        place = page.inner_text("#shot-title")
        wait_until(page, "document.getElementById('notices').textContent.includes('1 shot was made again')")
        assert page.inner_text("#shot-title") == place
        assert page.inner_text("#progress-text") == "1 of 10 decided"


def test_an_answer_from_before_a_decision_that_comes_after_it_takes_nothing_back(plain, open_page):
    with serving(plain) as address:
        page = open_page(address + "#shot-4")
        wait_until(page, SAVED)
        late: list = []
        page.route("**/state?*", lambda route: late.append((route, route.fetch())))
        wait_until_late(page, late)
        press(page, "a")
        wait_until(page, SAVED)
        wait_until(page, "document.getElementById('progress-text').textContent === '1 of 10 decided'")
        route, answer = late[0]
        route.fulfill(response=answer, json=json.loads(answer.text()) | {"entries": []})
        page.wait_for_timeout(500)
        assert page.inner_text("#progress-text") == "1 of 10 decided"
        page.unroute_all(behavior="ignoreErrors")


def wait_until_late(page, late: list) -> None:
    """Until the server has answered and the page has not heard it."""
    for _ in range(400):
        if late:
            return
        page.wait_for_timeout(30)
    raise AssertionError("the page never asked")
