"""People are told how runs end: real Prefect blocks, a real receiver on this machine; what cannot be told harms nothing and gives no secret away."""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.errors import InputError
from tests.flows.test_dub_episode import request_for

pytestmark = pytest.mark.usefixtures("settings_of_test")
SECRET = "T0K3N-nobody-may-read"


@dataclass
class Receiver:
    """A web server that keeps what it is sent; to /broken it says 500."""

    url: str = ""
    messages: list[dict] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.paths.append(self.path)
            kept.messages.append(json.loads(body))
            self.send_response(500 if "broken" in self.path else 200)
            self.end_headers()

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kept
        server.shutdown()


@pytest.fixture
def notify(monkeypatch: pytest.MonkeyPatch, receiver: Receiver):
    """Save a block and name it in the setting."""
    from infra.settings import get_settings

    def use(kind: str, path: str = "/hook") -> None:
        from prefect.blocks.notifications import CustomWebhookNotificationBlock
        from prefect.blocks.webhook import Webhook

        if kind == "custom-webhook":
            secret_path = {"url": receiver.url + path + "?token={{token}}", "secrets": {"token": SECRET}}
            block = CustomWebhookNotificationBlock(name="studio", json_data={"subject": "{{subject}}", "body": "{{body}}"}, **secret_path)
        else:
            block = Webhook(url=f"{receiver.url}{path}?token={SECRET}")  # type: ignore[arg-type]
        block.save("studio", overwrite=True)
        name_it(f"{kind}/studio")

    def name_it(text: str) -> None:
        monkeypatch.setenv("DUBFLOW_NOTIFY", text)
        get_settings.cache_clear()

    use.name_it = name_it  # type: ignore[attr-defined]
    yield use
    get_settings.cache_clear()


@pytest.mark.parametrize("kind", ["custom-webhook", "webhook"])
def test_a_finished_run_says_what_it_made_and_how_many_shots_wait_for_review(kind, small, notify, receiver, tmp_path):
    from prefect.client.orchestration import get_client

    from flows.dub_episode import dub_episode

    notify(kind)
    result = dub_episode(request_for(small, tmp_path / "out"))
    (message,) = receiver.messages
    assert message["subject"].startswith("dubflow: small is dubbed into fr")
    num_review = result.verdicts["review"]
    assert num_review > 0  # random weights: there is always something to look at
    assert f"; {num_review} shot" in message["subject"]
    assert "for review" in message["subject"]
    assert result.report in message["body"]
    assert result.outputs["fr"] in message["body"]
    assert receiver.paths == [f"/hook?token={SECRET}"]
    with get_client(sync_client=True) as client:
        (run,) = [run for run in client.read_flow_runs() if run.parameters.get("request", {}).get("out") == str(tmp_path / "out")]
    assert SECRET not in run.model_dump_json()
    assert not any(SECRET in path.read_text(errors="replace") for path in (tmp_path / "out").rglob("*.json"))


def test_a_failed_run_says_why(small, notify, receiver, tmp_path):
    from flows.dub_episode import dub_episode

    notify("custom-webhook")
    (tmp_path / "film.mp4").write_bytes(b"")
    with pytest.raises(InputError):
        dub_episode(request_for(small, tmp_path / "out").model_copy(update={"film": str(tmp_path / "film.mp4")}))
    (message,) = receiver.messages
    assert message["subject"] == "dubflow: small failed"
    assert "film.mp4" in message["body"]


def little_flow():
    """A flow that does next to nothing, with the hooks that all of ours have."""
    from prefect import flow

    from flows.dub_episode import dub_episode

    @flow(name="little", flow_run_name="a little run")
    def little() -> str:
        return "done"

    little.on_completion_hooks = dub_episode.on_completion_hooks
    return little


def test_a_run_within_another_leaves_it_to_that_one_to_tell(notify, receiver):
    from prefect import flow

    notify("custom-webhook")
    little = little_flow()
    assert flow(name="season")(lambda: little())() == "done"
    assert receiver.messages == []
    little()
    assert [message["subject"] for message in receiver.messages] == ["dubflow: a little run is done"]


@pytest.mark.parametrize("trouble", ["it says 500", "nobody is there", "no such block", "no such kind", "not a name"])
def test_a_message_that_cannot_be_told_harms_no_run_and_no_secret_is_logged(trouble, notify, receiver, caplog):
    with caplog.at_level(logging.DEBUG):
        notify("custom-webhook", "/broken")
        if trouble == "nobody is there":
            receiver.url = "http://127.0.0.1:9"
            notify("webhook")
        wrong = {"no such block": "custom-webhook/nobody", "no such kind": "pigeon/studio", "not a name": "studio"}
        if trouble in wrong:
            notify.name_it(wrong[trouble])
        assert little_flow()() == "done"
    said = [record for record in caplog.records if record.name == "flows.studio.notify"]
    assert len(said) == 1
    assert not any(SECRET in record.getMessage() for record in caplog.records)
