"""What reviewers decide is made again, and nothing else; who decided what is never lost."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from infra.storage import open_storage
from tasks.history import BrokenHistoryError, entry_key, read_history
from tests.flows.test_dub_episode import decoded, request_for
from tests.small_film import NUM_FRAMES

pytestmark = pytest.mark.usefixtures("settings_of_test")
SPANS = {0: (0, 20), 1: (20, 32), 2: (32, 52)}


@pytest.fixture
def published(small, tmp_path) -> Path:
    """OUT of a dubbed small film."""
    from flows.dub_episode import dub_episode

    dub_episode(request_for(small, tmp_path / "out", codec="h264"))
    return tmp_path / "out"


def manifest_of(out: Path) -> dict:
    return json.loads((out / "small" / "manifest.json").read_text())


def take_of(out: Path, shot: int) -> str | None:
    return next(take["take_sha256"] for take in manifest_of(out)["takes"] if take["shot"] == shot)


def decisions_file(path: Path, *decisions: dict, **more) -> str:
    path.write_text(json.dumps({"format": 1, "episode_id": "small", "reviewer": "Anna", "decisions": decisions} | more))
    return str(path)


def said(out: Path, shot: int, decision: str, **more) -> dict:
    return {"shot": shot, "language": "fr", "take_sha256": take_of(out, shot), "decision": decision, "note": ""} | more


def redo(out: Path, **fields):
    from flows.redo_shots import redo_shots
    from tasks.types import RedoRequest

    return redo_shots(RedoRequest(out=str(out), episode_id="small", **fields))


def history(out: Path):
    return read_history(open_storage(out), "small")


def frames_of(out: Path) -> list[np.ndarray]:
    return decoded(out / "small/fr/small.fr.mp4")


def test_a_rejected_shot_is_made_again_and_no_other_frame_of_the_film_changes(published, tmp_path):
    before, old = frames_of(published), take_of(published, 2)
    result = redo(
        published, decisions=decisions_file(tmp_path / "d.json", said(published, 2, "reject", note="lips late"), said(published, 0, "approve"))
    )
    after = frames_of(published)
    assert result.num_rendered_frames == SPANS[2][1] - SPANS[2][0]
    assert all(np.array_equal(before[n], after[n]) for n in range(SPANS[2][0]))
    assert take_of(published, 2) != old
    assert result.num_applied == 2
    assert result.refused == ()


def test_the_history_says_who_decided_what_when_and_on_which_digests(published, tmp_path):
    first = take_of(published, 2)
    redo(published, decisions=decisions_file(tmp_path / "d.json", said(published, 2, "keep_original", note="<b>no</b>")))
    decided, made = history(published)
    assert (decided.kind, decided.reviewer, decided.decisions[0].take_sha256, decided.decisions[0].note) == ("decided", "Anna", first, "<b>no</b>")
    assert decided.inputs.film == manifest_of(published)["inputs"]["film"]["sha256"]
    assert made.kind == "published"
    assert made.outputs["fr/small.fr.mp4"] == manifest_of(published)["outputs"]["fr/small.fr.mp4"]["sha256"]
    assert manifest_of(published)["history"] == {"num_entries": 1, "head": decided.sha256}
    lines = (published / "small/history.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["decided", "published"]


def test_an_original_that_is_kept_on_request_is_the_source_and_can_be_dubbed_again(small, published, tmp_path):
    before = frames_of(published)
    redo(published, decisions=decisions_file(tmp_path / "d.json", said(published, 2, "keep_original")))
    assert take_of(published, 2) is None
    kept = frames_of(published)
    assert not np.array_equal(before[40], kept[40])
    redo(published, shots=(2,))
    again = frames_of(published)
    assert all(np.array_equal(a, b) for a, b in zip(before, again, strict=True))


def test_the_same_decisions_given_again_change_nothing_and_are_not_written_twice(published, tmp_path):
    file = decisions_file(tmp_path / "d.json", said(published, 2, "keep_original"), said(published, 0, "approve"))
    redo(published, decisions=file)
    num_entries, film = len(history(published)), (published / "small/fr/small.fr.mp4").read_bytes()
    result = redo(published, decisions=file)
    assert result.num_rendered_frames == 0
    assert len(history(published)) == num_entries
    assert (published / "small/fr/small.fr.mp4").read_bytes() == film
    assert any("in the history already" in text for text in result.remarks)


def test_a_decision_on_an_older_picture_is_refused_and_the_others_are_applied(published, tmp_path):
    stale = said(published, 2, "approve")
    redo(published, decisions=decisions_file(tmp_path / "a.json", said(published, 2, "reject")))
    result = redo(published, decisions=decisions_file(tmp_path / "b.json", stale, said(published, 0, "approve"), reviewer="Bert"))
    assert [text.split(":")[0] for text in result.refused] == ["shot 2, fr"]
    assert "made again since it was looked at (Anna on" in result.refused[0]
    assert result.num_applied == 1
    assert [entry.reviewer for entry in history(published) if entry.kind == "decided"] == ["Anna", "Bert"]


def test_where_nothing_can_be_applied_nothing_is_written(published, tmp_path):
    manifest = (published / "small/manifest.json").read_bytes()
    for file, trouble in (
        (decisions_file(tmp_path / "a.json", said(published, 0, "approve") | {"shot": 9}), "no such shot; the film has shots 0 to 2"),
        (decisions_file(tmp_path / "b.json", said(published, 0, "approve"), episode_id="other"), "a review of other, not of small"),
        (decisions_file(tmp_path / "c.json", said(published, 0, "approve"), said(published, 0, "reject")), "contradicts itself"),
        (decisions_file(tmp_path / "d.json", said(published, 1, "reject")), "no take to reject"),
        (decisions_file(tmp_path / "e.json"), "decides nothing"),
    ):
        with pytest.raises(InputError, match=trouble):
            redo(published, decisions=file)
    with pytest.raises(InputError, match="--shots 7: there is no such shot"):
        redo(published, shots=(0, 7))
    with pytest.raises(InputError, match="Nothing is asked for"):
        redo(published)
    with pytest.raises(InputError, match="There is no model named 'nobody'"):
        redo(published, shots=(0,), model="nobody")
    assert not history(published)
    assert (published / "small/manifest.json").read_bytes() == manifest


def test_a_changed_film_is_refused(small, tmp_path):
    import shutil

    from flows.dub_episode import dub_episode

    film = tmp_path / "film.mp4"
    shutil.copy(small.film, film)
    dub_episode(request_for(small, tmp_path / "out", film=str(film)))
    film.write_bytes(film.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"made from other inputs.*\n- .*film.mp4 is another file now"):
        redo(tmp_path / "out", shots=(0,))
    assert not history(tmp_path / "out")


def test_a_changed_history_stops_a_redo_and_a_dub(small, published, tmp_path):
    from flows.dub_episode import dub_episode

    redo(published, decisions=decisions_file(tmp_path / "d.json", said(published, 2, "keep_original")))
    entry = published / entry_key("small", 1)
    entry.write_text(entry.read_text().replace("keep_original", "approve"))
    with pytest.raises(BrokenHistoryError, match=r"000001\.json: it was changed"):
        redo(published, shots=(0,))
    with pytest.raises(BrokenHistoryError, match=r"000001\.json: it was changed"):
        dub_episode(request_for(small, published))


def test_dubbing_an_episode_anew_honours_what_was_decided(small, published, tmp_path):
    from flows.dub_episode import dub_episode

    redo(published, decisions=decisions_file(tmp_path / "d.json", said(published, 2, "keep_original")))
    dub_episode(request_for(small, published))
    assert take_of(published, 2) is None


def test_two_reviews_at_once_are_both_in_the_film_and_in_the_history(published, tmp_path):
    reviews = [
        decisions_file(tmp_path / "a.json", said(published, 0, "keep_original"), reviewer="Anna"),
        decisions_file(tmp_path / "b.json", said(published, 2, "keep_original"), reviewer="Bert"),
    ]
    troubles = []

    def apply(file: str) -> None:
        try:
            redo(published, decisions=file)
        except Exception as error:
            troubles.append(error)

    threads = [threading.Thread(target=apply, args=(file,)) for file in reviews]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert {entry.reviewer for entry in history(published) if entry.kind == "decided"} == {"Anna", "Bert"}
    assert [take_of(published, shot) for shot in (0, 1, 2)] == [None, None, None]
    assert len(frames_of(published)) == NUM_FRAMES
    assert manifest_of(published)["lease"]["token"] == 3


def test_an_episode_on_s3_is_made_again_there(small, s3_bucket, tmp_path):
    from flows.dub_episode import dub_episode

    out = f"{s3_bucket}/out"
    dub_episode(request_for(small, out))
    store = open_storage(out)
    takes = json.loads(store.read_bytes("small/manifest.json"))["takes"]
    decision = {"shot": 0, "language": "fr", "take_sha256": takes[0]["take_sha256"], "decision": "keep_original"}
    file = tmp_path / "d.json"
    decisions_file(file, decision)
    store.put(file, "small/decisions.json")
    result = redo(out)  # it is found beside the report
    assert result.num_applied == 1
    assert json.loads(store.read_bytes("small/manifest.json"))["takes"][0]["take_sha256"] is None
    assert [entry.kind for entry in read_history(store, "small")] == ["decided", "published"]
