"""Tells how a dub went: the QA table, report.json with its schema, a page per language where a reviewer works, and their overview."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.artifacts import ArtifactStore
from tasks.page_links import NO_LINKS, LinkMaker
from tasks.plain_words import VERDICTS as VERDICTS
from tasks.render_pages import language_page, overview_page
from tasks.report_data import EpisodeReport, episode_report, face_name, preview_names
from tasks.shot_table import table_of, write_table
from tasks.timeline import frame_times_s
from tasks.types import DubbedEpisode, DubRequest, EpisodeQa, Film, Models, Preview, Record

SCHEMA_FILE = "report.schema.json"


class ReportFiles(Record):
    """What is to be published: key under OUT/ID -> local path. Media first, so that no page ever shows what is not there yet."""

    media: dict[str, str]
    data: dict[str, str]  # report.json, its schema, shots.parquet, shots.csv
    pages: dict[str, str]


def write_report(
    store: ArtifactStore,
    film: Film,
    request: DubRequest,
    qa: Sequence[EpisodeQa],
    previews: Mapping[tuple[int, str], Preview],
    episodes: Sequence[DubbedEpisode],
    models: Models,
    warnings: Sequence[str],
    into: Path,
    link_maker: LinkMaker | None = None,
) -> ReportFiles:
    """Write tables, report.json and pages under INTO; media stay where they lie in the store. Text from outside is escaped.

    previews go by (shot, language). The pages ask nothing from anywhere but the files beside them; with a link_maker
    by presigned addresses, so that a page opened by such an address itself shows them.
    """
    times_s = frame_times_s(store, film)
    report = episode_report(film, Path(request.film).name, request.episode_id, qa, episodes, models, warnings, previews, times_s)
    parquet, comma = write_table(table_of(film, [one for language in qa for one in language.reports], times_s), into)
    data = {path.name: str(path) for path in (parquet, comma)}
    data |= {"report.json": _write(into / "report.json", report.model_dump_json(indent=1) + "\n"), SCHEMA_FILE: _write(into / SCHEMA_FILE, schema())}
    media = dict(_media(store, qa, previews))
    page_keys = {one.language: f"{one.language}/report.html" for one in report.languages}
    named = [*media, *page_keys.values(), *(one.film for one in report.languages if one.film)]
    links = NO_LINKS if link_maker is None else link_maker.links_to(named)
    pages = {page_keys[one.language]: _write(into / page_keys[one.language], language_page(report, one, links)) for one in report.languages}
    pages |= {"report.html": _write(into / "report.html", overview_page(report, links))}
    return ReportFiles(media=media, data=data, pages=pages)


def schema() -> str:
    """The JSON schema of report.json."""
    return json.dumps(EpisodeReport.model_json_schema(mode="serialization"), indent=1, ensure_ascii=False) + "\n"


def _media(store: ArtifactStore, qa: Sequence[EpisodeQa], previews: Mapping[tuple[int, str], Preview]) -> Iterator[tuple[str, str]]:
    for one in qa:
        for report in one.reports:
            before, after, thumbnail = preview_names(report.shot.name)
            if report.thumbnail is not None:
                yield f"{one.language}/{thumbnail}", str(store.path(report.thumbnail))
            preview = previews.get((report.shot.index, one.language))
            if preview is not None:
                yield f"{one.language}/{before}", str(store.path(preview.before.video))
                yield f"{one.language}/{after}", str(store.path(preview.after.video))
        for person in one.people:
            if person.thumbnail is not None:
                yield f"{one.language}/{face_name(person)}", str(store.path(person.thumbnail))


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)
