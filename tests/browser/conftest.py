"""A real browser for the report: Chromium of this machine, driven by Playwright; every page is watched for errors and for requests to the outside."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest
import uvicorn

from flows.review.server import review_app
from infra.artifacts import ArtifactStore
from infra.storage import open_storage
from tasks.inspect_film import inspect_film
from tasks.make_previews import make_preview
from tasks.page_links import LinkMaker
from tasks.prepare_stem import prepare_original, prepare_stem
from tasks.types import MouthPoint
from tests.media import Sound, beeps, numbered_pictures, write_film, write_sound
from tests.synthetic_report import Published, make_film, make_qa, publish_report

NUM_SHOTS, FRAMES_PER_SHOT = 10, 25
LONG_SHOT_FRAMES = 300
OPEN: list = []  # browser contexts of the test that runs
NAMES = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever opens a browser bears the marker `browser`, so that -m can choose."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def chromium() -> Iterator:
    """The browser; of package scope, since its event loop must be gone before other tests run theirs. Skips, saying so, where there is none."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--autoplay-policy=no-user-gesture-required"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium) -> Iterator[Callable]:
    """open_page(address, context=None, **context_options) -> page. Each page's errors and outside requests fail the test at its end."""
    troubles: list[str] = []

    def open_one(address: str | Path, context=None, **options):
        if context is None:
            context = chromium.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
            OPEN.append(context)
        url = address.as_uri() if isinstance(address, Path) else address
        home = url.split("/")[2]
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: troubles.append(f"console: {message.text}") if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("request", lambda request: None if _is_home(request.url, home) else troubles.append(f"request: {request.url}"))
        page.goto(url)
        wait_until(page, "document.getElementById('shot-title')?.textContent !== 'Shot' || !document.getElementById('detail')")
        return page

    yield open_one
    close_pages()
    assert troubles == []


def close_pages() -> None:
    """Before what serves them goes: a page that still asks would report it."""
    while OPEN:
        OPEN.pop().close()


def wait_until(page, expression: str, timeout_s: float = 120) -> None:
    """Until a JavaScript expression is true. (Playwright's wait_for_function polls by eval, which the page's security policy forbids.)"""
    deadline = time.monotonic() + timeout_s
    while not _is_true(page, expression):
        assert time.monotonic() < deadline, f"still not true: {expression}"
        page.wait_for_timeout(30)


def _is_true(page, expression: str) -> bool:
    """Not yet, while the page leads on to another."""
    from playwright.sync_api import Error

    try:
        return bool(page.evaluate(expression))
    except Error as error:
        if "context was destroyed" in str(error):
            return False
        raise


def _is_home(url: str, home: str) -> bool:
    scheme, _, rest = url.partition(":")
    return scheme in ("data", "blob", "file") or (scheme == "http" and rest.split("/")[2] == home)


@pytest.fixture(scope="package")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Ten shots of a second with real previews, in which picture n carries the number n and a beep is heard every half second."""
    folder = tmp_path_factory.mktemp("published")
    return _publish(folder, NUM_SHOTS, FRAMES_PER_SHOT)


@pytest.fixture(scope="package")
def long_shot(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """One shot of twelve seconds, numbered."""
    return _publish(tmp_path_factory.mktemp("long"), 1, LONG_SHOT_FRAMES)


def _publish(folder: Path, num_shots: int, frames_per_shot: int, link_maker: LinkMaker | None = None) -> Published:
    store = ArtifactStore(folder / "store")
    num_frames = num_shots * frames_per_shot
    duration_s = num_frames / 25
    heard = Sound(beeps(duration_s, [n / 2 for n in range(int(2 * duration_s))]))
    path = write_film(folder / "film.mp4", numbered_pictures(num_frames, 320, 192), fps=Fraction(25), sound=heard)
    film = inspect_film(store, str(path))
    original = prepare_original(store, film, None)
    track = write_sound(folder / "dub.wav", Sound(heard.samples, codec="pcm_s16le"))
    dub = prepare_stem(store, film, str(track), "fr", "dialogue")
    qa = make_qa(num_shots, frames_per_shot=frames_per_shot)
    mouth = (MouthPoint(frame=0, x=0.5, y=0.6, height=0.3), MouthPoint(frame=frames_per_shot - 1, x=0.6, y=0.6, height=0.3))
    previews = {
        (report.shot.index, "fr"): make_preview(store, film, report.shot, (), original, dub).model_copy(update={"mouth": mouth})
        for report in qa.reports
        if report.outcome == "synced"
    }
    return publish_report(store, folder / "out", [qa], film, previews, link_maker=link_maker)


@pytest.fixture
def plain(tmp_path: Path) -> Published:
    """Ten shots without media, to be changed by a test."""
    store = ArtifactStore(tmp_path / "store")
    return publish_report(store, tmp_path / "out", [make_qa(10)], make_film(store, 750))


@contextmanager
def serving(published: Published) -> Iterator[str]:
    """The review's address, served as `dub review` does."""
    app, token = review_app(open_storage(published.folder))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{token}/fr/report.html"
    finally:
        close_pages()
        server.should_exit = True
        thread.join()
        listener.close()
