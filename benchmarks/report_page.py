"""How a report of two thousand shots behaves in a real browser: size, first paint, when it can be worked with, and frame times while scrolling.

python -m benchmarks.report_page [--shots 2000]
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from infra.artifacts import ArtifactStore
from tests.synthetic_report import Published, make_film, make_qa, publish_report

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
SCROLL = """async () => {
  const list = document.getElementById("list");
  const times = [];
  let rows = 0;
  for (let n = 0, last = await new Promise(requestAnimationFrame); n < 240; n += 1) {
    list.scrollTop = (list.scrollHeight - list.clientHeight) * (0.5 - 0.5 * Math.cos(n / 38));
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
    rows = Math.max(rows, document.querySelectorAll(".row").length);
  }
  return { times, rows };
}"""
WORK = """() => {
  const times = [];
  for (let n = 0; n < 60; n += 1) {
    const start = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: n % 3 ? "j" : "a", bubbles: true }));
    times.push(performance.now() - start);
  }
  return times;
}"""
FILTER = """(text) => {
  const find = document.getElementById("find");
  find.value = text;
  const start = performance.now();
  find.dispatchEvent(new Event("input"));
  return performance.now() - start;
}"""


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shots", type=int, default=2000)
    num_shots = parser.parse_args().shots
    browser = next(found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        published = make_report(Path(folder), num_shots)
        print(f"page of {num_shots} shots: {published.page().stat().st_size / 1e6:.2f} MB without media")
        chromium = driver.chromium.launch(executable_path=browser)
        for width, height in ((360, 740), (1280, 800), (3840, 2160)):
            page = chromium.new_page(viewport={"width": width, "height": height})
            measure(page, published.page().as_uri(), f"{width}x{height}")
            page.close()
        chromium.close()


def make_report(folder: Path, num_shots: int) -> Published:
    """A report without media in FOLDER/out."""
    store = ArtifactStore(folder / "store")
    return publish_report(store, folder / "out", [make_qa(num_shots)], make_film(store, 75 * num_shots))


def measure(page: Page, address: str, name: str) -> None:
    """Load three times, then scroll the list from end to end, decide, and find."""
    paints, readies = [], []
    for _ in range(3):
        page.goto(address)
        page.wait_for_selector(".row")
        page.wait_for_timeout(300)
        paints.append(page.evaluate(PAINT) or float("nan"))
        readies.append(page.evaluate(READY))
    scrolled = page.evaluate(SCROLL)
    times = sorted(scrolled["times"])
    pressed = sorted(page.evaluate(WORK))
    found = page.evaluate(FILTER, "shot 1999")
    page.evaluate(FILTER, "")
    elements = page.evaluate("document.querySelectorAll('body > :not(.paper) *').length")
    print(
        f"{name}: first paint {statistics.median(paints):.0f} ms, ready {statistics.median(readies):.0f} ms; "
        f"scroll frames median {times[len(times) // 2]:.1f} ms, 95 % {times[int(0.95 * len(times))]:.1f} ms, worst {times[-1]:.1f} ms; "
        f"at most {scrolled['rows']} rows, {elements} elements outside the paper table; "
        f"a key takes {pressed[len(pressed) // 2]:.1f} ms, 95 % {pressed[int(0.95 * len(pressed))]:.1f} ms; find {found:.1f} ms"
    )


if __name__ == "__main__":
    main()
