"""Renders the report's pages from its data: self-contained, escaped, and shut by a content security policy that lets nothing else run."""

import json
from base64 import b64encode
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from hashlib import sha256
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tasks.page_data import page_data
from tasks.page_links import NO_LINKS, PageLinks
from tasks.plain_words import VERDICTS, printable
from tasks.report_data import EpisodeReport, LanguageReport
from tasks.types import SelfTest

SCRIPTS = ("data", "decisions", "charts", "list", "player", "detail", "server", "main")
REVIEW_MARK = '<meta name="dubflow-review" content="">'  # `dub review` writes its address into it


def language_page(report: EpisodeReport, language: LanguageReport, links: PageLinks = NO_LINKS) -> str:
    """One language's page: where a reviewer works."""
    style, script = read_asset("style.css"), page_script()
    return (
        _environment()
        .get_template("language.html.j2")
        .render(
            report=report,
            language=language,
            verdicts=VERDICTS,
            style=Markup(style),
            script=Markup(script),
            policy=_policy(style, script, links.origins),
            pages={one.language: links.urls.get(_page(one)) or f"../{quote(_page(one))}" for one in report.languages},
            links_notice=links.notice,
            data=Markup(inert_json(page_data(report, language, links.below(language.language)))),
        )
    )


def overview_page(report: EpisodeReport, links: PageLinks = NO_LINKS) -> str:
    """The episode's entry: its languages, or straight on to the only one."""
    rows = [_row(language, links.href(_page(language))) for language in report.languages]
    only = str(rows[0]["href"]) if len(rows) == 1 else ""
    card = {"name": report.film.name, "href": rows[0]["href"] if rows else "report.html", "about": _about(report), "rows": rows}
    notices = [*report.warnings, *([links.notice] if links.notice else [])]
    return _cards(report.episode_id, "Dubbing report", [card] if rows else [], notices, only)


def season_page(reports: Sequence[EpisodeReport], notices: Sequence[str] = ()) -> str:
    """All episodes of an output folder."""
    cards = [
        {
            "name": report.episode_id,
            "href": quote(f"{report.episode_id}/report.html"),
            "about": _about(report),
            "rows": [_row(language, quote(f"{report.episode_id}/{language.language}/report.html")) for language in report.languages],
        }
        for report in sorted(reports, key=lambda report: report.episode_id)
    ]
    num_shots = sum(len(language.shots) for report in reports for language in report.languages)
    return _cards("Dubbed episodes", f"{len(cards)} episodes, {num_shots} shots in all languages", cards, notices)


def inert_json(value: object) -> str:
    """JSON that ends no script element and opens none, whatever text is in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


@cache
def read_asset(name: str) -> str:
    """A file of report_page/."""
    return (files("tasks") / "report_page" / name).read_text(encoding="utf-8")


@cache
def page_script() -> str:
    """The page's whole script, in a scope of its own."""
    parts = "\n".join(read_asset(f"{name}.js") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _cards(title: str, subtitle: str, cards: Sequence[dict], notices: Sequence[str], only: str = "") -> str:
    style = read_asset("style.css") + read_asset("overview.css")
    return (
        _environment()
        .get_template("overview.html.j2")
        .render(
            title=title, subtitle=subtitle, cards=cards, notices=notices, only=only, verdicts=VERDICTS, style=Markup(style), policy=_policy(style)
        )
    )


def _page(language: LanguageReport) -> str:
    """Where a language's page lies, from the episode's folder."""
    return f"{language.language}/report.html"


def _row(language: LanguageReport, href: str) -> dict[str, object]:
    distrusted = language.self_test.num_shots > 0 and not language.self_test.trusted
    return {
        "language": language.language,
        "href": href,
        "counts": language.counts,
        "num_shots": max(1, len(language.shots)),
        "distrusted": distrusted,
    }


def _about(report: EpisodeReport) -> str:
    film = report.film
    return f"{film.width}×{film.height}, {_rate(film.fps)} fps, {film.duration_s:.1f} s, starts at {film.start_timecode or '00:00:00:00'}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tasks", "report_page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"printable": printable, "number": _number, "percent": _percent, "rate": _rate, "self_test": _self_test}
    return environment


def _policy(style: str, script: str = "", origins: Sequence[str] = ()) -> str:
    """What a page may do: run its own script, use its own style, show media from where it lies (or is linked), and nothing else."""
    allowed = {
        "default-src": "'none'",
        "img-src": " ".join(["'self' data:", *origins]),
        "media-src": " ".join(["'self'", *origins]),
        "connect-src": "'self'",
        "style-src": _digest(style),
        "script-src": _digest(script) if script else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _rate(fps: str) -> str:
    return f"{float(Fraction(fps)):.3f}".rstrip("0").rstrip(".")


def _self_test(test: SelfTest) -> str:
    found, planted = sum(test.num_found), test.num_shots * len(test.planted_frames)
    return f"{found} of {planted} offsets planted in {test.num_shots} of the film's own shots were found"
