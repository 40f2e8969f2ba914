"""Prints results for people, on stdout."""

from collections.abc import Sequence

from flows.forecast import in_words
from flows.plan_episode import Plan, PlannedShot
from tasks.types import DubResult

VERDICTS = {"pass": "in sync", "review": "to review", "kept_original": "left as they were"}


def show_result(result: DubResult) -> None:
    """Where the episode lies and how it went."""
    verdicts = ", ".join(f"{count} {VERDICTS[verdict]}" for verdict, count in result.verdicts.items() if count)
    print(f"{result.episode_id}: {result.num_shots} shots in {in_words(result.seconds)}; {verdicts}")
    for language, where in result.outputs.items():
        print(f"  {language}  {where}")
    print(f"  report  {result.report}")
    steps = ", ".join(f"{step} {count.made} made {count.reused} reused" for step, count in result.steps.items())
    print(f"  steps: {steps}")


def show_plan(plan: Plan) -> None:
    """A table of shots, and the seconds a dub would take."""
    print(f"{plan.film}: {plan.num_frames} frames at {plan.fps} fps, {len(plan.shots)} shots")
    rows = [("shot", "in", "out", "faces", "speaks", "would be", "why")]
    rows += [_row(shot) for shot in plan.shots]
    _print_table(rows)
    kind = "measured on this machine" if plan.is_measured else "a first guess: this machine is not measured yet"
    print(f"A dub would take about {in_words(plan.estimated_s)} from here ({kind}).")


def _row(shot: PlannedShot) -> tuple[str, ...]:
    speakers = ", ".join(f"face {face.track_id}" for face in shot.faces if face.speaks) or "nobody"
    synced = [language for language, yes in shot.would_sync.items() if yes]
    what = "left" if not synced else "synced" if len(synced) == len(shot.would_sync) else f"synced in {', '.join(synced)}"
    why = f"{shot.reason}: {shot.evidence}" if shot.reason and shot.evidence else shot.reason or shot.evidence
    return (str(shot.shot), shot.timecode_in, shot.timecode_out, str(shot.num_faces), speakers, what, why)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
