"""Serves one published episode's report on this machine alone, and takes decisions straight back: loopback, a secret in the address, no way out."""

import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from mimetypes import guess_type
from threading import Lock
from time import monotonic

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from flows.review.state import HANDED_IN, Changes, ReviewState, read_report
from infra.errors import DubflowError, InputError
from infra.folder_storage import FolderStorage
from infra.storage import Storage
from infra.storage_keys import check_key
from tasks.decisions import TakeInFilm, check_decisions, parse_decisions
from tasks.render_pages import REVIEW_MARK, overview_page
from tasks.report_data import EpisodeReport

logger = logging.getLogger(__name__)
MOST_BYTES = 16 << 20  # of what is sent here
MOST_BYTES_FROM_STORE = 64 << 20  # of a file read whole from a store that is no folder
REPORT_AGE_S = 1.0  # how old the known report may be
PRESENT_S = 10.0  # a reviewer not heard of for so long has left
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin"}
Endpoint = Callable[[Request], Awaitable[Response]]


class Review:
    """What is served: an episode in a storage, and its reviewers' state."""

    def __init__(self, storage: Storage):
        self.storage = storage
        self._lock = Lock()
        self._report = read_report(storage)
        self.episode_id = self._report.episode_id
        self.state = ReviewState(storage, self.episode_id)
        self._read_at = monotonic()
        self._present: dict[tuple[str, str], float] = {}  # (name, address and port's client) -> when last heard

    def report(self) -> EpisodeReport:
        """The report as published now; while it is being replaced, as it was."""
        with self._lock:
            if monotonic() - self._read_at > REPORT_AGE_S:
                try:
                    self._report = read_report(self.storage)
                except DubflowError as error:
                    logger.info("the report cannot be read at this moment: %s", error)
                self._read_at = monotonic()
            return self._report

    def others(self, name: str, client: str) -> list[str]:
        """Names of the other reviewers that are here now."""
        now = monotonic()
        with self._lock:
            self._present[name, client] = now
            self._present = {who: at for who, at in self._present.items() if now - at < PRESENT_S}
            return sorted({who[0] or "somebody" for who in self._present if who[1] != client})

    def language(self, name: str):
        for language in self.report().languages:
            if language.language == name:
                return language
        raise InputError(f"The episode is not dubbed into {name!r}.")


def review_app(storage: Storage) -> tuple[Starlette, str]:
    """(the application, its secret). storage: OUT/ID itself, whose files are all that can be had. Everything lies under /SECRET/; without it there is
    nothing. Raises InputError when there is no report."""
    token, review = secrets.token_urlsafe(24), Review(storage)
    endpoints: list[tuple[str, str, Endpoint]] = [
        ("GET", "/api/{language}/state", _state),
        ("POST", "/api/{language}/decisions", _decide),
        ("POST", "/api/{language}/upload", _upload),
        ("POST", "/api/{language}/hand-in", _hand_in),
        ("GET", "/{key:path}", _file),
    ]
    routes = [Route(f"/{token}{path}", _guarded(endpoint), methods=[method]) for method, path, endpoint in endpoints]
    app = Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=_only_this_machine)])
    app.state.review, app.state.token = review, token
    return app, token


async def _only_this_machine(request: Request, call_next) -> Response:
    """Another site that points its name at this machine, or posts from its own pages, gets nothing."""
    host = request.headers.get("host", "").rsplit(":", 1)[0]
    origin = request.headers.get("origin")
    if host not in ("127.0.0.1", "localhost", "[::1]"):
        return PlainTextResponse("This review is for this machine alone.", 403)
    if origin is not None and origin != f"http://{request.headers['host']}":
        return PlainTextResponse("Another site may not use this review.", 403)
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers[name] = value
    return response


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Errors as answers a page can show."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except InputError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ValidationError as error:
            return JSONResponse({"error": f"This is no change that a report's page makes: {error.errors(include_url=False)[0]['msg']}."}, 400)
        except DubflowError as error:
            return JSONResponse({"error": str(error)}, 503)

    return answer


async def _state(request: Request) -> Response:
    review: Review = request.app.state.review
    name = request.query_params.get("reviewer", "")[:200]
    client = request.query_params.get("client", "")[:64]

    def gather() -> dict[str, object]:
        language = review.language(request.path_params["language"])
        found: dict[str, object] = {"version": str(review.state.version), "digest": language.digest, "others": review.others(name, client)}
        if request.query_params.get("since") != found["version"]:
            entries = review.state.entries_of(language.language, review.report())
            found["entries"] = [entry.model_dump(mode="json") for entry in entries]
        return found

    return JSONResponse(await run_in_threadpool(gather))


async def _decide(request: Request) -> Response:
    review: Review = request.app.state.review
    asked = Changes.model_validate_json(await _body(request))

    def apply() -> dict[str, object]:
        language = review.language(request.path_params["language"])
        outcomes = review.state.apply(language.language, review.report(), asked)
        return {"digest": language.digest, "version": str(review.state.version), "results": [outcome.model_dump(mode="json") for outcome in outcomes]}

    return JSONResponse(await run_in_threadpool(apply))


async def _upload(request: Request) -> Response:
    """A decisions.json from a static page: checked as a redo would, shot by shot; what is good is taken in."""
    review: Review = request.app.state.review
    data = await _body(request)
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise InputError("This file is not JSON. Save decisions.json from the report's page again.") from None

    def take_in() -> dict[str, object]:
        file, wrong = parse_decisions(content, "decisions.json")
        report = review.report()
        film = {
            (shot.index, language.language): TakeInFilm(
                shot=shot.index, language=language.language, take_sha256=shot.take_sha256, reason="" if shot.outcome == "synced" else shot.reason
            )
            for language in report.languages
            for shot in language.shots
        }
        checked = check_decisions(file, "decisions.json", review.episode_id, film, (), frozenset(film))
        outcomes = review.state.merge(report, checked.accepted, file.reviewer)
        num_applied = sum(outcome.status == "applied" for outcome in outcomes)
        clashes = [
            f"shot {one.shot}: {one.entry.reviewer or 'somebody'} has decided otherwise" for one in outcomes if one.status == "conflict" and one.entry
        ]
        return {"num_applied": num_applied, "refused": [*wrong, *checked.refused, *clashes]}

    return JSONResponse(await run_in_threadpool(take_in))


async def _hand_in(request: Request) -> Response:
    review: Review = request.app.state.review
    name = request.query_params.get("reviewer", "")[:200]
    await _body(request)
    file = await run_in_threadpool(lambda: review.state.hand_in(review.report(), name))
    where = review.storage.describe(HANDED_IN)
    logger.info("handed in %d decisions: %s", len(file.decisions), where)
    return JSONResponse({"num_decisions": len(file.decisions), "where": where})


async def _file(request: Request) -> Response:
    """A published file of this episode and nothing else."""
    review: Review = request.app.state.review
    name = request.path_params["key"] or "report.html"
    try:
        key = check_key(name)
        exists = await run_in_threadpool(review.storage.exists, key)
    except InputError:
        key, exists = "", False
    if not exists or any(part.startswith(".") for part in name.split("/")):
        return PlainTextResponse("There is no such file in this report.", 404)
    if name == "report.html" and len(review.report().languages) == 1:
        return RedirectResponse(f"/{request.app.state.token}/{review.report().languages[0].language}/report.html")
    if name == "report.html":  # made anew: the published one may lead to presigned links, out of this review
        return Response(overview_page(review.report()), media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})
    if name.endswith("/report.html"):
        page = (await run_in_threadpool(review.storage.read_bytes, key)).decode()
        marked = page.replace(REVIEW_MARK, REVIEW_MARK.replace('content=""', f'content="/{request.app.state.token}/api"'), 1)
        return Response(marked, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})
    media_type = guess_type(name)[0] or "application/octet-stream"
    if isinstance(review.storage, FolderStorage):
        return FileResponse(review.storage.describe(key), media_type=media_type, headers={"Cache-Control": "no-cache"})
    return await run_in_threadpool(lambda: _from_store(review.storage, key, media_type, request.headers.get("range")))


def _from_store(storage: Storage, key: str, media_type: str, wanted: str | None) -> Response:
    """A small file read whole, or the one range of it that a player asks for."""
    if storage.size(key) > MOST_BYTES_FROM_STORE:
        return PlainTextResponse(f"This file is too large to be passed on from here: {storage.describe(key)}", 413)
    data = storage.read_bytes(key)
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
    unit, _, span = (wanted or "").partition("=")
    first, _, last = span.partition("-")
    if unit != "bytes" or "," in span or not first.isdigit():
        return Response(data, media_type=media_type, headers=headers)
    begin, end = int(first), min(int(last) if last.isdigit() else len(data) - 1, len(data) - 1)
    if begin > end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {begin}-{end}/{len(data)}"
    return Response(data[begin : end + 1], 206, headers, media_type)


async def _body(request: Request) -> bytes:
    """What was sent. Raises InputError for too much of it."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise InputError(f"This is more than {MOST_BYTES >> 20} MiB; no review needs that.")
    return bytes(data)
