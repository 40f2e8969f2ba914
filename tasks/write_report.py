"""Tells people how a dub went: the QA table as Parquet and CSV, and one self-contained page with faces before and after."""

import base64
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from jinja2 import Environment, PackageLoader, StrictUndefined

from infra.artifacts import ArtifactStore
from tasks.shot_table import closed_share, table_of, write_table
from tasks.timeline import frame_times_s
from tasks.types import DubbedEpisode, DubRequest, Film, Models, QaReport, Record

MOST_THUMBNAILS = 300  # a page of some megabytes; shots to review come first
_CODES = {  # of a shot that keeps its original picture
    "no_face": "no face in the shot",
    "off_screen": "the voice is off screen",
    "listener": "the face listens, somebody else speaks",
    "too_small": "the face is too small",
    "profile": "the face is seen from the side",
    "occluded": "the mouth is covered",
    "silent": "nobody speaks here",
    "refused": "left alone on request",
    "too_short": "too little original dialogue to tell who speaks",
    "ambiguous": "several faces and no original dialogue to tell who speaks",
}
VERDICTS = {"pass": "in sync", "review": "please look", "kept_original": "left as it was"}


class ReportFiles(Record):
    """Local paths of what write_report made."""

    parquet: str
    csv: str
    page: str


def write_report(
    store: ArtifactStore,
    film: Film,
    request: DubRequest,
    reports: Sequence[QaReport],
    episodes: Sequence[DubbedEpisode],
    models: Models,
    warnings: Sequence[str],
    into: Path,
) -> ReportFiles:
    """Write INTO/shots.parquet, shots.csv and report.html. Text from the film is escaped; the page asks nothing from anywhere."""
    table = table_of(film, reports, frame_times_s(store, film))
    parquet, comma = write_table(table, into)
    page = into / "report.html"
    labels = dict(zip(table["shot"], zip(table["timecode_in"], table["timecode_out"], strict=True), strict=True))
    page.write_text(_page(store, film, request, reports, episodes, models, warnings, labels), encoding="utf-8")
    return ReportFiles(parquet=str(parquet), csv=str(comma), page=str(page))


def printable(text: object) -> str:
    """Text without control characters and writing-direction overrides, which a film's metadata may hold."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def in_plain_words(reason: str) -> str:
    """A reason for people: a code becomes its sentence; what follows the code stays."""
    code, colon, more = reason.partition(": ")
    return f"{_CODES[code]}{colon}{more}" if code in _CODES else reason


def _page(
    store: ArtifactStore,
    film: Film,
    request: DubRequest,
    reports: Sequence[QaReport],
    episodes: Sequence[DubbedEpisode],
    models: Models,
    warnings: Sequence[str],
    labels: dict[int, tuple[str, str]],
) -> str:
    environment = Environment(loader=PackageLoader("tasks"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"printable": printable, "plain": in_plain_words, "number": _number, "percent": _percent}
    thumbnails = _thumbnails(store, reports)
    languages = [
        _Language(language, [report for report in reports if report.language == language], thumbnails)
        for language in sorted({r.language for r in reports})
    ]
    outputs = {episode.language: episode for episode in episodes}
    return environment.get_template("report.html.j2").render(
        film=film,
        film_name=Path(request.film).name,
        request=request,
        models=models,
        warnings=warnings,
        languages=languages,
        outputs=outputs,
        labels=labels,
        verdicts=VERDICTS,
        closed_share=closed_share,
    )


class _Language:
    """What the page shows of one language."""

    def __init__(self, language: str, reports: list[QaReport], thumbnails: dict[tuple[int, str], str]) -> None:
        self.language = language
        self.reports = sorted(reports, key=lambda report: report.shot.index)
        self.thumbnails = {index: uri for (index, name), uri in thumbnails.items() if name == language}
        self.counts = {verdict: sum(report.verdict == verdict for report in reports) for verdict in VERDICTS}
        self.num_synced = sum(report.outcome == "synced" for report in reports)
        scored = [r for r in reports if r.after.confidence is not None and r.undubbed.confidence is not None]
        self.num_scored = len(scored)
        self.num_better = sum((r.after.confidence or 0) > (r.undubbed.confidence or 0) for r in scored)
        self.lse_c = {
            when: _mean([getattr(report, when).confidence for report in scored])
            for when in ("before", "undubbed", "after")
        }  # fmt: skip
        self.closed = _mean([closed_share(report) for report in scored])


def _thumbnails(store: ArtifactStore, reports: Sequence[QaReport]) -> dict[tuple[int, str], str]:
    """(shot, language) -> data URI of the JPEG; the shots that need an eye first, if there are too many."""
    with_picture = [report for report in reports if report.thumbnail is not None]
    chosen = sorted(with_picture, key=lambda report: (report.verdict != "review", report.shot.index))[:MOST_THUMBNAILS]
    return {
        (report.shot.index, report.language): "data:image/jpeg;base64," + base64.b64encode(store.path(report.thumbnail).read_bytes()).decode()
        for report in chosen
        if report.thumbnail is not None
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
