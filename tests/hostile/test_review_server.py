"""The review server against those who mean no good and those who mean well at the same time: nobody gets out, nothing is overwritten unseen."""

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from flows.review.server import review_app
from infra.artifacts import ArtifactStore
from infra.errors import InputError
from infra.storage import open_storage
from tests.synthetic_report import Published, make_film, make_qa, publish_report, take_of

HOME = "http://127.0.0.1:8000"


@pytest.fixture
def published(tmp_path: Path) -> Published:
    store = ArtifactStore(tmp_path / "store")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret.txt").write_text("secret")
    return publish_report(store, tmp_path / "out", [make_qa(10, "fr"), make_qa(10, "de")], make_film(store, 750))


class Reviewer:
    """One browser tab."""

    def __init__(self, client: TestClient, token: str, name: str):
        self.client, self.base, self.name = client, f"{HOME}/{token}/api/fr", name

    def state(self) -> dict:
        return self.client.get(f"{self.base}/state?reviewer={self.name}&client={self.name}").json()

    def decide(self, shot: int, decision: str | None, note: str = "", seen: int = 0, take: str | None = "") -> dict:
        change = {"shot": shot, "take_sha256": take_of(shot) if take == "" else take, "decision": decision, "note": note, "seen": seen}
        answer = self.client.post(f"{self.base}/decisions", json={"reviewer": self.name, "digest": "", "changes": [change]})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"][0]

    def upload(self, content: object) -> tuple[int, dict]:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        answer = self.client.post(f"{self.base}/upload", content=data)
        return answer.status_code, answer.json()


@pytest.fixture
def app(published: Published):
    return review_app(open_storage(published.folder))


@pytest.fixture
def ann(app) -> Reviewer:
    return Reviewer(TestClient(app[0], base_url=HOME), app[1], "Ann")


@pytest.fixture
def ben(app) -> Reviewer:
    return Reviewer(TestClient(app[0], base_url=HOME), app[1], "Ben")


# -- two at once


def test_the_second_of_two_reviewers_is_told_and_nothing_is_lost(ann, ben):
    assert ann.decide(3, "approve")["status"] == "applied"
    second = ben.decide(3, "reject", "late")
    assert second["status"] == "conflict"
    assert (second["entry"]["decision"], second["entry"]["reviewer"]) == ("approve", "Ann")
    assert [entry["decision"] for entry in ann.state()["entries"]] == ["approve"]
    third = ben.decide(3, "reject", "late", seen=second["version"])
    assert third["status"] == "applied"
    assert [(entry["decision"], entry["note"], entry["reviewer"]) for entry in ann.state()["entries"]] == [("reject", "late", "Ben")]


def test_saying_the_same_is_no_conflict_and_other_shots_are_not_touched(ann, ben):
    ann.decide(3, "approve")
    assert ben.decide(3, "approve")["status"] == "applied"
    assert ben.decide(4, "ask", "who?")["status"] == "applied"
    ben.state()
    assert [(entry["shot"], entry["reviewer"]) for entry in ann.state()["entries"]] == [(3, "Ann"), (4, "Ben")]
    assert ann.state()["others"] == ["Ben"]


def test_taking_back_what_another_has_changed_meanwhile_is_a_conflict(ann, ben):
    first = ann.decide(3, "approve")
    ben.decide(3, "reject", "late", seen=first["version"])
    assert ann.decide(3, None, seen=first["version"])["status"] == "conflict"
    assert len(ann.state()["entries"]) == 1


def test_a_review_goes_on_after_the_server_was_stopped(published, ann):
    ann.decide(3, "reject", "late")
    app, token = review_app(open_storage(published.folder))
    entries = Reviewer(TestClient(app, base_url=HOME), token, "Ann").state()["entries"]
    assert [(entry["shot"], entry["note"]) for entry in entries] == [(3, "late")]


def test_two_servers_of_one_episode_see_each_other_s_decisions(published, ann):
    app, token = review_app(open_storage(published.folder))
    ben = Reviewer(TestClient(app, base_url=HOME), token, "Ben")
    ann.decide(3, "approve")
    ben.decide(4, "approve")
    ann.decide(0, "approve")
    saved = json.loads((published.folder / "review.json").read_text())
    assert [(entry["shot"], entry["reviewer"]) for entry in saved["entries"]] == [(0, "Ann"), (3, "Ann"), (4, "Ben")]


def test_handing_in_writes_what_stands_for_the_takes_in_the_film_as_decisions_json(published, ann, ben):
    from tasks.types import Decisions

    assert ann.client.post(f"{ann.base}/hand-in").status_code == 400
    ann.decide(3, "reject", "late")
    ben.decide(0, "approve")
    assert not (published.folder / "decisions.json").exists()
    assert ann.client.post(f"{ann.base}/hand-in").json()["num_decisions"] == 2
    file = Decisions.model_validate_json((published.folder / "decisions.json").read_text())
    assert [(said.shot, said.decision, said.reviewer) for said in file.decisions] == [(0, "approve", "Ben"), (3, "reject", "Ann")]
    assert file.reviewer == "Ben, Ann"


def test_new_renders_come_up_and_words_about_the_old_take_no_longer_stand(published, ann, tmp_path):
    before = ann.state()
    ann.decide(3, "reject", "late")
    store = ArtifactStore(tmp_path / "store")
    qa = make_qa(10, "fr")
    again = [report.model_copy(update={"take_sha256": take_of(3, again=1)}) if report.shot.index == 3 else report for report in qa.reports]
    publish_report(store, published.out, [qa.model_copy(update={"reports": tuple(again)})], make_film(store, 750))
    review = ann.client.app.state.review
    review._read_at -= 10
    after = ann.state()
    assert after["digest"] != before["digest"]
    assert after["entries"] == []
    assert ann.decide(3, "approve")["status"] == "refused"
    assert ann.decide(3, "approve", take=take_of(3, again=1))["status"] == "applied"


# -- uploads


def a_file(*decisions: dict, **fields) -> dict:
    return {"format": 1, "episode_id": "episode-1", "reviewer": "Cleo", "decisions": list(decisions)} | fields


def said(shot: int, decision: str = "approve", **fields) -> dict:
    return {"shot": shot, "language": "fr", "take_sha256": take_of(shot), "decision": decision, "note": ""} | fields


def test_of_an_uploaded_file_what_is_good_is_taken_and_the_rest_refused_shot_by_shot(ann):
    ann.decide(4, "reject", "late")
    good, stale, clashing = said(0), said(3, take_sha256="9" * 64), said(4)
    senseless = (said(99), said(1, language="xx"), said(5), said(5, "reject"), said(6, "launch"), "nonsense")
    status, answer = ann.upload(a_file(good, stale, clashing, *senseless))
    assert status == 200
    assert answer["num_applied"] == 1
    told = "\n".join(answer["refused"])
    for words in ("shot 3, fr: it was made again", "shot 99, fr: there is no such shot", "not dubbed into this language", "shot 4: Ann has decided"):
        assert words in told
    for words in ("shot 5, fr: the file contradicts itself", "entry 8 (shot 6)", "entry 9"):
        assert words in told
    assert [(entry["shot"], entry["reviewer"]) for entry in ann.state()["entries"]] == [(0, "Cleo"), (4, "Ann")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (a_file(said(0), episode_id="another-film"), "is a review of another-film"),
        (b"\x00\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ({"format": 1}, "holds no review"),
        (a_file(said(0), format=2), "cannot be used"),
        (b"x" * (17 << 20), "more than 16 MiB"),
    ],
)
def test_a_foreign_or_broken_file_is_refused_in_clear_words_and_changes_nothing(ann, content, words):
    status, answer = ann.upload(content)
    assert status == 400
    assert words in answer["error"]
    assert ann.state()["entries"] == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"reviewer": "x", "digest": "", "changes": [{"shot": 3}]}', b'{"reviewer": "x", "digest": "", "changes": [], "more": 1}', b"null"],
)
def test_a_change_that_no_page_makes_is_refused(ann, body):
    assert ann.client.post(f"{ann.base}/decisions", content=body).status_code == 400


def test_shots_and_languages_that_do_not_exist_are_refused(ann):
    assert ann.decide(99, "approve")["status"] == "refused"
    assert ann.client.get(ann.base.replace("/fr", "/xx") + "/state").status_code == 400


# -- getting in and out


def test_without_the_secret_there_is_nothing(app):
    client = TestClient(app[0], base_url=HOME)
    for path in ("/", "/fr/report.html", "/api/fr/state", f"/{app[1][:-1]}/fr/report.html", f"/x{app[1]}/fr/report.html"):
        assert client.get(path).status_code == 404
    assert client.get(f"/{app[1]}/fr/report.html").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "fr/../../secret.txt", "fr%2f..%2f..%2fsecret.txt", "//etc/passwd", "%2fetc%2fpasswd",
     "fr\\..\\..\\secret.txt", "fr/%00", "link/secret.txt", ".hidden", "fr"],
)  # fmt: skip
def test_no_path_leads_out_of_the_episode(app, published, path):
    (published.folder / "link").symlink_to(published.out, target_is_directory=True)
    (published.folder / ".hidden").write_text("secret")
    answer = TestClient(app[0], base_url=HOME).get(f"{HOME}/{app[1]}/{path}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_another_name_for_this_machine_or_another_site_gets_nothing(app):
    client = TestClient(app[0], base_url=HOME)
    page = f"/{app[1]}/fr/report.html"
    assert client.get(page, headers={"host": "evil.example"}).status_code == 403
    assert client.post(f"/{app[1]}/api/fr/hand-in", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get(page, headers={"host": "localhost:8000"}).status_code == 200


def test_players_get_the_ranges_they_ask_for_from_a_folder_and_from_a_bucket(app, published, s3_bucket):
    data = bytes(range(256)) * 8
    clip = published.folder / "fr" / "previews" / "shot-00000.before.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(data)
    bucket = open_storage(s3_bucket)
    for path in published.folder.rglob("*"):
        if path.is_file():
            bucket.put(path, path.relative_to(published.folder).as_posix())
    for served, token in (app, review_app(bucket)):
        client = TestClient(served, base_url=HOME)
        address = f"/{token}/fr/previews/shot-00000.before.mp4"
        whole, part = client.get(address), client.get(address, headers={"range": "bytes=100-299"})
        assert (whole.status_code, whole.content, whole.headers["accept-ranges"]) == (200, data, "bytes")
        assert (part.status_code, part.content) == (206, data[100:300])
        assert part.headers["content-range"] == f"bytes 100-299/{len(data)}"
        assert client.get(f"/{token}/fr/report.html").status_code == 200


def test_an_episode_without_a_report_is_refused_before_anything_is_served(tmp_path):
    with pytest.raises(InputError, match="Dub the episode first"):
        review_app(open_storage(tmp_path))
