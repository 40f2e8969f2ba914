"""A season's table: whatever is wrong with it is told at once, by row and column; what is right means the same in CSV, Parquet and JSON."""

import json
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.season.files import FileFinder
from flows.season.manifest import Known, ManifestRow, check_manifest
from flows.season.table import read_table
from infra.errors import InputError

FILES = ("film.mp4", "other.mp4", "fr.wav", "de.wav", "voices.wav", "cast.toml", "anna.wav", "policy.toml", "speakers.json")
HEAD = "episode,film,language,track"


def no_model(name: str) -> None:
    if name not in ("dubflow-lite", "tiny"):
        raise InputError(f"There is no model named {name!r}.")


KNOWN = Known(model=no_model, characters=lambda cast: frozenset({"anna"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def rows_of(folder: Path, text: str, name: str = "season.csv", missing="refuse") -> tuple[ManifestRow, ...]:
    (folder / name).write_text(text, encoding="utf-8")
    return check_manifest(read_table(folder / name, name), FileFinder.beside(str(folder / name)), missing, KNOWN)


def trouble_with(folder: Path, text: str, name: str = "season.csv") -> str:
    with pytest.raises(InputError) as caught:
        rows_of(folder, text, name)
    return str(caught.value)


def test_a_row_says_everything_about_one_language_of_one_episode(folder):
    head = f"{HEAD},original_dialogue,air_date,priority,model,policy,speaker,cast,stem:ANNA"
    row = "ep-1,film.mp4,pt-BR,fr.wav,voices.wav,2027-03-28T20:15+01:00,urgent,tiny,policy.toml,speakers.json,cast.toml,anna.wav"
    (read,) = rows_of(folder, f"{head}\n{row}\n")
    assert (read.number, read.episode, read.language, read.priority) == (2, "ep-1", "pt-BR", "urgent")
    assert read.air_date == datetime(2027, 3, 28, 19, 15, tzinfo=UTC)
    files = {"film": "film.mp4", "track": "fr.wav", "original_dialogue": "voices.wav", "policy": "policy.toml", "speaker": "speakers.json"}
    files |= {"cast": "cast.toml"}
    assert read.texts == {name: str(folder / file) for name, file in files.items()} | {"model": "tiny"}
    assert read.stems == {"ANNA": str(folder / "anna.wav")}


def test_the_three_formats_mean_the_same(folder):
    cells = [
        {"episode": "ep-1", "film": "film.mp4", "language": "fr", "track": "fr.wav", "air_date": "2027-03-28", "priority": "2"},
        {"episode": "ep-1", "film": "film.mp4", "language": "de", "track": "de.wav", "air_date": None, "priority": None},
    ]
    (folder / "season.json").write_text(json.dumps(cells))
    pd.DataFrame(cells).to_csv(folder / "season.csv", index=False, sep=";", encoding="utf-8-sig")
    typed = pd.DataFrame(cells).assign(air_date=[date(2027, 3, 28), None], priority=[2.0, None])
    typed.to_parquet(folder / "season.parquet")
    finder = FileFinder(str(folder))
    read = [check_manifest(read_table(folder / name, name), finder, "refuse", KNOWN) for name in ("season.csv", "season.json", "season.parquet")]
    without_number = [[(row.episode, row.language, row.texts, row.air_date, row.priority) for row in rows] for rows in read]
    assert without_number[0] == without_number[1] == without_number[2]
    assert [row.number for row in read[0]] == [2, 3]  # as a spreadsheet counts
    assert [row.number for row in read[1]] == [1, 2]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            "ep-1,gone.mp4,fr,fr.wav",
            "row 2, column film: ",
        ),
        ("ep-1,film.mp4,fr,", "row 2, column track: it is empty"),
        ("ep-1,film.mp4,fr,fr.wav\nep-1,film.mp4,FR-fr,de.wav", "row 3, column language: 'FR-fr' is no known language tag"),
        ("ep-1,film.mp4,fr,fr.wav\nep-1,film.mp4,fr,de.wav", "row 3, column language: ep-1 in fr is in row 2 already"),
        ("ep-1,film.mp4,fr,fr.wav\nep-1,other.mp4,de,de.wav", "row 3, column film: ep-1 has "),
        ("S01E02,film.mp4,fr,fr.wav", "Write s01e02?"),
        ("../up,film.mp4,fr,fr.wav", "row 2, column episode: ../up"),
        ("ep-1,http://x/film.mp4,fr,fr.wav", "row 2, column film: http://x/film.mp4"),
        ("ep-1,.,fr,fr.wav", "is not a regular file"),
    ],
)
def test_a_wrong_cell_is_told_with_its_row_and_column(folder, rows, said):
    assert said in trouble_with(folder, f"{HEAD}\n{rows}\n")


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("air_date", "28.3.2027", "row 2, column air_date: 28.3.2027 is no date. Write 2027-03-28"),
        ("air_date", "2027-02-30", "is no date"),
        ("priority", "soon", "row 2, column priority: soon is no priority. Write urgent, default or background"),
        ("model", "nonesuch", "row 2, column model: There is no model named 'nonesuch'"),
        ("stem:ANNA", "anna.wav", "row 2, column stem:ANNA: a character's track needs a cast file"),
        ("policy", "gone.toml", "row 2, column policy: "),
    ],
)
def test_so_is_one_in_a_column_that_may_be_left_away(folder, column, cell, said):
    assert said in trouble_with(folder, f"{HEAD},{column}\nep-1,film.mp4,fr,fr.wav,{cell}\n")


def test_a_character_that_the_cast_file_does_not_know_is_told(folder):
    text = f"{HEAD},cast,stem:BEN\nep-1,film.mp4,fr,fr.wav,cast.toml,anna.wav\n"
    assert "row 2, column stem:BEN: there is no such character" in trouble_with(folder, text)


def test_where_a_language_has_character_stems_it_needs_no_track(folder):
    (row,) = rows_of(folder, "episode,film,language,cast,stem:ANNA\nep-1,film.mp4,fr,cast.toml,anna.wav\n")
    assert "track" not in row.texts


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (f"{HEAD},air date", "column air date: there is no such column. Did you mean air_date?"),
        (f"{HEAD},priorty", "Did you mean priority?"),
        (f"{HEAD},xyzzy", "Known: episode, film, language, track"),
        ("episode,film,language", "column track: it is missing; every row needs it"),
        (f"{HEAD},track", "the column track is there twice"),
    ],
)
def test_columns_are_known_by_name(folder, head, said):
    assert said in trouble_with(folder, f"{head}\n{','.join(['ep-1'] * len(head.split(',')))}\n")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("season.csv", "", "it has no rows"),
        ("season.csv", f"{HEAD}\n", "it has no rows"),
        ("season.csv", f"{HEAD}\n,,,\n\n", "it has no rows"),
        ("season.csv", f"{HEAD}\nep-1,film.mp4,fr,fr.wav,more\n", "it cannot be read as csv"),
        ("season.json", "{", "it cannot be read as json"),
        ("season.json", "[1, 2]", "a list of objects is needed"),
        ("season.parquet", "no parquet", "it cannot be read as parquet"),
        ("season.xlsx", "x", "a season is a .csv, .parquet or .json file"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_name(folder, name, content, said):
    text = trouble_with(folder, content, name)
    assert name in text
    assert said in text


def test_a_table_in_another_encoding_is_told_how_to_be_saved(folder):
    (folder / "season.csv").write_bytes(f"{HEAD}\nep-1,".encode() + b"\xfcber.mp4,fr,fr.wav\n")
    with pytest.raises(InputError, match="CSV UTF-8"):
        read_table(folder / "season.csv", "season.csv")


def test_a_number_where_text_belongs_is_told(folder):
    (folder / "season.json").write_text(json.dumps([{"episode": 101, "film": "film.mp4", "language": "fr", "track": ["fr.wav"]}]))
    with pytest.raises(InputError) as caught:
        check_manifest(read_table(folder / "season.json", "season.json"), FileFinder(str(folder)), "refuse", KNOWN)
    assert "row 1, column episode: 101 is not text" in str(caught.value)
    assert "row 1, column track: ['fr.wav'] is not text" in str(caught.value)


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_rows(folder):
    text = trouble_with(folder, f"{HEAD},air_date\nEP,gone.mp4,xx,gone.wav,never\nep-2,film.mp4,fr,away.wav,\nep-2,film.mp4,fr,fr.wav,\n")
    lines = text.splitlines()
    assert lines[0] == "season.csv: 5 things are wrong with the season; nothing was started."
    assert [line.split(":")[0] for line in lines[1:]] == [
        "- row 2, column episode",
        "- row 2, column language",
        "- row 2, column air_date",
        "- row 3, column track",
        "- row 4, column language",
    ]


def test_files_that_are_not_there_yet_may_be_waited_for(folder):
    first, second = rows_of(folder, f"{HEAD}\nep-1,film.mp4,fr,fr.wav\nep-1,film.mp4,de,later.wav\n", missing="skip")
    assert first.missing == ""
    assert second.missing == f"{folder / 'later.wav'} does not exist."


def test_what_is_said_once_of_an_episode_holds_for_all_its_languages(folder):
    first, second = rows_of(folder, f"{HEAD},model\nep-1,film.mp4,fr,fr.wav,tiny\nep-1,film.mp4,de,de.wav,\n")
    assert first.texts["model"] == second.texts["model"] == "tiny"


def test_ten_thousand_rows_are_read_and_checked_and_as_many_faults_are_told_shortly(folder):
    rows = [f"ep-{n // 5},film.mp4,{language},fr.wav" for n in range(0, 10_000, 5) for language in ("fr", "de", "es", "it", "pl")]
    started = time.process_time()
    assert len(rows_of(folder, "\n".join([HEAD, *rows]))) == 10_000
    spent_s = time.process_time() - started
    text = trouble_with(folder, "\n".join([HEAD, *(row.replace("fr.wav", "gone.wav") for row in rows)]))
    assert "10000 things are wrong" in text
    assert len(text.splitlines()) < 120
    assert spent_s < 60  # nothing grows with the square of the rows; in truth a second or two


def said_of(path: Path) -> str:
    """What is wrong with a table, as far as it can be read at all; empty when nothing is. Any other error than InputError comes through."""
    try:
        rows = check_manifest(read_table(path, path.name), FileFinder.beside(str(path)), "refuse", KNOWN)
    except InputError as error:
        return str(error)
    assert len({(row.episode, row.language) for row in rows}) == len(rows)
    return ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400), ending=st.sampled_from(["csv", "json", "jsonl", "parquet"]))
def test_no_bytes_do_anything_worse_than_be_refused(folder, data, ending):
    path = folder / f"odd.{ending}"
    path.write_bytes(data)
    assert path.name in said_of(path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.lists(st.text(max_size=12), min_size=5, max_size=5), min_size=1, max_size=5))
def test_no_text_in_a_cell_does_anything_worse_than_be_refused(folder, cells):
    pd.DataFrame(cells, columns=[*HEAD.split(","), "air_date"]).to_parquet(folder / "odd.parquet")
    said = said_of(folder / "odd.parquet")
    assert "odd.parquet" in said
    assert all(char.isprintable() or char == "\n" for char in said)
