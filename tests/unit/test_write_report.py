"""The QA table and the page: right columns and types, right labels, and nothing in them that a spreadsheet or browser would run."""

import csv
import json
import re
from fractions import Fraction
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from infra.artifacts import ArtifactStore
from tasks.plain_words import in_plain_words, printable, sentences_of
from tasks.render_pages import page_script, season_page
from tasks.report_data import EpisodeReport, digest_of
from tasks.shot_table import closed_share, table_of, write_table
from tasks.timecode import timecode_of
from tasks.types import EpisodeQa, Film, QaReport, SelfTest, Shot, SyncScore
from tasks.write_report import schema
from tests.synthetic_report import make_film, make_qa, publish_report

NTSC = Fraction(30000, 1001)
COLUMNS = (
    "shot first_frame end_frame timecode_in timecode_out language outcome reason track_id face_box num_faces "
    "lse_d_before lse_c_before offset_before lse_d_undubbed lse_c_undubbed offset_undubbed lse_d_after lse_c_after offset_after "
    "closed_share verdict num_tries seconds code severity delta percentile lse_c_low lse_c_high pooled_offset person "
    "seam_error sharpness_ratio generated_per_face_pixel flicker_ratio identity leak_share take_sha256 character"
)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def film_of(store: ArtifactStore, **fields) -> Film:
    pts = fields.pop("pts", np.arange(100))
    timing = store.put_arrays(pts=pts.astype(np.int64), is_keyframe=np.ones(len(pts), bool))
    known = {"path": "/films/film.mp4", "sha256": "0" * 64, "timing": timing, "time_base": Fraction(1, 25), "fps": Fraction(25)}
    known |= {"num_frames": len(pts), "width": 640, "height": 360, "pixel_format": "yuv420p", "video_codec": "h264"}
    return Film.model_validate(known | fields)


def synced(index: int = 0, first: int = 0, end: int = 50, **fields) -> QaReport:
    known = {
        "shot": Shot(index=index, first_frame=first, end_frame=end),
        "language": "fr",
        "outcome": "synced",
        "reason": "in sync",
        "verdict": "pass",
    }
    known |= {"track_id": 0, "face_box": (1.0, -2.5, 30.0, 40.0), "num_faces": 1, "num_tries": 1, "seconds": 1.5}
    known |= {
        "before": SyncScore(offset_frames=1, confidence=6.0, distance=7.0),
        "undubbed": SyncScore(offset_frames=-9, confidence=2.0, distance=11.0),
    }
    known |= {"after": SyncScore(offset_frames=0, confidence=5.0, distance=8.0)}
    return QaReport.model_validate(known | fields)


def kept(index: int = 1, first: int = 50, end: int = 100, **fields) -> QaReport:
    known = {"shot": Shot(index=index, first_frame=first, end_frame=end), "language": "fr", "outcome": "kept_original", "reason": "no_face"}
    return QaReport.model_validate(known | {"verdict": "kept_original"} | fields)


# -- timecodes


@pytest.mark.parametrize(
    ("frame", "fps", "start", "label"),
    [
        (0, Fraction(25), None, "00:00:00:00"),
        (1525, Fraction(25), "10:00:00:00", "10:01:01:00"),
        (25 * 86400, Fraction(25), "01:00:00:00", "01:00:00:00"),
        (24, Fraction(24000, 1001), "01:00:00:00", "01:00:01:00"),
        (1800, NTSC, None, "00:01:00:00"),
        (1799, NTSC, "00:00:00;00", "00:00:59;29"),
        (1800, NTSC, "00:00:00;00", "00:01:00;02"),
        (17981, NTSC, "00:00:00;00", "00:09:59;29"),
        (17982, NTSC, "00:00:00;00", "00:10:00;00"),
        (107892, NTSC, "00:00:00;00", "01:00:00;00"),
        (1, NTSC, "00:59:59;29", "01:00:00;00"),
        (3600, Fraction(60000, 1001), "00:00:00;00", "00:01:00;04"),
        (10, Fraction(25), "00:00:00;20", "00:00:01:05"),
    ],
)
def test_a_frame_has_its_smpte_label(frame, fps, start, label):
    assert timecode_of(frame, fps, start) == label


def test_drop_frame_leaves_out_two_labels_a_minute_but_every_tenth_and_no_other():
    expected = [
        f"00:{minute:02d}:{second:02d};{frame:02d}"
        for minute in range(25)
        for second in range(60)
        for frame in range(30)
        if not (second == 0 and frame < 2 and minute % 10)
    ]
    assert [timecode_of(n, NTSC, "00:00:00;00") for n in range(len(expected))] == expected
    assert all(timecode_of(1, NTSC, before) == after for before, after in pairwise(expected))


def test_the_table_starts_at_the_films_own_timecode_and_ends_shots_at_the_next_ones_first_frame(store):
    film = film_of(store, start_timecode="01:00:00:00")
    table = table_of(film, [synced(), kept()], np.arange(100) / 25)
    assert list(table["timecode_in"]) == ["01:00:00:00", "01:00:02:00"]
    assert list(table["timecode_out"]) == ["01:00:02:00", "01:00:04:00"]


def test_in_a_film_of_variable_rate_a_label_follows_the_clock(store):
    film = film_of(store, is_vfr=True, fps=Fraction(20))
    times = np.concatenate([np.arange(50) / 25, 2 + np.arange(50) / 50 * 3])
    table = table_of(film, [synced(), kept()], times)
    assert table["timecode_in"][1] == "00:00:02:00"
    assert table["timecode_out"][1] == "00:00:05:00"


# -- the table


def test_the_table_has_the_promised_columns_in_order_and_survives_parquet_with_its_types(store, tmp_path):
    table = table_of(film_of(store), [kept(), synced()], np.arange(100) / 25)
    parquet, _ = write_table(table, tmp_path)
    read = pd.read_parquet(parquet)
    assert list(read.columns) == COLUMNS.split()
    assert list(read["shot"]) == [0, 1]
    assert {name: str(read[name].dtype) for name in ("shot", "track_id", "lse_c_after", "offset_after", "verdict", "seconds")} == {
        "shot": "int64", "track_id": "Int64", "lse_c_after": "Float64", "offset_after": "Int64", "verdict": "string", "seconds": "float64",
    }  # fmt: skip
    assert list(read["face_box"][0]) == [1.0, -2.5, 30.0, 40.0]
    assert read["face_box"][1] is None
    assert read["lse_c_after"].isna()[1]
    assert read["track_id"].isna()[1]
    assert read["offset_undubbed"][0] == -9


def test_a_table_without_any_score_or_face_still_has_the_same_types(store, tmp_path):
    scored, _ = write_table(table_of(film_of(store), [synced()], np.arange(100) / 25), tmp_path)
    types = pd.read_parquet(scored).dtypes
    bare, _ = write_table(table_of(film_of(store), [kept()], np.arange(100) / 25), tmp_path)
    assert (pd.read_parquet(bare).dtypes == types).all()


def test_closed_share_says_how_much_of_the_way_to_the_original_was_made():
    assert closed_share(synced()) == pytest.approx(0.75)
    assert closed_share(synced(after=SyncScore(confidence=7.0))) == pytest.approx(1.25)
    assert closed_share(synced(after=SyncScore(confidence=1.0))) == pytest.approx(-0.25)
    assert closed_share(synced(before=SyncScore(confidence=1.5))) is None  # the original is no better: there is no distance to close
    assert closed_share(synced(before=SyncScore(reason="no voice"))) is None
    assert closed_share(kept()) is None


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_text_in_the_csv_begins_like_a_formula_and_numbers_stay_numbers(store, tmp_path, text):
    table = table_of(film_of(store), [synced(reason=text)], np.arange(100) / 25)
    parquet, comma = write_table(table, tmp_path)
    with open(comma, newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert row["reason"] == "'" + text.replace("\t", " ").replace("\r", " ")
    assert row["offset_undubbed"] == "-9"
    assert json.loads(row["face_box"]) == [1.0, -2.5, 30.0, 40.0]
    assert pd.read_parquet(parquet)["reason"][0] == text


# -- the page


class Parsed(HTMLParser):
    """Tags, their attributes and all text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def qa_of(reports: list[QaReport], **fields) -> EpisodeQa:
    policy = {"policy_name": "dubflow", "policy_version": 1, "policy_sha256": "a" * 64}
    return EpisodeQa(language="fr", reports=tuple(reports), **policy | fields)


def page_of(store: ArtifactStore, into: Path, reports: list[QaReport], film_name: str = "film.mp4", warnings: tuple[str, ...] = (), **fields) -> str:
    film = film_of(store, start_timecode=fields.pop("start_timecode", None))
    return publish_report(store, into, [qa_of(reports, **fields)], film, warnings=warnings, film_name=film_name).page().read_text()


def data_of(page: str) -> dict:
    return json.loads(page.split('id="data">', 1)[1].split("</script>", 1)[0])


def test_the_page_tells_verdicts_reasons_and_scores_in_plain_words(store, tmp_path):
    page = page_of(store, tmp_path, [synced(), kept(evidence="a wall")], warnings=("2 s cut",))
    text = " ".join(" ".join(Parsed(page).text).split())
    assert "1 of 2 shots have new lips" in text
    assert "no face in the shot; a wall" in text
    assert "6.00 / 2.00 / 5.00" in text
    assert "2 s cut" in text
    assert data_of(page)["shots"][0]["said"][:2] == [
        "The dub fits its voice less well than the original picture fits the original voice: 5.00 against 6.00.",
        "It is better than the same picture undubbed (2.00), and closes 75% of the distance to the original.",
    ]
    assert "None" not in text


def test_a_scorer_that_cannot_be_trusted_is_said_first_and_loudly(store, tmp_path):
    failed = SelfTest(planted_frames=(1, 3), num_found=(2, 1), num_shots=8, trusted=False, reason="3 of 16 planted offsets were found")
    assert "cannot be trusted" not in page_of(store, tmp_path / "good", [synced()])
    page = page_of(store, tmp_path / "bad", [synced()], self_test=failed)
    alert = page[page.index('class="alert"') :]
    assert alert.index("cannot be trusted") < alert.index("3 of 16 planted offsets were found") < alert.index("<main>")


def test_what_an_offset_means_is_said_with_the_two_frame_rule():
    late = synced(after=SyncScore(offset_frames=3, confidence=5.0))
    assert "Lips are 120 ms behind the dub, which viewers notice." in sentences_of(late)
    early = synced(after=SyncScore(offset_frames=-1, confidence=5.0))
    assert "Lips are 40 ms ahead of the dub, which few viewers notice." in sentences_of(early)
    assert sentences_of(synced(after=SyncScore(reason="too little speech"))) == ["Not scored: too little speech."]
    assert in_plain_words("too_small: 30 px") == "the face is too small: 30 px"


@pytest.mark.parametrize(
    "attack", ["<script>alert(1)</script>", '"onload="alert(1)', "{{7*7}}", "</title><img src=x onerror=alert(1)>", "\u202egpj\x1b[31m", "</script>"]
)
def test_text_from_outside_stays_text(store, tmp_path, attack):
    plain = Parsed(page_of(store, tmp_path / "plain", [synced(reason="x", evidence="x")], "x.mp4", ("x",)))
    name = attack.replace("/", "_")
    page = page_of(store, tmp_path / "r", [synced(reason=attack, evidence=attack)], f"{name}.mp4", (attack,))
    parsed = Parsed(page)
    assert parsed.tags == plain.tags
    assert [name for name, _ in parsed.attributes] == [name for name, _ in plain.attributes]
    assert data_of(page)["shots"][0]["reason"] == printable(attack)
    assert not re.search("[\u202a-\u202e\x1b]", page)


def test_the_page_asks_nothing_from_anywhere_and_runs_no_script_but_its_own(store, tmp_path):
    page = page_of(store, tmp_path, [synced(), kept()])
    parsed = Parsed(page)
    assert parsed.tags.count("link") == 1  # the empty icon
    addresses = [value for name, value in parsed.attributes if name in ("src", "href", "action") and value]
    assert all(re.match(r"(data:,|#|\.\./)", address) for address in addresses)
    assert not re.search(r"url\(|@import", page)
    policy = next(value for _, value in parsed.attributes if value and value.startswith("default-src"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert parsed.tags.count("script") == 2


def test_the_pages_script_never_makes_elements_from_text():
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser\(\)\.parseFromString\((?!await)", page_script()
    )


def test_report_json_keeps_its_schema(store, tmp_path):
    published = publish_report(store, tmp_path, [make_qa(12, "fr"), make_qa(12, "de")], make_film(store, 900))
    written = json.loads((published.folder / "report.json").read_text())
    jsonschema.validate(written, json.loads((published.folder / "report.schema.json").read_text()))
    assert EpisodeReport.model_validate(written).languages[0].language == "de"
    assert (published.folder / "report.schema.json").read_text() == schema()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written | {"episode_id": 7}, json.loads(schema()))


def test_the_digest_names_the_takes_and_nothing_else():
    reports = make_qa(5).reports
    same = [report.model_copy(update={"reason": "other words", "verdict": "review"}) for report in reports]
    other = [report.model_copy(update={"take_sha256": "9" * 64}) if report.shot.index == 1 else report for report in reports]
    digest = digest_of("f" * 64, "fr", reports)
    assert digest == digest_of("f" * 64, "fr", same)
    assert len({digest, digest_of("f" * 64, "fr", other), digest_of("e" * 64, "fr", reports), digest_of("f" * 64, "de", reports)}) == 4


def test_a_page_of_two_thousand_shots_is_under_five_megabytes(store, tmp_path):
    published = publish_report(store, tmp_path, [make_qa(2000)], make_film(store, 150_000))
    assert published.page().stat().st_size < 5_000_000


def test_with_several_languages_the_overview_leads_to_each(store, tmp_path):
    published = publish_report(store, tmp_path, [make_qa(5, "fr"), make_qa(5, "de")], make_film(store, 375))
    overview = Parsed((published.folder / "report.html").read_text())
    links = [value for name, value in overview.attributes if name == "href"]
    assert {"fr/report.html", "de/report.html"} <= set(links)
    assert "refresh" not in [value for _, value in overview.attributes]


def test_the_seasons_page_lists_every_episode_with_the_way_to_its_reports(store, tmp_path):
    for name in ("s01e01", "s01e02"):
        publish_report(store, tmp_path, [make_qa(5)], make_film(store, 375), episode_id=name, film_name="<b>.mp4")
    reports = [EpisodeReport.model_validate_json((tmp_path / name / "report.json").read_text()) for name in ("s01e02", "s01e01")]
    page = Parsed(season_page(reports))
    links = [value for name, value in page.attributes if name == "href" and value and value.startswith("s01")]
    assert links == ["s01e01/report.html", "s01e01/fr/report.html", "s01e02/report.html", "s01e02/fr/report.html"]
    assert "b" in page.tags
    assert "script" not in page.tags
