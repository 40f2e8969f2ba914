"""`dub redo OUT/ID --shots 3,7-9` is read as people mean it, or refused in words."""

import pytest

from flows.commands.redo_command import make_redo_request, parse_shots, read_told, split_episode
from infra.errors import InputError
from infra.storage import open_storage
from tasks.history import Deed, append_entry
from tasks.types import InputDigests


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("season/episode-a", ("season", "episode-a")),
        ("season/episode-a/", ("season", "episode-a")),
        ("episode-a", (".", "episode-a")),
        ("/episode-a", ("/", "episode-a")),
        ("s3://bucket/show/ep-1", ("s3://bucket/show", "ep-1")),
        ("s3://bucket/ep-1", ("s3://bucket", "ep-1")),
    ],
)
def test_an_episode_is_named_by_where_it_lies(text, parts):
    assert split_episode(text) == parts


@pytest.mark.parametrize("text", ["", "season/Episode A", "season/..", "season/report.html"])
def test_what_is_no_episode_is_refused(text):
    with pytest.raises(InputError, match="give OUT/ID"):
        split_episode(text)


@pytest.mark.parametrize(("text", "shots"), [("3,7", (3, 7)), ("7-9, 3", (3, 7, 8, 9)), ("4,4", (4,)), ("", ())])
def test_shots_are_numbers_and_ranges(text, shots):
    assert parse_shots(text) == shots


@pytest.mark.parametrize("text", ["x", "3-", "9-7", "-1", "3;7", "1e3", "9999999"])
def test_other_words_are_no_shots(text):
    with pytest.raises(InputError, match="write shot numbers as in 3,7-9"):
        parse_shots(text)


def test_a_request_holds_what_was_asked():
    request = make_redo_request("out/ep", "3", decisions="d.json", model=None, reviewer="Anna")
    assert (request.out, request.episode_id, request.shots, request.decisions) == ("out", "ep", (3,), "d.json")
    with pytest.raises(InputError, match="--num_workers"):
        make_redo_request("out/ep", "3", num_workers=0)


def test_the_history_of_what_was_never_dubbed_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no episode"):
        read_told(str(tmp_path / "ep"))


def test_a_manifest_of_an_older_version_says_what_to_do(tmp_path):
    (tmp_path / "ep").mkdir()
    (tmp_path / "ep" / "manifest.json").write_text('{"format": 1}')
    append_entry(open_storage(tmp_path), "ep", "decided", Deed(inputs=InputDigests(film="f", audio={})))
    with pytest.raises(InputError, match=r"older version.*Run the same `dub episode` again"):
        read_told(str(tmp_path / "ep"))
