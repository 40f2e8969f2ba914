"""A reviewer at work on the page, in a real browser: players in step, decisions by keyboard, nothing lost, usable by everybody."""

import json
from pathlib import Path
from statistics import median

import pytest

from infra.artifacts import ArtifactStore
from tasks.timecode import timecode_of
from tests.browser.conftest import FRAMES_PER_SHOT, NUM_SHOTS, serving, wait_until
from tests.synthetic_report import make_film, make_qa, publish_report, take_of

KEPT = (2, 7)  # shots that show nobody
WORST_FIRST = "[...document.querySelectorAll('.row')].map(row => Number(row.dataset.shot))"


def current(page) -> int:
    return int(page.inner_text("#shot-title").removeprefix("Shot "))


def save(page) -> dict:
    with page.expect_download() as download:
        page.keyboard.press("Control+s")
    assert download.value.suggested_filename == "decisions.json"
    return json.loads(Path(download.value.path()).read_text())


def test_the_page_opens_from_a_folder_without_an_error_or_a_request_to_anywhere(published, open_page):
    page = open_page(published.page())
    assert page.inner_text("h1") == "episode-1"
    assert page.inner_text("#progress-text") == f"0 of {NUM_SHOTS} decided"
    wait_until(page, "document.getElementById('after').readyState >= 3 && document.getElementById('before').readyState >= 3")


def test_an_episode_in_one_language_leads_straight_to_its_page(published, open_page):
    page = open_page(published.folder / "report.html")
    page.wait_for_url("**/fr/report.html*")
    page.wait_for_selector(".row")


def approve_all_but(page, rejected: dict[int, str]) -> None:
    """By keyboard alone, in the order of the list."""
    for _ in range(NUM_SHOTS):
        shot = current(page)
        if shot in rejected:
            page.keyboard.press("r")
            page.keyboard.type(rejected[shot])
            page.keyboard.press("Enter")
        else:
            page.keyboard.press("a")


REJECTED = {3: "late by a hand", 8: 'teeth flicker, "see" <b>here</b>'}


def test_approving_all_but_two_by_keyboard_leaves_the_right_file_and_a_reload_keeps_it(published, open_page):
    page = open_page(published.page())
    page.fill("#reviewer", "Ann")
    page.keyboard.press("Escape")
    approve_all_but(page, REJECTED)
    wait_until(page, f"document.getElementById('progress-text').textContent === '{NUM_SHOTS} of {NUM_SHOTS} decided'")
    saved = save(page)
    assert (saved["format"], saved["episode_id"], saved["reviewer"]) == (1, "episode-1", "Ann")
    said = {entry["shot"]: entry for entry in saved["decisions"]}
    assert {shot: (entry["decision"], entry["note"]) for shot, entry in said.items()} == {
        shot: ("reject", REJECTED[shot]) if shot in REJECTED else ("approve", "") for shot in range(NUM_SHOTS)
    }
    assert all(entry["take_sha256"] == (None if shot in KEPT else take_of(shot)) and entry["language"] == "fr" for shot, entry in said.items())
    page.reload()
    wait_until(page, f"document.getElementById('progress-text').textContent === '{NUM_SHOTS} of {NUM_SHOTS} decided'")
    assert save(page)["decisions"] == saved["decisions"]


def test_what_was_saved_is_what_a_redo_reads(published, open_page):
    from tasks.types import Decisions

    page = open_page(published.page())
    approve_all_but(page, REJECTED)
    Decisions.model_validate(save(page))


def test_undo_takes_back_one_act_after_another(published, open_page):
    page = open_page(published.page())
    first = current(page)
    page.keyboard.press("a")
    page.keyboard.press("o")
    page.keyboard.press("u")
    assert page.inner_text("#progress-text") == f"1 of {NUM_SHOTS} decided"
    page.keyboard.press("u")
    assert page.inner_text("#progress-text") == f"0 of {NUM_SHOTS} decided"
    assert current(page) == first
    assert page.is_disabled("#undo")


def test_a_note_alone_is_a_question(published, open_page):
    page = open_page(published.page())
    page.keyboard.press("n")
    page.keyboard.type("whose voice is this?")
    page.keyboard.press("Enter")
    assert [(entry["decision"], entry["note"]) for entry in save(page)["decisions"]] == [("ask", "whose voice is this?")]


def test_a_decision_on_a_take_that_was_made_again_is_set_aside_and_shown_and_the_others_stay(tmp_path, open_page):
    store = ArtifactStore(tmp_path / "store")
    film, qa = make_film(store, 750), make_qa(10)
    published = publish_report(store, tmp_path / "out", [qa], film)
    page = open_page(published.page())
    approve_all_but(page, REJECTED)
    again = [report.model_copy(update={"take_sha256": take_of(3, again=1)}) if report.shot.index == 3 else report for report in qa.reports]
    publish_report(store, tmp_path / "out", [qa.model_copy(update={"reports": tuple(again)})], film)
    page.goto(published.page().as_uri() + "?again#shot-3")
    wait_until(page, "document.getElementById('progress-text').textContent === '9 of 10 decided'")
    assert "Made again since: rejected “late by a hand”" in page.inner_text("#shot-state")


def test_worst_comes_first_and_filters_orders_and_finds(published, open_page):
    page = open_page(published.page())
    verdicts = page.evaluate("[...document.querySelectorAll('.row')].map(row => row.className)")
    assert verdicts[0] == "row review"
    page.click("[data-show=kept_original]")
    assert page.evaluate(WORST_FIRST) == list(KEPT)
    page.click("[data-show=all]")
    page.select_option("#order", "film")
    assert page.evaluate(WORST_FIRST)[:4] == [0, 1, 2, 3]
    page.fill("#find", "shot 7 ")
    assert page.evaluate(WORST_FIRST) == [7]
    page.fill("#find", "")
    page.click("#faces button >> nth=1")
    assert page.evaluate(WORST_FIRST) == [1, 8]


SHOWN = """() => new Promise(done => {
  const videos = ["before", "after"].map(id => document.getElementById(id));
  const canvas = document.createElement("canvas");
  const read = video => {
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(video, 0, 0);
    let number = 0;
    for (let bit = 0; bit < 16; bit += 1) {
      const x = Math.floor(canvas.width * (bit + 0.5) / 16);
      if (context.getImageData(x, Math.floor(canvas.height / 8), 1, 1).data[1] > 128) number += 1 << bit;
    }
    return number;
  };
  requestAnimationFrame(() => done([...videos.map(read), (videos[0].currentTime - videos[1].currentTime) * 25]));
})"""


def settled(page, frame: int) -> None:
    wait_until(
        page,
        f"""() => ["before", "after"].every(id => {{ const v = document.getElementById(id);
        return !v.seeking && v.readyState >= 3 && Math.floor(v.currentTime * 25 + 0.02) === {frame} }})""",
    )
    page.wait_for_timeout(300)


def test_both_players_show_the_same_frame_after_ten_seconds_and_after_a_seek(long_shot, open_page):
    """Read from the pictures themselves, which carry their numbers."""
    with serving(long_shot) as address:
        page = open_page(address)
        wait_until(page, "document.getElementById('after').readyState >= 3 && document.getElementById('before').readyState >= 3")
        page.keyboard.press("Space")
        wait_until(page, "document.getElementById('after').currentTime > 10")
        samples = [page.evaluate(SHOWN) for _ in range(9)]
        assert median(abs(before - after) for before, after, _ in samples) <= 1, samples  # one sample may fall between two screen refreshes
        assert median(abs(drift) for _, _, drift in samples) <= 1, samples
        page.keyboard.press("Space")
        for frame in (17, 251, 0):
            page.evaluate(f"const seek = document.getElementById('seek'); seek.value = {frame}; seek.dispatchEvent(new Event('input'))")
            settled(page, frame)
            assert page.evaluate(SHOWN)[:2] == [frame, frame]
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        settled(page, 1)
        assert page.evaluate(SHOWN)[:2] == [1, 1]
        assert page.inner_text("#clock") == "00:00:00:01"


def test_a_short_shot_loops_in_step(published, open_page):
    page = open_page(published.page())
    wait_until(page, "document.getElementById('after').readyState >= 3 && document.getElementById('before').readyState >= 3")
    page.evaluate("() => { window.turns = 0; document.getElementById('after').addEventListener('ended', () => { window.turns += 1 }) }")
    page.keyboard.press("Space")
    wait_until(page, "window.turns >= 2")
    wait_until(
        page,
        "() => { const [a, b] = ['before', 'after'].map(id => document.getElementById(id));"
        " return !a.paused && !b.paused && a.currentTime > 0.2 && Math.abs(a.currentTime - b.currentTime) < 0.04 }",
    )


def test_only_one_sound_is_heard_and_flipping_changes_it_with_the_picture(published, open_page):
    page = open_page(published.page())
    muted = "['before', 'after'].map(id => document.getElementById(id).muted)"
    assert page.evaluate(muted) == [True, False]
    page.keyboard.press("s")
    assert page.evaluate(muted) == [False, True]
    page.keyboard.press("s")
    assert page.evaluate(muted) == [True, True]
    page.keyboard.press("s")
    page.keyboard.press("f")
    assert page.is_visible("#pane-after")
    assert not page.is_visible("#pane-before")
    page.keyboard.press("f")
    assert page.is_visible("#pane-before")
    assert page.evaluate(muted) == [False, True]


def test_the_mouth_zoom_follows_the_mouth_and_half_speed_halves(published, open_page):
    page = open_page(published.page())
    page.keyboard.press("z")
    at_start = page.evaluate("document.getElementById('after').style.transform")
    assert "scale(3.33" in at_start
    page.evaluate(f"const seek = document.getElementById('seek'); seek.value = {FRAMES_PER_SHOT - 1}; seek.dispatchEvent(new Event('input'))")
    page.keyboard.press("h")
    assert page.evaluate("document.getElementById('after').style.transform") != at_start
    assert page.evaluate("document.getElementById('before').playbackRate") == 0.5


@pytest.mark.parametrize(
    ("fps", "start"), [("30000/1001", "00:59:58;00"), ("60000/1001", "09:09:50;10"), ("24000/1001", "01:00:00:00"), ("25", None)]
)
def test_the_pages_timecodes_are_smptes(tmp_path, open_page, fps, start):
    store = ArtifactStore(tmp_path / "store")
    film = make_film(store, 40_000, fps=fps, start_timecode=start)
    qa = make_qa(1, frames_per_shot=40_000)
    published = publish_report(store, tmp_path / "out", [qa], film)
    page = open_page(published.page())
    script = page.evaluate("document.querySelectorAll('script')[1].textContent")
    function = script[script.index("function timecode(") : script.index("// When a shot's k-th frame")]
    frames = [*range(130), *range(1780, 1820), *range(3580, 3620), *range(17_970, 18_000), *range(35_950, 36_000)]
    given = f"const DATA = JSON.parse(document.getElementById('data').textContent); const RATE = {float(film.fps)};"
    labels = page.evaluate(f"(frames) => {{ {given} {function}; return frames.map(timecode) }}", frames)
    assert labels == [timecode_of(frame, film.fps, start) for frame in frames]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_serious_fault(published, open_page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the package axe-playwright-python is not installed")
    page = open_page(published.page(), viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    for shown in (lambda: None, lambda: page.keyboard.press("?")):
        shown()
        found = axe.Axe().run(page).response["violations"]
        serious = [(fault["id"], [node["html"][:120] for node in fault["nodes"]]) for fault in found if fault["impact"] in ("serious", "critical")]
        assert serious == []


def test_every_width_from_360_px_to_4k_is_used_and_none_scrolls_sideways(published, open_page):
    for width, height in ((360, 740), (768, 1024), (1280, 800), (3840, 2160)):
        page = open_page(published.page(), viewport={"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)") >= (14 if width < 3000 else 20)


def test_a_screen_reader_is_told_of_every_shot_what_it_is_and_what_was_decided(published, open_page):
    page = open_page(published.page())
    shot = current(page)
    page.keyboard.press("a")
    row = page.locator(f"#row-{shot}")
    name = row.get_attribute("aria-label")
    assert name.startswith(f"Shot {shot}, 00:00:0")
    assert name.endswith("Approved")
    assert (row.get_attribute("aria-setsize"), row.get_attribute("role")) == (str(NUM_SHOTS), "option")
    assert page.get_attribute("#list", "aria-activedescendant") == f"row-{current(page)}"
    assert page.inner_text("#live") == f"Shot {shot}: Approved. 1 of {NUM_SHOTS} decided."


def test_single_keys_can_be_switched_off_and_never_act_while_one_types(published, open_page):
    page = open_page(published.page())
    page.focus("#find")
    page.keyboard.type("aro")
    assert page.inner_text("#progress-text").startswith("0 of")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.uncheck("#single-keys")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    assert page.inner_text("#progress-text").startswith("0 of")


def test_on_paper_every_shot_is_there_with_its_decision_and_no_controls(published, open_page):
    page = open_page(published.page())
    shot = current(page)
    page.keyboard.press("a")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".paper tbody tr:visible").count() == NUM_SHOTS
    assert page.inner_text(f"#shot-{shot} td:last-child") == "Approved"
    assert not page.is_visible("#detail")
    assert page.is_visible("#timeline svg")


def test_without_script_the_table_is_still_there(published, chromium):
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(published.page().as_uri())
    assert page.locator(".paper tbody tr:visible").count() == NUM_SHOTS
    page.context.close()
