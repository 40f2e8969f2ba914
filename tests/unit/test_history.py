"""The history of decisions: nothing is lost, nothing is changed unnoticed."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.storage import Storage, open_storage
from tasks.history import BrokenHistoryError, Deed, append_entry, entry_key, find_changed_view, head_of, read_history
from tasks.types import NO_ENTRY, Decision, InputDigests

INPUTS = InputDigests(film="f" * 64, audio={"fr": "a" * 64})


def deed(shot: int, reviewer: str = "Anna") -> Deed:
    decision = Decision(shot=shot, language="fr", take_sha256="1" * 64, decision="reject", note="=2+3 <b>&")
    return Deed(decisions=(decision,), reviewer=reviewer, source="test", inputs=INPUTS)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "out")


def changed(storage: Storage, path: Path, number: int, old: str, new: str) -> None:
    file = path / "out" / entry_key("ep", number)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_entries_come_back_in_order_each_holding_the_digest_of_the_one_before(storage: Storage) -> None:
    assert read_history(storage, "ep") == ()
    written = [append_entry(storage, "ep", "decided", deed(shot)) for shot in range(3)]
    read = read_history(storage, "ep", head_of(written))
    assert list(read) == written
    assert [entry.previous for entry in read] == [NO_ENTRY, written[0].sha256, written[1].sha256]
    assert [entry.number for entry in read] == [1, 2, 3]


def test_history_jsonl_holds_one_entry_a_line(storage: Storage, tmp_path: Path) -> None:
    written = [append_entry(storage, "ep", "decided", deed(shot)) for shot in range(3)]
    lines = (tmp_path / "out" / "ep" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["sha256"] for line in lines] == [entry.sha256 for entry in written]
    assert find_changed_view(storage, "ep", written) is None


def test_many_reviewers_at_the_same_moment_all_get_in(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: append_entry(storage, "ep", "decided", deed(n, f"reviewer {n}")), range(24)))
    entries = read_history(storage, "ep")
    assert {entry.reviewer for entry in entries} == {f"reviewer {n}" for n in range(24)}
    assert [entry.number for entry in entries] == list(range(1, 25))


@pytest.mark.parametrize(
    ("old", "new", "trouble"),
    [
        ("reject", "approve", "it was changed"),
        ('"number":2', '"number":3', "it was changed"),
        ('"format":1', '"format":9', "cannot be read"),
        ("{", "", "cannot be read"),
    ],
)
def test_a_changed_entry_is_noticed_and_named(storage: Storage, tmp_path: Path, old: str, new: str, trouble: str) -> None:
    for shot in range(3):
        append_entry(storage, "ep", "decided", deed(shot))
    changed(storage, tmp_path, 2, old, new)
    with pytest.raises(BrokenHistoryError, match=rf"000002.json: .*{trouble}"):
        read_history(storage, "ep")


def test_an_entry_that_was_forged_whole_does_not_follow_the_one_before(storage: Storage, tmp_path: Path) -> None:
    other = open_storage(tmp_path / "other")
    for shot in range(2):
        append_entry(storage, "ep", "decided", deed(shot))
        append_entry(other, "ep", "decided", deed(shot + 10))
    (tmp_path / "out" / entry_key("ep", 2)).write_bytes(other.read_bytes(entry_key("ep", 2)))
    with pytest.raises(BrokenHistoryError, match="does not follow"):
        read_history(storage, "ep")


def test_an_entry_taken_out_of_the_middle_is_noticed(storage: Storage) -> None:
    for shot in range(3):
        append_entry(storage, "ep", "decided", deed(shot))
    storage.delete(entry_key("ep", 2))
    with pytest.raises(BrokenHistoryError, match=r"000002.json: it is missing"):
        read_history(storage, "ep")


def test_entries_cut_off_at_the_end_are_noticed_by_what_the_manifest_knows(storage: Storage) -> None:
    vouched = head_of([append_entry(storage, "ep", "decided", deed(shot)) for shot in range(3)])
    storage.delete(entry_key("ep", 3))
    assert len(read_history(storage, "ep")) == 2
    with pytest.raises(BrokenHistoryError, match="knows of 3 entries, only 2"):
        read_history(storage, "ep", vouched)
    append_entry(storage, "ep", "decided", deed(9))
    with pytest.raises(BrokenHistoryError, match="not the one that the manifest knows"):
        read_history(storage, "ep", vouched)


def test_a_changed_history_jsonl_is_said_and_does_not_count(storage: Storage, tmp_path: Path) -> None:
    entries = [append_entry(storage, "ep", "decided", deed(shot)) for shot in range(2)]
    view = tmp_path / "out" / "ep" / "history.jsonl"
    view.write_text(view.read_text().replace("Anna", "Bert", 1))
    assert "line 1" in (find_changed_view(storage, "ep", entries) or "")
    assert {entry.reviewer for entry in read_history(storage, "ep")} == {"Anna"}
    append_entry(storage, "ep", "decided", deed(5))
    assert find_changed_view(storage, "ep", read_history(storage, "ep")) is None


def test_the_history_lies_on_s3_as_well(s3_bucket: str) -> None:
    storage = open_storage(f"{s3_bucket}/out")
    written = [append_entry(storage, "ep", "decided", deed(shot)) for shot in range(2)]
    assert list(read_history(storage, "ep", head_of(written))) == written
    assert len(storage.read_bytes("ep/history.jsonl").splitlines()) == 2
