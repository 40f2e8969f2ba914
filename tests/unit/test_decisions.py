"""A decisions.json may come from anybody: what can be used is used, everything else is said shot by shot."""

import json
from pathlib import Path

import pytest

from infra.errors import InputError
from tasks.decisions import MOST_BYTES, Checked, TakeInFilm, check_decisions, parse_decisions, read_decisions
from tasks.history import Deed
from tasks.settled import overrides_of, standing_of
from tasks.types import Decision, HistoryEntry, InputDigests, Remake

OLD, NEW = "1" * 64, "2" * 64
INPUTS = InputDigests(film="f" * 64, audio={"fr": "a" * 64, "de": "b" * 64})
FILM = {
    (0, "fr"): TakeInFilm(shot=0, language="fr", take_sha256=OLD),
    (1, "fr"): TakeInFilm(shot=1, language="fr", take_sha256=None, reason="no_face"),
    (2, "fr"): TakeInFilm(shot=2, language="fr", take_sha256=OLD),
}


def said(shot: int, decision: str, take: str | None = OLD, **more) -> dict:
    return {"shot": shot, "language": "fr", "take_sha256": take, "decision": decision} | more


def checked(*entries: dict, history: tuple[HistoryEntry, ...] = (), kept: frozenset = frozenset(), **more) -> Checked:
    file, wrong = parse_decisions({"format": 1, "episode_id": "ep", "reviewer": "Bert", "decisions": list(entries)} | more, "decisions.json")
    found = check_decisions(file, "decisions.json", "ep", FILM, history, kept)
    return found.model_copy(update={"refused": (*wrong, *found.refused)})


def entry(*decisions: Decision, reviewer: str = "Anna", remakes: tuple[Remake, ...] = (), inputs: InputDigests = INPUTS) -> HistoryEntry:
    deed = Deed(decisions=decisions, remakes=remakes, reviewer=reviewer, inputs=inputs)
    fields = {"number": 1, "previous": "0" * 64, "id": "x", "at": "2026-01-01T10:00:00+00:00", "episode_id": "ep", "kind": "decided", "sha256": ""}
    return HistoryEntry.model_validate(fields | deed.model_dump())


def decision(*words, **more) -> Decision:
    return Decision.model_validate(said(*words, **more))


def test_good_decisions_are_taken_as_they_are():
    found = checked(said(0, "approve", note="=1+1 <script>alert(1)</script>"), said(1, "keep_original", None), said(2, "reject"))
    assert [(d.shot, d.decision) for d in found.accepted] == [(0, "approve"), (1, "keep_original"), (2, "reject")]
    assert found.accepted[0].note == "=1+1 <script>alert(1)</script>"
    assert found.refused == ()


@pytest.mark.parametrize(
    ("entry_of_file", "trouble"),
    [
        (said(9, "approve"), r"^shot 9, fr: there is no such shot; the film has shots 0 to 2\.$"),
        (said(0, "approve", language="it"), r"^shot 0, it: the episode is not dubbed into this language; it has fr\.$"),
        (said(0, "approve", NEW), r"^shot 0, fr: it was made again since it was looked at \(the report is an older one\)"),
        (said(0, "approve", None), r"^shot 0, fr: it was made again"),
        (said(1, "reject", None), r"^shot 1, fr: it shows the original picture \(no_face\); there is no take to reject\.$"),
        (said(0, "destroy"), r"^entry 1 \(shot 0\): decision: input should be 'approve'"),
        (said(-1, "approve"), r"^entry 1 \(shot -1\): shot: input should be greater"),
        (said(0, "approve", note="x" * 4001), r"^entry 1 \(shot 0\): note: string should have at most 4000"),
        (said(0, "approve", surprise=1), r"^entry 1 \(shot 0\): surprise: extra inputs are not permitted"),
        ("approve everything", r"^entry 1: it: input should be a valid dictionary"),
    ],
)
def test_what_cannot_be_applied_is_refused_by_itself_and_the_others_are_applied(entry_of_file, trouble):
    found = checked(entry_of_file, said(2, "approve"))
    assert [d.shot for d in found.accepted] == [2]
    assert len(found.refused) == 1
    with pytest.raises(AssertionError, match=trouble):
        raise AssertionError(found.refused[0])


def test_a_duplicate_is_applied_once_and_a_contradiction_not_at_all():
    found = checked(said(0, "approve"), said(0, "approve", note="yes"), said(2, "approve"), said(2, "reject"))
    assert [(d.shot, d.note) for d in found.accepted] == [(0, "yes")]
    assert found.remarks == ("shot 0, fr: said 2 times, applied once.",)
    assert found.refused == ("shot 2, fr: the file contradicts itself (approve, reject). Decide once more.",)


def test_another_reviewers_word_on_the_same_picture_is_shown():
    found = checked(said(0, "approve"), history=(entry(decision(0, "reject")),))
    assert len(found.accepted) == 1
    assert found.remarks == ("shot 0, fr: Anna rejects the same picture (2026-01-01T10:00:00+00:00); the later word, approve, holds.",)


def test_whoever_redid_a_shot_meanwhile_is_named():
    found = checked(said(0, "approve", NEW), history=(entry(decision(0, "reject", NEW), reviewer="Anna\x1b[31m"),))
    assert "Anna [31m on 2026-01-01T10:00:00+00:00" in found.refused[0]


def test_a_decision_that_is_in_the_history_already_is_not_new():
    found = checked(said(0, "reject"), history=(entry(decision(0, "reject")),))
    assert (found.accepted, [d.shot for d in found.known]) == ((), [0])


def test_an_original_that_a_reviewer_chose_can_be_rejected():
    assert len(checked(said(1, "reject", None), kept=frozenset({(1, "fr")})).accepted) == 1


@pytest.mark.parametrize(
    ("data", "trouble"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{}", "not text in UTF-8"),
        (b"{'a': 1}", "is not JSON .line 1"),
        (b"[" * 200_000, "is not JSON"),
        (b"[]", "holds no review"),
        (b'{"decisions": 3}', "holds no review"),
        (b'{"decisions": []}', "episode_id: field required"),
        (b'{"format": 2, "episode_id": "ep", "decisions": []}', "format: input should be 1"),
        (b'{"episode_id": "../ep", "decisions": []}', "episode_id: string should match"),
        (b'{"episode_id": "ep", "reviewer": "' + b"x" * 300 + b'", "decisions": []}', "reviewer: string should have at most 200"),
    ],
)
def test_a_file_that_is_no_review_is_refused_in_words(tmp_path: Path, data: bytes, trouble: str):
    path = tmp_path / "decisions.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=trouble):
        read_decisions(path, "decisions.json")


def test_a_file_beyond_all_reason_is_not_read(tmp_path: Path):
    path = tmp_path / "decisions.json"
    with open(path, "wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match="is 16 MiB"):
        read_decisions(path, "decisions.json")


def test_a_review_of_another_episode_is_refused_whole():
    with pytest.raises(InputError, match="a review of other, not of ep"):
        checked(said(0, "approve"), episode_id="other")


def test_a_byte_order_mark_is_no_trouble(tmp_path: Path):
    path = tmp_path / "decisions.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"episode_id": "ep", "decisions": [said(0, "approve")]}).encode())
    assert len(read_decisions(path, "decisions.json")[0].decisions) == 1


# -- what follows for a dub


def override(*entries: HistoryEntry, inputs: InputDigests = INPUTS):
    return [o.model_dump(exclude_defaults=True) for o in overrides_of(entries, inputs)]


def test_each_kind_of_decision_becomes_what_a_dub_honours():
    assert override(entry(decision(0, "keep_original"))) == [{"shot": 0, "language": "fr", "keep_original": "yes"}]
    assert override(entry(decision(0, "reject", note="late"))) == [{"shot": 0, "language": "fr", "rejected_takes": (OLD,), "note": "late"}]
    assert override(entry(decision(0, "approve"))) == [{"shot": 0, "language": "fr", "approved_take": OLD}]
    assert override(entry(decision(0, "ask", note="why?"))) == []
    remake = Remake(shot=0, language="fr", take_sha256=OLD, model="big")
    assert override(entry(remakes=(remake,))) == [{"shot": 0, "language": "fr", "model": "big"}]
    assert override(entry(remakes=(remake.model_copy(update={"model": None}),))) == [{"shot": 0, "language": "fr", "rejected_takes": (OLD,)}]


def test_the_later_word_holds():
    assert override(entry(decision(0, "approve")), entry(decision(0, "reject"))) == [{"shot": 0, "language": "fr", "rejected_takes": (OLD,)}]
    assert override(entry(decision(0, "reject")), entry(decision(0, "approve"))) == [{"shot": 0, "language": "fr", "approved_take": OLD}]
    assert override(entry(decision(0, "keep_original")), entry(decision(0, "reject", None))) == []
    both = entry(decision(0, "reject")), entry(decision(0, "reject", NEW))
    assert override(*both) == [{"shot": 0, "language": "fr", "rejected_takes": (OLD, NEW)}]


def test_words_about_another_film_or_another_dub_do_not_count():
    one = entry(decision(0, "keep_original"), decision(0, "keep_original", language="de"))
    assert override(one, inputs=INPUTS.model_copy(update={"film": "0" * 64})) == []
    new_french = INPUTS.model_copy(update={"audio": INPUTS.audio | {"fr": "0" * 64}})
    assert override(one, inputs=new_french) == [{"shot": 0, "language": "de", "keep_original": "yes"}]


def test_the_last_word_on_each_shot_stands_with_its_reviewer():
    last = standing_of((entry(decision(0, "reject")), entry(decision(0, "approve", NEW), reviewer="Bert")), INPUTS)
    assert [(s.shot, s.decision, s.take_sha256, s.reviewer) for s in last] == [(0, "approve", NEW, "Bert")]
