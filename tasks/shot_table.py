"""The QA table: one row per shot and language, with the same columns in Parquet, in CSV and on the page."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.timecode import timecode_of
from tasks.types import Film, QaReport, SyncScore

COLUMNS: dict[str, str] = {  # name -> pandas dtype; an object is a list of four floats or None
    "shot": "int64",
    "first_frame": "int64",
    "end_frame": "int64",
    "timecode_in": "string",
    "timecode_out": "string",
    "language": "string",
    "outcome": "string",
    "reason": "string",
    "track_id": "Int64",
    "face_box": "object",
    "num_faces": "int64",
    "lse_d_before": "Float64",
    "lse_c_before": "Float64",
    "offset_before": "Int64",
    "lse_d_undubbed": "Float64",
    "lse_c_undubbed": "Float64",
    "offset_undubbed": "Int64",
    "lse_d_after": "Float64",
    "lse_c_after": "Float64",
    "offset_after": "Int64",
    "closed_share": "Float64",
    "verdict": "string",
    "num_tries": "int64",
    "seconds": "float64",
}
_ARROW = {"int64": pa.int64(), "Int64": pa.int64(), "Float64": pa.float64(), "float64": pa.float64(), "string": pa.string()}
_SCHEMA = pa.schema([(name, _ARROW.get(dtype, pa.list_(pa.float64()))) for name, dtype in COLUMNS.items()])
_FORMULA_STARTS = ("=", "+", "-", "@")


def table_of(film: Film, reports: Sequence[QaReport], times_s: np.ndarray) -> pd.DataFrame:
    """The reports in order of shot, then language, as typed columns.

    Timecodes follow the film's own start; `out` labels the frame after the last. times_s: float64 (num_frames,), seconds from the film's
    first frame to each frame; a film of variable rate is labelled by them.
    """

    def label(frame: int) -> str:
        if film.is_vfr:
            frame = round((float(times_s[frame]) if frame < len(times_s) else film.duration_s) * float(film.fps))
        return timecode_of(frame, film.fps, film.start_timecode)

    rows = [_row(report, label) for report in sorted(reports, key=lambda report: (report.shot.index, report.language))]
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    return pd.DataFrame({name: pd.Series(columns[name], dtype=dtype) for name, dtype in COLUMNS.items()})  # type: ignore[call-overload]


def write_table(table: pd.DataFrame, into: Path) -> tuple[Path, Path]:
    """Write INTO/shots.parquet and INTO/shots.csv. In the CSV no text begins like a spreadsheet's formula, and boxes are JSON lists."""
    parquet, comma = into / "shots.parquet", into / "shots.csv"
    pq.write_table(pa.Table.from_pandas(table, schema=_SCHEMA, preserve_index=False), parquet)
    shown = table.copy()
    for name, dtype in COLUMNS.items():
        if dtype == "string":
            shown[name] = shown[name].map(defused, na_action="ignore")
    shown["face_box"] = pd.Series([None if box is None else json.dumps(box) for box in table["face_box"]], dtype="string")
    shown.to_csv(comma, index=False, lineterminator="\n")
    return parquet, comma


def defused(text: str) -> str:
    """The text on one line, with an apostrophe before it where a spreadsheet would take it for a formula."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA_STARTS) else line


def closed_share(report: QaReport) -> float | None:
    """How much of the distance between the undubbed picture and the original's own score the dub closes, in LSE-C; None where there is none."""
    before, undubbed, after = (score.confidence for score in (report.before, report.undubbed, report.after))
    if before is None or undubbed is None or after is None or before <= undubbed:
        return None
    return (after - undubbed) / (before - undubbed)


def _row(report: QaReport, label: Callable[[int], str]) -> dict[str, object]:
    return {
        "shot": report.shot.index,
        "first_frame": report.shot.first_frame,
        "end_frame": report.shot.end_frame,
        "timecode_in": label(report.shot.first_frame),
        "timecode_out": label(report.shot.end_frame),
        "language": report.language,
        "outcome": report.outcome,
        "reason": report.reason,
        "track_id": report.track_id,
        "face_box": None if report.face_box is None else list(report.face_box),
        "num_faces": report.num_faces,
        **_scores(report.before, "before"),
        **_scores(report.undubbed, "undubbed"),
        **_scores(report.after, "after"),
        "closed_share": closed_share(report),
        "verdict": report.verdict,
        "num_tries": report.num_tries,
        "seconds": report.seconds,
    }


def _scores(score: SyncScore, when: str) -> dict[str, object]:
    return {f"lse_d_{when}": score.distance, f"lse_c_{when}": score.confidence, f"offset_{when}": score.offset_frames}
