"""What edit suite and chat get: a timeline with a marker on every shot that was or should be reviewed, as OTIO and EDL, and a short summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import opentimelineio as otio

from infra.artifacts import ArtifactStore
from infra.errors import OurTroubleError
from tasks.edit_list import Event, Locator, edl_of, ranges_in_edl, why_no_edl
from tasks.plain_text import markdown, one_line
from tasks.settled import Standing
from tasks.timecode import timecode_of
from tasks.timeline import frame_times_s
from tasks.types import DubbedEpisode, DubRequest, Film, QaReport, Record

MOST_LISTED = 12  # shots in the summary
_DECISIONS = {  # decision -> color of the marker, what it says
    "approve": ("GREEN", "APPROVED"),
    "reject": ("RED", "REJECTED"),
    "ask": ("MAGENTA", "QUESTION"),
    "keep_original": ("BLUE", "ORIGINAL KEPT"),
}
_VERDICTS = {"pass": "in sync", "review": "to review", "kept_original": "left as they were"}


class HandOverFiles(Record):
    """What was made, by key under OUT/ID -> local path, and what could not be."""

    files: dict[str, str]
    warnings: tuple[str, ...] = ()


def hand_over(
    store: ArtifactStore,
    film: Film,
    request: DubRequest,
    reports: Sequence[QaReport],
    episodes: Sequence[DubbedEpisode],
    standing: Sequence[Standing],
    into: Path,
) -> HandOverFiles:
    """Write INTO/LANG/timeline.otio and INTO/LANG/ID.LANG.edl for each language, and INTO/summary.md.

    Both timelines are read back and compared before they count. Raises OurTroubleError when OpenTimelineIO does not read what was written.
    """
    said = {(each.shot, each.language): each for each in standing}
    files: dict[str, str] = {}
    warnings: list[str] = []
    for episode in sorted(episodes, key=lambda episode: episode.language):
        own = sorted((report for report in reports if report.language == episode.language), key=lambda report: report.shot.index)
        marks = {report.shot.index: mark for report in own if (mark := mark_of(report, said.get((report.shot.index, report.language))))}
        folder = into / episode.language
        folder.mkdir(parents=True, exist_ok=True)
        otio_path, edl_path = folder / "timeline.otio", folder / f"{episode.episode_id}.{episode.language}.edl"
        _write_otio(otio_path, store, film, Path(request.film).name, episode, own, marks)
        files[f"{episode.language}/{otio_path.name}"] = str(otio_path)
        trouble = _write_edl(edl_path, film, episode, own, marks)
        if trouble is None:
            files[f"{episode.language}/{edl_path.name}"] = str(edl_path)
        else:
            warnings.append(f"{episode.language}: no EDL was written: {trouble}. timeline.otio has every shot.")
    summary = into / "summary.md"
    summary.write_text(summary_of(film, request, reports, episodes, standing), encoding="utf-8")
    return HandOverFiles(files={**files, summary.name: str(summary)}, warnings=tuple(warnings))


@dataclass(frozen=True)
class Mark:
    """What a marker says."""

    color: str
    title: str
    text: str


def mark_of(report: QaReport, standing: Standing | None) -> Mark | None:
    """The marker of a shot that somebody decided about or should look at; None for the others."""
    if standing is not None:
        color, title = _DECISIONS[standing.decision]
        who = f" by {one_line(standing.reviewer)}" if standing.reviewer else ""
        note = f": {one_line(standing.note)}" if standing.note else ""
        if standing.decision == "keep_original" or standing.take_sha256 == report.take_sha256:
            return Mark(color, title, f"{title}{who}{note}")
        again = "passes" if report.verdict == "pass" else "original kept" if report.take_sha256 is None else "please look"
        return Mark("CYAN" if report.verdict == "pass" else "YELLOW", "MADE AGAIN", f"MADE AGAIN, {again} (was {title}{who}{note})")
    if report.verdict == "review":
        return Mark("YELLOW", "REVIEW", f"REVIEW: {one_line(report.reason)}")
    return None


def summary_of(film: Film, request: DubRequest, reports: Sequence[QaReport], episodes: Sequence[DubbedEpisode], standing: Sequence[Standing]) -> str:
    """A few lines of Markdown for a chat: how it went, who decided, what to look at first."""
    num_shots = len({report.shot.index for report in reports})
    lines = [f"# {request.episode_id}", "", f"{num_shots} shots, {film.duration_s:.1f} s", ""]
    lines += ["| language | in sync | to review | left as they were | LSE-C original | undubbed | dubbed |", "|---|---|---|---|---|---|---|"]
    lines += [_row(episode.language, [report for report in reports if report.language == episode.language]) for episode in episodes]
    decided = {decision: sum(each.decision == decision for each in standing) for decision in _DECISIONS}
    if standing:
        who = ", ".join(sorted({markdown(each.reviewer) for each in standing if each.reviewer})) or "reviewers"
        lines += ["", f"Decided by {who}: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in decided.items() if count) + "."]
    first = sorted((report for report in reports if report.verdict == "review"), key=_worst_first)
    if first:
        lines += ["", "## Look at first"]
        lines += [_listed(film, report) for report in first[:MOST_LISTED]]
        if len(first) > MOST_LISTED:
            lines.append(f"- and {len(first) - MOST_LISTED} more in the report")
    lines += ["", "Report: report.html", *(f"Film ({episode.language}): {episode.output}" for episode in episodes)]
    return "\n".join(lines) + "\n"


def _row(language: str, reports: Sequence[QaReport]) -> str:
    counts = [str(sum(report.verdict == verdict for report in reports)) for verdict in _VERDICTS]
    scored = [report for report in reports if report.after.confidence is not None]
    means = [_mean([getattr(report, when).confidence for report in scored]) for when in ("before", "undubbed", "after")]
    return f"| {language} | {' | '.join([*counts, *means])} |"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):.2f}" if known else "–"


def _worst_first(report: QaReport) -> tuple[int, float, int]:
    delta = (report.after.confidence or 0) - (report.before.confidence or 0)
    return ["blocker", "issue", "fyi", "ok"].index(report.severity), delta, report.shot.index


def start_of(film: Film) -> str | None:
    """The film's start timecode; dropped frames only at the rates that have them."""
    return film.start_timecode.replace(";", ":") if film.start_timecode and film.fps.denominator != 1001 else film.start_timecode


def _listed(film: Film, report: QaReport) -> str:
    label = timecode_of(report.shot.first_frame, film.fps, start_of(film))
    return f"- `{label}` shot {report.shot.index} ({report.language}): {markdown(report.reason)}"


def _write_edl(path: Path, film: Film, episode: DubbedEpisode, reports: Sequence[QaReport], marks: Mapping[int, Mark]) -> str | None:
    """Why there is none, or None when there is."""
    trouble = why_no_edl(film.fps, film.is_vfr)
    if trouble is not None:
        return trouble
    locators = {shot: Locator(mark.color, mark.text) for shot, mark in marks.items()}
    events = [Event(r.shot.name, r.shot.first_frame, r.shot.end_frame, locators.get(r.shot.index)) for r in reports]
    title, name = f"{episode.episode_id} {episode.language}", Path(episode.output).name
    text = edl_of(title, episode.episode_id, name, events, film.fps, start_of(film))
    try:
        found = ranges_in_edl(text, film.fps, start_of(film))
    except ValueError as error:
        return f"its timecodes cannot be counted ({one_line(str(error))[:120]})"
    if found != [(event.first_frame, event.end_frame) for event in events]:
        return "its timecodes run over midnight"
    path.write_text(text, encoding="ascii")
    return None


def _write_otio(
    path: Path, store: ArtifactStore, film: Film, film_name: str, episode: DubbedEpisode, reports: Sequence[QaReport], marks: Mapping[int, Mark]
) -> None:
    clock = _Clock(film, frame_times_s(store, film) if film.is_vfr else np.empty(0))
    available = clock.span(0, film.num_frames)
    timeline = otio.schema.Timeline(f"{episode.episode_id} {episode.language}", global_start_time=available.start_time)
    timeline.metadata["dubflow"] = {"episode_id": episode.episode_id, "language": episode.language, "film_sha256": episode.sha256}
    picture = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    sound = otio.schema.Track("A1", kind=otio.schema.TrackKind.Audio)
    timeline.tracks.extend([picture, sound])
    for report in reports:
        clip = _clip(report.shot.name, clock.span(report.shot.first_frame, report.shot.end_frame), available, episode, film_name)
        clip.metadata["dubflow"] = _facts(report)
        if (mark := marks.get(report.shot.index)) is not None:
            marker = otio.schema.Marker(mark.text, marked_range=clip.source_range, color=mark.color)
            marker.metadata["dubflow"] = {"title": mark.title}
            clip.markers.append(marker)
        picture.append(clip)
    sound.append(_clip(episode.language, available, available, episode, film_name))
    otio.adapters.write_to_file(timeline, str(path), "otio_json")
    back = otio.adapters.read_from_file(str(path), "otio_json")
    if [clip.source_range for clip in back.tracks[0]] != [clock.span(r.shot.first_frame, r.shot.end_frame) for r in reports]:
        raise OurTroubleError(f"{path.name} does not hold the shots that it was to hold.")


class _Clock:
    """Where frames lie in OpenTimelineIO's time: frame numbers at the film's rate; at a variable rate ticks of its time base, exact as well."""

    def __init__(self, film: Film, times_s: np.ndarray):
        self._film, self._times_s = film, times_s
        self._rate = float(1 / film.time_base) if film.is_vfr else float(film.fps)
        start = start_of(film)
        is_countable = start is not None and not film.is_vfr and otio.opentime.RationalTime.is_smpte_timecode_rate(self._rate)
        self._start = otio.opentime.from_timecode(timecode_of(0, film.fps, start), self._rate).to_frames() if is_countable else 0

    def span(self, first: int, end: int) -> otio.opentime.TimeRange:
        start, stop = self._at(first), self._at(end)
        return otio.opentime.TimeRange(otio.opentime.RationalTime(start, self._rate), otio.opentime.RationalTime(stop - start, self._rate))

    def _at(self, frame: int) -> int:
        if not self._film.is_vfr:
            return self._start + frame
        time_s = float(self._times_s[frame]) if frame < len(self._times_s) else self._film.duration_s
        return round(time_s * self._rate)


def _clip(name: str, span: otio.opentime.TimeRange, available: otio.opentime.TimeRange, episode: DubbedEpisode, film_name: str) -> otio.schema.Clip:
    """A clip of the dubbed film, which lies beside the timeline; the original is at hand as another reference."""
    clip = otio.schema.Clip(name, source_range=span)
    dubbed = otio.schema.ExternalReference(Path(episode.output).name, available_range=available)
    original = otio.schema.MissingReference(name=one_line(film_name), available_range=available)
    clip.set_media_references({"dubbed": dubbed, "original": original}, "dubbed")
    return clip


def _facts(report: QaReport) -> dict[str, object]:
    return {
        "shot": report.shot.index,
        "first_frame": report.shot.first_frame,
        "end_frame": report.shot.end_frame,
        "outcome": report.outcome,
        "verdict": report.verdict,
        "severity": report.severity,
        "reason": one_line(report.reason),
        "take_sha256": report.take_sha256 or "",
    }
