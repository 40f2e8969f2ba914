"""The edit suite gets the shots frame by frame where they are, at every rate, with a marker where somebody decided or should look."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import opentimelineio as otio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.artifacts import ArtifactStore
from tasks.edit_list import Event, Locator, edl_of, ranges_in_edl
from tasks.hand_over import hand_over
from tasks.settled import Standing
from tasks.timecode import timecode_of
from tasks.types import DubbedEpisode, DubRequest, Film, QaReport, Shot, SyncScore

PAL, FILM, NTSC = Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001)
RATES = [
    (PAL, None),
    (PAL, "10:00:00:00"),
    (FILM, "01:00:00:00"),
    (NTSC, "00:59:58;20"),
    (NTSC, "01:00:00:00"),
    (Fraction(60000, 1001), "00:00:50;00"),
]
BORDERS = [(0, 75), (75, 150), (150, 200), (200, 1799), (1799, 1801), (1801, 17982), (17982, 18000), (18000, 18001)]


def film_of(fps: Fraction, start: str | None, num_frames: int, **more) -> Film:
    timing = {"sha256": "0" * 64, "num_bytes": 0, "media_type": "application/x-npz"}
    fields = {
        "timing": timing,
        "fps": fps,
        "num_frames": num_frames,
        "time_base": Fraction(1) / fps,
        "width": 96,
        "height": 64,
        "start_timecode": start,
    }
    return Film(path="/f.mp4", sha256="f" * 64, pixel_format="yuv420p", video_codec="h264", **(fields | more))


def report_of(index: int, span: tuple[int, int], verdict: str = "pass", **more) -> QaReport:
    fields = {"outcome": "synced", "reason": "in sync", "language": "fr", "take_sha256": f"{index:064d}"}
    shot = Shot(index=index, first_frame=span[0], end_frame=span[1])
    return QaReport(shot=shot, verdict=verdict, **(fields | more))


def written(tmp_path: Path, film: Film, reports: list[QaReport], standing: list[Standing]) -> Path:
    episode = DubbedEpisode(episode_id="ep-1", language="fr", output="fr/ep-1.fr.mp4", sha256="e" * 64, num_frames=film.num_frames)
    request = DubRequest(film="/films/Ep 1.mov", audio={"fr": "fr.wav"}, out=str(tmp_path), episode_id="ep-1")
    made = hand_over(ArtifactStore(tmp_path / "artifacts"), film, request, reports, [episode], standing, tmp_path / "out")
    assert all(Path(path) == tmp_path / "out" / key for key, path in made.files.items())
    return tmp_path / "out"


def said(shot: int, decision: str, **more) -> Standing:
    fields = {"take_sha256": f"{shot:064d}", "note": "", "reviewer": "Anna", "at": "2026-01-01T00:00:00+00:00"}
    return Standing(shot=shot, language="fr", decision=decision, **(fields | more))


@pytest.mark.parametrize(("fps", "start"), RATES)
def test_both_timelines_hold_exactly_the_frames_of_every_shot(tmp_path, fps, start):
    film = film_of(fps, start, BORDERS[-1][1])
    out = written(tmp_path, film, [report_of(n, span) for n, span in enumerate(BORDERS)], [])

    timeline = otio.adapters.read_from_file(str(out / "fr/timeline.otio"))
    zero = timeline.global_start_time.to_frames()
    clips = timeline.tracks[0]
    assert [(c.source_range.start_time.to_frames() - zero, c.source_range.end_time_exclusive().to_frames() - zero) for c in clips] == BORDERS
    in_track = [clip.range_in_parent() for clip in clips]
    assert [(span.start_time.to_frames(), span.end_time_exclusive().to_frames()) for span in in_track] == BORDERS
    assert {clip.source_range.start_time.rate for clip in clips} == {float(fps)}
    assert clips[0].media_reference.target_url == "ep-1.fr.mp4"

    edl = otio.adapters.read_from_file(str(out / "fr/ep-1.fr.edl"), rate=float(fps))
    events = [clip.source_range for clip in edl.tracks[0]]
    assert [(event.start_time.to_frames() - zero, event.end_time_exclusive().to_frames() - zero) for event in events] == BORDERS
    assert ("FCM: DROP FRAME" in (out / "fr/ep-1.fr.edl").read_text()) == (start is not None and ";" in start)


@pytest.mark.shared
@pytest.mark.parametrize(("fps", "start"), [(PAL, None), (FILM, "01:00:00:00"), (NTSC, "00:59:48;20")])
def test_the_real_episodes_shots_come_back_as_its_truth_says(tmp_path, shared, fps, start):
    truth = json.loads((shared / "media/episode_a/truth.json").read_text())
    spans = [(shot["first_frame"], shot["end_frame"]) for shot in truth["shots"]]
    out = written(tmp_path, film_of(fps, start, truth["num_frames"]), [report_of(n, span) for n, span in enumerate(spans)], [])
    for name, options in (("timeline.otio", {}), ("ep-1.fr.edl", {"rate": float(fps)})):
        timeline = otio.adapters.read_from_file(str(out / "fr" / name), **options)
        ranges = [clip.source_range for clip in timeline.tracks[0]]
        zero = ranges[0].start_time.to_frames()
        assert otio.opentime.to_timecode(ranges[0].start_time, float(fps)) == (start or "00:00:00:00")
        assert [(span.start_time.to_frames() - zero, span.end_time_exclusive().to_frames() - zero) for span in ranges] == spans


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=40), st.sampled_from(RATES))
@settings(deadline=None, max_examples=40)
def test_an_edl_comes_back_frame_by_frame_whatever_the_cuts(lengths, rate):
    borders = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    spans = list(pairwise(borders))
    text = edl_of("t", "reel", "f.mp4", [Event("shot", *span) for span in spans], *rate)
    assert ranges_in_edl(text, *rate) == spans


def test_a_marker_lies_on_every_shot_that_was_decided_or_should_be_looked_at_and_on_no_other(tmp_path):
    reports = [report_of(0, (0, 10)), report_of(1, (10, 20), "review", reason="a seam"), report_of(2, (20, 30)), report_of(3, (30, 40))]
    out = written(tmp_path, film_of(PAL, "10:00:00:00", 40), reports, [said(2, "approve"), said(3, "reject", take_sha256="9" * 64, note="lips late")])
    clips = otio.adapters.read_from_file(str(out / "fr/timeline.otio")).tracks[0]
    assert [[(mark.color, mark.name) for mark in clip.markers] for clip in clips] == [
        [],
        [("YELLOW", "REVIEW: a seam")],
        [("GREEN", "APPROVED by Anna")],
        [("CYAN", "MADE AGAIN, passes (was REJECTED by Anna: lips late)")],
    ]
    assert clips[1].markers[0].marked_range == clips[1].source_range

    edl = otio.adapters.read_from_file(str(out / "fr/ep-1.fr.edl"), rate=25)
    marks = [[(mark.color, mark.marked_range.start_time.to_frames() - 900_000) for mark in clip.markers] for clip in edl.tracks[0]]
    assert marks == [[], [("YELLOW", 10)], [("GREEN", 20)], [("CYAN", 30)]]


def test_a_locators_timecode_drops_frames_as_its_event_does():
    text = edl_of("t", "reel", "f.mp4", [Event("shot-00000", 0, 1798), Event("shot-00001", 1798, 1810, Locator("RED", "look"))], NTSC, "00:00:00;02")
    line = next(line for line in text.splitlines() if line.startswith("* LOC"))
    assert line == "* LOC: 00:01:00;02 RED     look"
    assert otio.opentime.from_timecode("00:01:00;02", float(NTSC)).to_frames() == 1800


def test_no_text_breaks_out_of_its_line(tmp_path):
    evil = 'x"\n002  EVIL V C 00:00:00:00 00:00:01:00 00:00:00:00 00:00:01:00\r* LOC: 00:00:00:00 RED \N{RIGHT-TO-LEFT OVERRIDE}'
    evil += "<img src=x onerror=alert(1)> @channel [a](b) é"
    reports = [report_of(0, (0, 10), "review", reason=evil), report_of(1, (10, 20))]
    out = written(tmp_path, film_of(PAL, None, 20), reports, [said(1, "reject", note=evil, reviewer=evil)])
    edl = (out / "fr/ep-1.fr.edl").read_text(encoding="ascii")
    assert len([line for line in edl.splitlines() if line[:1].isdigit()]) == 2
    assert len(otio.adapters.read_from_string(edl, "cmx_3600", rate=25).tracks[0]) == 2
    summary = (out / "summary.md").read_text()
    assert "<img" not in summary
    assert "@channel" not in summary
    assert "](b)" not in summary
    assert len([line for line in summary.splitlines() if line.startswith("- ")]) == 1


def test_the_summary_says_how_it_went_and_what_to_look_at_first(tmp_path):
    score = SyncScore(confidence=4.5, distance=8.0, num_windows=9)
    reports = [report_of(n, (10 * n, 10 * n + 10), after=score, before=score, undubbed=SyncScore(confidence=1.0)) for n in range(2)]
    reports.append(report_of(2, (20, 30), "review", reason="the mouth flickers", severity="issue"))
    reports.append(report_of(3, (30, 40), "kept_original", outcome="kept_original", take_sha256=None))
    out = written(tmp_path, film_of(NTSC, "00:59:59;28", 40), reports, [said(0, "approve"), said(1, "approve")])
    summary = (out / "summary.md").read_text()
    assert "| fr | 2 | 1 | 1 | 4.50 | 1.00 | 4.50 |" in summary
    assert "Decided by Anna: 2 approve." in summary
    assert "- `01:00:00;18` shot 2 (fr): the mouth flickers" in summary


def test_a_film_of_variable_rate_gets_an_exact_timeline_and_is_told_why_there_is_no_edl(tmp_path):
    store = ArtifactStore(tmp_path / "artifacts")
    pts = np.cumsum([0, *[3000, 4500, 1500, 9000] * 5])[:20].astype(np.int64)
    timing = store.put_arrays(pts=pts, is_keyframe=np.ones(20, bool))
    film = film_of(PAL, None, 20, is_vfr=True, time_base=Fraction(1, 90_000), timing=timing)
    episode = DubbedEpisode(episode_id="ep-1", language="fr", output="fr/ep-1.fr.mp4", sha256="e" * 64, num_frames=20)
    request = DubRequest(film="/f.mov", audio={"fr": "fr.wav"}, out=str(tmp_path), episode_id="ep-1")
    made = hand_over(store, film, request, [report_of(0, (0, 7)), report_of(1, (7, 20))], [episode], [], tmp_path / "out")
    assert set(made.files) == {"fr/timeline.otio", "summary.md"}
    assert "constant rate" in made.warnings[0]
    clips = otio.adapters.read_from_file(str(tmp_path / "out/fr/timeline.otio")).tracks[0]
    assert clips[1].source_range.start_time == otio.opentime.RationalTime(int(pts[7]), 90_000)


def test_labels_and_timeline_agree_with_the_report(tmp_path):
    out = written(tmp_path, film_of(NTSC, "00:59:59;28", 400), [report_of(0, (0, 5)), report_of(1, (5, 400))], [])
    clips = otio.adapters.read_from_file(str(out / "fr/timeline.otio")).tracks[0]
    assert otio.opentime.to_timecode(clips[1].source_range.start_time, float(NTSC)) == timecode_of(5, NTSC, "00:59:59;28")
