"""The commands `dub review` and `dub index`: a report served to its reviewers on this machine, and a page over all episodes of a folder."""

import sys
import tempfile
import webbrowser
from contextlib import suppress
from pathlib import Path

from infra.errors import DubflowError, InputError
from infra.storage import Storage, open_storage
from infra.storage_keys import redact
from tasks.types import Record

INDEX = "index.html"


class Reviewed(Record):
    """How a review ended."""

    episode_id: str
    draft: str  # where what was decided lies
    num_decisions: int  # standing for the takes shown
    handed_in: str | None  # where decisions.json lies, if it was handed in while the server ran


class Indexed(Record):
    """What the season's page shows."""

    page: str
    episodes: tuple[str, ...]
    left_out: tuple[str, ...] = ()  # episodes whose report cannot be read, and why


def review(episode: str, port: int, browser: bool) -> Reviewed:
    """Serve OUT/ID until the user stops it (Ctrl-C). Raises InputError when there is no report or the port is taken."""
    import socket

    import uvicorn

    from flows.review.server import review_app
    from flows.review.state import DRAFT, HANDED_IN

    storage = open_storage(episode)
    app, token = review_app(storage)
    episode_id = app.state.review.episode_id
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise InputError(f"Port {port} cannot be used here ({error.strerror}). Leave --port away: a free one is found.") from error
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/{token}/"
    print(f"review {episode_id} at {address}\n(this machine only; Ctrl-C ends it, decisions are kept)", file=sys.stderr, flush=True)
    if browser:
        webbrowser.open(address)
    before = _bytes_of(storage, HANDED_IN)
    with listener, suppress(KeyboardInterrupt):  # uvicorn ends in order, then raises the signal again
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)).run(sockets=[listener])
    served = app.state.review
    entries = [entry for language in served.report().languages for entry in served.state.entries_of(language.language, served.report())]
    is_new = _bytes_of(storage, HANDED_IN) != before
    return Reviewed(
        episode_id=episode_id,
        draft=storage.describe(DRAFT),
        num_decisions=len(entries),
        handed_in=storage.describe(HANDED_IN) if is_new else None,
    )


def show_reviewed(result: Reviewed) -> None:
    """Say how the review ended, and what comes next."""
    print(f"{result.episode_id}: {result.num_decisions} decisions stand in {result.draft}")
    if result.handed_in:
        print(f"  handed in as {result.handed_in}; apply them with: dub redo {Path(result.handed_in).parent!s}")
    else:
        print("  not handed in yet; open the review again to go on, and press Hand in when you are done")


def write_index(out: str) -> Indexed:
    """Write OUT/index.html over every episode in OUT that has a report. Raises InputError when there is none."""
    from flows.review.state import read_report
    from tasks.render_pages import season_page

    storage = open_storage(out)
    names = sorted({key.split("/")[0] for key in storage.list() if key.count("/") == 1 and key.endswith("/report.json")})
    if not names:
        raise InputError(f"There is no dubbed episode with a report in {redact(out)}. Dub one first: dub episode FILM --audio LANG=TRACK --out OUT")
    reports, left_out = [], []
    for name in names:
        try:
            reports.append(read_report(storage, f"{name}/report.json"))
        except DubflowError as error:
            left_out.append(f"{name}: {error}")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / INDEX
        page.write_text(season_page(reports, left_out), encoding="utf-8")
        storage.put(page, INDEX)
    return Indexed(page=storage.describe(INDEX), episodes=tuple(report.episode_id for report in reports), left_out=tuple(left_out))


def show_index(result: Indexed) -> None:
    """Say where the page lies."""
    print(f"{len(result.episodes)} episodes: {result.page}")
    for text in result.left_out:
        print(f"  left out: {text}", file=sys.stderr)


def _bytes_of(storage: Storage, key: str) -> bytes:
    return storage.read_bytes(key) if storage.exists(key) else b""
