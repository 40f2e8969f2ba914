"""The QA table explains itself, and its timecodes are right where drop frame makes them hard."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from infra.artifacts import ArtifactStore
from tasks.shot_table import COLUMNS, MEANINGS, delta, table_of, write_table
from tasks.types import Film, PictureChecks, QaReport, Shot, SyncScore

NTSC = Fraction(30000, 1001)


def film_of(folder: Path, num_frames: int, fps: Fraction, start: str) -> Film:
    timing = ArtifactStore(folder).put_arrays(pts=np.arange(num_frames), is_keyframe=np.ones(num_frames, bool))
    return Film(
        path="x", sha256="0" * 64, timing=timing, time_base=1 / fps, fps=fps, num_frames=num_frames, width=640, height=360,
        pixel_format="yuv420p", video_codec="h264", start_timecode=start,
    )  # fmt: skip


def report_of(first: int, end: int, **fields) -> QaReport:
    shot = Shot(index=0, first_frame=first, end_frame=end)
    return QaReport(shot=shot, language="fr", outcome="synced", reason="in sync", verdict="pass", **fields)


@pytest.mark.parametrize(
    ("fps", "start", "first", "end", "labels"),
    [
        (NTSC, "00:59:58;28", 0, 2, ("00:59:58;28", "00:59:59;00")),
        (NTSC, "00:59:58;28", 32, 1832, ("01:00:00;00", "01:01:00;02")),  # ;00 and ;01 of minute one do not exist
        (NTSC, "01:00:58;00", 59, 60, ("01:00:59;29", "01:01:00;02")),
        (NTSC, "01:00:58;00", 17982 - 58 * 30, 17982, ("01:10:00;00", "01:10:58;00")),
        (NTSC, "01:00:58:00", 59, 60, ("01:00:59:29", "01:01:00:00")),
        (Fraction(24000, 1001), "01:00:58:00", 47, 48, ("01:00:59:23", "01:01:00:00")),
    ],
)
def test_in_and_out_follow_smpte_through_dropped_labels(tmp_path: Path, fps, start, first: int, end: int, labels: tuple[str, str]) -> None:
    num_frames = 20000
    film = film_of(tmp_path, num_frames, fps, start)
    table = table_of(film, [report_of(first, end)], np.arange(num_frames) / float(fps))
    assert (table["timecode_in"][0], table["timecode_out"][0]) == labels


def test_every_column_says_in_the_file_what_it_means(tmp_path: Path) -> None:
    assert set(MEANINGS) == set(COLUMNS)
    film = film_of(tmp_path, 50, Fraction(25), "00:00:00:00")
    parquet, _ = write_table(table_of(film, [report_of(0, 50)], np.arange(50) / 25), tmp_path)
    schema = pq.read_schema(parquet)
    assert {field.name: field.metadata[b"meaning"].decode() for field in schema} == MEANINGS


def test_the_checks_and_the_delta_to_the_originals_own_score_are_in_the_table(tmp_path: Path) -> None:
    report = report_of(
        0, 50, before=SyncScore(confidence=0.4), after=SyncScore(confidence=0.3, confidence_low=0.2, confidence_high=0.35),
        checks=PictureChecks(seam_error=1.5, leak_share=0.25), percentile=12.5, person=1, code="in_sync", take_sha256="ab",
    )  # fmt: skip
    row = table_of(film_of(tmp_path, 50, Fraction(25), "00:00:00:00"), [report], np.arange(50) / 25).iloc[0]
    assert row["delta"] == delta(report) == pytest.approx(-0.1)
    assert (row["lse_c_low"], row["lse_c_high"], row["percentile"], row["person"]) == (0.2, 0.35, 12.5, 1)
    assert (row["seam_error"], row["leak_share"], row["code"], row["take_sha256"]) == (1.5, 0.25, "in_sync", "ab")
    assert delta(report_of(0, 50)) is None
