"""The QA table: one row per shot and language, with the same columns in Parquet, in CSV and on the page.

pandas and pyarrow are loaded with the first table, not with this module: a command has a film to look at before it has a table to write.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.timecode import timecode_of
from tasks.types import Film, QaReport, SyncScore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

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
    "code": "string",
    "severity": "string",
    "delta": "Float64",
    "percentile": "Float64",
    "lse_c_low": "Float64",
    "lse_c_high": "Float64",
    "pooled_offset": "Int64",
    "person": "Int64",
    "seam_error": "Float64",
    "sharpness_ratio": "Float64",
    "generated_per_face_pixel": "Float64",
    "flicker_ratio": "Float64",
    "identity": "Float64",
    "leak_share": "Float64",
    "take_sha256": "string",
    "character": "string",
}
MEANINGS: dict[str, str] = {  # kept in the Parquet file beside each column
    "shot": "number of the shot, from 0",
    "first_frame": "first frame of the film in the shot, from 0",
    "end_frame": "first frame after the shot",
    "timecode_in": "SMPTE timecode of the first frame; ; before the frames: drop frame",
    "timecode_out": "SMPTE timecode of the first frame after the shot",
    "language": "BCP 47 tag of the dub",
    "outcome": "synced: new lips are in the film; kept_original: the picture is as it was",
    "reason": "why, in plain words",
    "track_id": "which face of the shot, from 0, leftmost at first sight first",
    "face_box": "x0, y0, x1, y1 of the face at the shot's middle frame, pixels of the upright film",
    "num_faces": "people seen in the shot",
    "lse_d_before": "LSE-D of the original picture with the original voice; distance, lower is better",
    "lse_c_before": "LSE-C of the same; confidence, higher is better",
    "offset_before": "offset of the same, frames of 40 ms; positive: the sound is early, the lips are behind",
    "lse_d_undubbed": "LSE-D of the original picture with the dub: what a viewer has without new lips",
    "lse_c_undubbed": "LSE-C of the same",
    "offset_undubbed": "offset of the same, frames of 40 ms",
    "lse_d_after": "LSE-D of the new picture with the dub",
    "lse_c_after": "LSE-C of the same",
    "offset_after": "offset of the same, frames of 40 ms",
    "closed_share": "how much of the way from undubbed to original the dub makes, in LSE-C; 1 is all of it",
    "verdict": "pass, review, or kept_original",
    "num_tries": "takes made of the shot",
    "seconds": "work on all takes, seconds",
    "code": "the reason's name in the verdict policy, or why nobody was dubbed",
    "severity": "ok, fyi, issue, or blocker",
    "delta": "lse_c_after minus lse_c_before",
    "percentile": "where lse_c_after lies among the film's own real shots, 0 to 100",
    "lse_c_low": "lower end of the 95 % bootstrap interval of lse_c_after",
    "lse_c_high": "upper end of the same",
    "pooled_offset": "offset found together with the same face's neighbouring shots, frames of 40 ms; empty: judged alone",
    "person": "the same face through the film, from 0",
    "seam_error": "step along the patch's edge, grey levels of 255",
    "sharpness_ratio": "finest detail in the mouth region, new to original",
    "generated_per_face_pixel": "width of the generated face in its pixels / in the film's; under 1 it is scaled up",
    "flicker_ratio": "unrest around the mouth from frame to frame, new to original",
    "identity": "likeness of the lower face to the original's, our own measure, -1 to 1",
    "leak_share": "mouth motion left when the generator hears silence / under the dub, the head held still; 0 is best",
    "take_sha256": "names the take that is in the film; empty: the original picture",
    "character": "whose faces were dubbed from their own stems, by the cast file; empty: none, or no cast file",
}
_FORMULA_STARTS = ("=", "+", "-", "@")


def table_of(film: Film, reports: Sequence[QaReport], times_s: np.ndarray) -> "pd.DataFrame":
    """The reports in order of shot, then language, as typed columns.

    Timecodes follow the film's own start; `out` labels the frame after the last. times_s: float64 (num_frames,), seconds from the film's
    first frame to each frame; a film of variable rate is labelled by them.
    """

    import pandas as pd

    def label(frame: int) -> str:
        if film.is_vfr:
            frame = round((float(times_s[frame]) if frame < len(times_s) else film.duration_s) * float(film.fps))
        return timecode_of(frame, film.fps, film.start_timecode)

    rows = [_row(report, label) for report in sorted(reports, key=lambda report: (report.shot.index, report.language))]
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    return pd.DataFrame({name: pd.Series(columns[name], dtype=dtype) for name, dtype in COLUMNS.items()})  # type: ignore[call-overload]


def write_table(table: "pd.DataFrame", into: Path) -> tuple[Path, Path]:
    """Write INTO/shots.parquet and INTO/shots.csv. In the CSV no text begins like a spreadsheet's formula, and boxes are JSON lists."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    parquet, comma = into / "shots.parquet", into / "shots.csv"
    pq.write_table(pa.Table.from_pandas(table, schema=_schema(), preserve_index=False), parquet)
    shown = table.copy()
    for name, dtype in COLUMNS.items():
        if dtype == "string":
            shown[name] = shown[name].map(defused, na_action="ignore")
    shown["face_box"] = pd.Series([None if box is None else json.dumps(box) for box in table["face_box"]], dtype="string")
    shown.to_csv(comma, index=False, lineterminator="\n")
    return parquet, comma


def _schema() -> "pa.Schema":
    import pyarrow as pa

    types = {"int64": pa.int64(), "Int64": pa.int64(), "Float64": pa.float64(), "float64": pa.float64(), "string": pa.string()}
    four_floats = pa.list_(pa.float64())
    return pa.schema([pa.field(name, types.get(dtype, four_floats), metadata={"meaning": MEANINGS[name]}) for name, dtype in COLUMNS.items()])


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


def delta(report: QaReport) -> float | None:
    """LSE-C of the dub minus the original's own; None where there is none of either."""
    before, after = report.before.confidence, report.after.confidence
    return None if before is None or after is None else after - before


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
        "code": report.code,
        "severity": report.severity,
        "delta": delta(report),
        "percentile": report.percentile,
        "lse_c_low": report.after.confidence_low,
        "lse_c_high": report.after.confidence_high,
        "pooled_offset": report.pooled_offset_frames,
        "person": report.person,
        **report.checks.model_dump(),
        "take_sha256": report.take_sha256,
        "character": report.character,
    }


def _scores(score: SyncScore, when: str) -> dict[str, object]:
    return {f"lse_d_{when}": score.distance, f"lse_c_{when}": score.confidence, f"offset_{when}": score.offset_frames}
