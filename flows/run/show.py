"""Prints results for people, on stdout."""

from collections.abc import Sequence

from flows.plan_episode import Plan, PlannedFace, PlannedShot
from flows.run.forecast import in_words
from infra.settings import get_settings
from infra.storage import open_storage
from infra.storage_keys import S3Location, parse_location
from tasks.types import DubResult

VERDICTS = {"pass": "in sync", "review": "to review", "kept_original": "left as they were"}


def show_result(result: DubResult, link_hours: float | None = None) -> None:
    """Where the episode lies and how it went. link_hours: addresses that hold so long, where it lies in a bucket; None: as the settings say."""
    verdicts = ", ".join(f"{count} {VERDICTS[verdict]}" for verdict, count in result.verdicts.items() if count)
    print(f"{result.episode_id}: {result.num_shots} shots in {in_words(result.seconds)}; {verdicts}")
    for language, where in result.outputs.items():
        print(f"  {language}  {address(where, link_hours)}")
    print(f"  report  {address(result.report, link_hours)}")
    steps = ", ".join(f"{step} {count.made} made {count.reused} reused" for step, count in result.steps.items())
    print(f"  steps: {steps}")


def address(where: str, link_hours: float | None) -> str:
    """Where something published lies: as a presigned link, where that was asked for and its store has any."""
    hours = link_hours or get_settings().link_hours
    location = parse_location(where)
    if hours is None or not isinstance(location, S3Location):
        return where
    return open_storage(f"s3://{location.bucket}").link(location.key, hours * 3600) or where


def show_plan(plan: Plan) -> None:
    """A table of shots, and the seconds a dub would take."""
    print(f"{plan.film}: {plan.num_frames} frames at {plan.fps} fps, {len(plan.shots)} shots")
    rows = [("shot", "in", "out", "faces", "speaks", "would be", "why")]
    rows += [_row(shot) for shot in plan.shots]
    print_table(rows)
    kind = "measured on this machine" if plan.is_measured else "a first guess: this machine is not measured yet"
    print(f"A dub would take about {in_words(plan.estimated_s)} from here ({kind}).")


def _row(shot: PlannedShot) -> tuple[str, ...]:
    speakers = ", ".join(_named(face) for face in shot.faces if face.speaks) or "nobody"
    synced = [language for language, yes in shot.would_sync.items() if yes]
    what = "left" if not synced else "synced" if len(synced) == len(shot.would_sync) else f"synced in {', '.join(synced)}"
    why = f"{shot.reason}: {shot.evidence}" if shot.reason and shot.evidence else shot.reason or shot.evidence
    return (str(shot.shot), shot.timecode_in, shot.timecode_out, _faces(shot), speakers, what, why)


def _faces(shot: PlannedShot) -> str:
    """How many, and with a cast file who: a question mark for those that nobody could be told to be."""
    if all(face.character is None and face.likeness is None for face in shot.faces):
        return str(shot.num_faces)
    return f"{shot.num_faces}: {', '.join(face.character or '?' for face in shot.faces)}"


def _named(face: PlannedFace) -> str:
    return f"face {face.track_id}" if face.character is None else f"face {face.track_id} {face.character}"


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows of equal length, the first one the heads, in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
