"""New clips make a better model, by themselves: through the real flow on a real Prefect server, with the recipe `smoke` and clips made here."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from infra.errors import InputError
from infra.storage import Storage, open_storage
from tests.flows.command_process import children_of, wait_for_end
from tests.small_film import make_random_weights
from tests.speaking_clips import write_drop
from tests.training.people import tiny_expert
from training.registry import Registry

REPOSITORY = Path(__file__).parents[2]
LIMIT_S = 1500  # generous: on an idle core the worker needs half a minute
WORDS = {"licence": "CC0", "consent": "made up"}
LEARNS = {"num_steps": "120", "num_gentle_steps": "2000", "num_warmup_steps": "10", "save_every": "60", "evaluate_every": "500", "ema_decay": "0.95"}
LEARNS_NOTHING = {"num_steps": "2", "learning_rate": "1e-12", "save_every": "2"}
BREAKS = {"num_steps": "6", "learning_rate": "1e30", "num_warmup_steps": "1", "ema_decay": "0.5"}


@dataclass(frozen=True)
class Studio:
    """A registry with a golden set, an untrained expert in production, and clips that have not come in yet."""

    place: Path
    drop: Path

    @property
    def storage(self) -> Storage:
        return open_storage(self.place)

    @property
    def registry(self) -> Registry:
        return Registry(self.storage)

    def production(self) -> dict:
        return json.loads((self.place / "production.json").read_text())


@pytest.fixture(scope="module")
def studio(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    from infra.settings import get_settings
    from training.golden import freeze_golden

    folder = tmp_path_factory.mktemp("studio")
    made = Studio(folder / "registry", write_drop(folder / "drop", {"ann": 0, "bob": 1}, 2, num_frames=52))
    freeze_golden(made.storage, write_drop(folder / "golden", {"gina": 10, "gus": 11}, 3, num_frames=40), "golden", **WORDS)
    first = made.registry.register(tiny_expert(folder / "untrained.safetensors"))
    made.registry.promote({"sync_expert": first}, None, reason="the first one", by="tests")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUBFLOW_REGISTRY", str(made.place))
        patch.setenv("DUBFLOW_WORK_FOLDER", str(folder / "work"))
        patch.setenv("DUBFLOW_MODELS_FOLDER", str(folder / "models"))
        patch.setenv("DUBFLOW_TORCH_THREADS", "1")
        get_settings.cache_clear()
        yield made
    torch.set_num_threads(threads)
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def environment_of_worker(studio: Studio, prefect_api: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}
    return inherited | {"PREFECT_API_URL": prefect_api, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture(scope="module")
def deployment(environment_of_worker: dict[str, str]):
    """The deployment `retrain` as infra/prefect.yaml declares it, but with the recipe `smoke`."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect.yaml"]
    with get_client(sync_client=True) as client:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name="dubflow", type="process", base_job_template=template))
        done = subprocess.run(command, cwd=REPOSITORY, env=environment_of_worker, capture_output=True, text=True, timeout=LIMIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
        declared = client.read_deployment_by_name("retrain/retrain")
        parameters = {"recipe": "smoke", "changes": LEARNS, "sync_check": "none"}
        client.update_deployment(declared.id, DeploymentUpdate(parameters=parameters))
    return declared


@pytest.fixture(scope="module")
def worker(deployment, environment_of_worker: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real worker in a process of its own; its log."""
    log = tmp_path_factory.mktemp("worker") / "log"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "dubflow", "--name", "tests"]
    fast = {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=log.parent, env=environment_of_worker | fast, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    yield log
    family = {process.pid, *children_of(process.pid)}
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:  # a worker that is being ended while its server does not answer waits for it
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
    wait_for_end(family)


def runs_of(deployment) -> list:
    """All flow runs that the trigger has made; not those that the schedule has planned."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    with get_client(sync_client=True) as client:
        wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
        return [run for run in client.read_flow_runs(deployment_filter=wanted) if not run.auto_scheduled]


def wait_for_a_finished_run(deployment, log: Path):
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        finished = [run for run in runs_of(deployment) if run.state is not None and run.state.is_final()]
        if finished:
            return finished[0]
        time.sleep(0.5)
    raise AssertionError(f"no run has finished: {runs_of(deployment)}\n{log.read_text()[-4000:]}")


def test_the_deployment_waits_for_data_and_for_sunday_night(deployment) -> None:
    from prefect.client.orchestration import get_client

    assert [str(plan.schedule.cron) for plan in deployment.schedules] == ["0 3 * * 0"]
    with get_client(sync_client=True) as client:
        answer = client.request("POST", "/automations/filter", json={})  # type: ignore[arg-type]
    (automation,) = answer.json()
    assert automation["enabled"]
    assert automation["trigger"]["expect"] == ["dubflow.data.added"]
    assert automation["actions"][0]["deployment_id"] == str(deployment.id)


def test_one_data_drop_starts_one_retraining_and_a_better_model_is_promoted(studio: Studio, deployment, worker: Path) -> None:
    from flows.commands.data_command import add_data

    untrained = studio.production()["models"]["sync_expert"]["sha256"]
    added = add_data(str(studio.drop), **WORDS, registry=None)
    again = add_data(str(studio.drop), **WORDS, registry=None)
    assert (added.event, again.event, again.drop, again.is_new) == ("sent", "sent before", added.drop, False)

    run = wait_for_a_finished_run(deployment, worker)
    assert run.state.is_completed(), f"{run.state}\n{worker.read_text()[-4000:]}"
    assert run.parameters["drop"] == added.drop
    assert len(runs_of(deployment)) == 1

    production = studio.production()
    assert (production["generation"], production["action"]) == (2, "promote"), worker.read_text()[-4000:]
    model = production["models"]["sync_expert"]["sha256"]
    card = json.loads((studio.place / "models" / f"{model}.json").read_text())
    assert card["parent"] == untrained
    assert card["run"]["drops"] == [added.drop]
    assert card["evaluation"]["two_way_accuracy"]["low"] > 0.5
    decision = json.loads((studio.place / production["record"]).read_text())
    assert decision["outcome"] == "promoted"
    assert decision["people"] == {"ann": 2, "bob": 2}
    assert "two_way_accuracy" in production["reason"]


def test_the_same_event_told_twice_starts_nothing_twice(studio: Studio, deployment, worker: Path) -> None:
    from flows.learning.data_events import announce
    from training.drops import list_drops

    num_before = len(runs_of(deployment))
    (drop,) = list_drops(studio.storage)
    (studio.place / "announced" / f"{drop.id}.json").unlink()  # as after a crash between telling and noting
    assert announce(studio.storage, drop) == "sent"
    time.sleep(3)
    assert len(runs_of(deployment)) == num_before


def retrained(studio: Studio, changes: dict[str, str], **parameters):
    """(the result, whether production.json is the same to the byte)."""
    from flows.retrain import retrain

    before = (studio.place / "production.json").read_bytes()
    result = retrain(recipe="smoke", changes=changes, sync_check="none", **parameters)
    return result, (studio.place / "production.json").read_bytes() == before


def test_a_challenger_that_is_not_better_is_refused_in_numbers_and_production_stays(studio: Studio, worker: Path) -> None:
    result, is_untouched = retrained(studio, LEARNS_NOTHING)
    assert is_untouched
    assert result.decision.outcome == "refused"
    assert "not better beyond the interval: two_way_accuracy" in result.decision.reasons[0]
    assert result.decision.verdict.comparisons[0].champion == pytest.approx(result.decision.verdict.comparisons[0].challenger, abs=0.01)
    again, _ = retrained(studio, LEARNS_NOTHING)
    assert (again.is_new, again.decision) == (False, result.decision)


def test_a_training_that_breaks_is_refused_with_the_step(studio: Studio, worker: Path) -> None:
    result, is_untouched = retrained(studio, BREAKS)
    assert is_untouched
    assert result.decision.outcome == "refused"
    assert result.decision.challenger_sha256 is None
    assert "the training broke" in result.decision.reasons[0]
    assert "step" in result.decision.reasons[0]


def test_one_person_alone_is_not_trained_on(studio: Studio, tmp_path: Path) -> None:
    from flows.commands.data_command import add_data
    from flows.retrain import retrain
    from training.golden import freeze_golden, read_golden

    other = open_storage(tmp_path / "registry")
    for clip in read_golden(studio.storage, "golden").clips:
        studio.storage.get(clip.key, tmp_path / "golden" / clip.person / clip.name)
    freeze_golden(other, tmp_path / "golden", "golden", **WORDS)
    for clip in (studio.drop / "bob").iterdir():
        target = tmp_path / "drop" / "ann" / f"second {clip.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(clip.read_bytes())
    for clip in (studio.drop / "ann").iterdir():
        (tmp_path / "drop" / "ann" / clip.name).write_bytes(clip.read_bytes())
    other_registry = Registry(other)
    other_registry.promote({"sync_expert": other_registry.register(tiny_expert(tmp_path / "e.safetensors"))}, None, reason="first", by="tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.learning.data_events.announce", lambda *_: "no server")  # it is not this studio's drop
        add_data(str(tmp_path / "drop"), **WORDS, registry=str(tmp_path / "registry"))
    before = (tmp_path / "registry" / "production.json").read_bytes()
    with pytest.raises(InputError, match=r"one person only \(ann, 4 clips\)"):
        retrain(recipe="smoke", registry=str(tmp_path / "registry"), sync_check="none")
    assert (tmp_path / "registry" / "production.json").read_bytes() == before


def test_a_watched_folder_gives_each_drop_once_and_a_poisoned_one_a_reason(studio: Studio, tmp_path: Path) -> None:
    from flows.learning.watch_data import watch

    inbox, registry, found = tmp_path / "inbox", open_storage(tmp_path / "registry"), []
    (inbox / "good").mkdir(parents=True)
    for clip in studio.drop.glob("*/*"):
        target = inbox / "good" / clip.parent.name / clip.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(clip.read_bytes())
    (inbox / "bad" / "ann").mkdir(parents=True)
    (inbox / "bad" / "ann" / "page.mp4").write_bytes(b"<html>")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.learning.watch_data.announce", lambda *_: "no server")
        for _ in range(2):  # a second watcher knows what the first has done
            watch(str(inbox), registry, tmp_path / "work", **WORDS, every_s=0.1, num_looks=3, tell=found.append)
    assert [(Path(outcome.place).name, outcome.drop is not None) for outcome in found] == [("bad", False), ("good", True)]
    assert "cannot be used" in found[0].reason


def test_after_a_promotion_the_shots_of_a_named_episode_are_made_again(small, studio: Studio, tmp_path: Path) -> None:
    from flows.dub_episode import dub_episode
    from flows.review.redo_after import redo_episodes
    from tests.flows.test_dub_episode import request_for
    from training.challenge import Decision

    registry, models = Registry(studio.storage), []
    for seed in (3, 4):
        generator, _ = make_random_weights(tmp_path / str(seed), f"lips-{seed}", seed)
        models.append(registry.register(generator))
    first = registry.promote({"generator": models[0]}, registry.history()[-1], reason="first lips", by="tests")
    dub_episode(request_for(small, tmp_path / "out", model="production", work=str(tmp_path / "work")))
    manifest = json.loads((tmp_path / "out" / "small" / "manifest.json").read_text())
    assert manifest["models"]["name"] == f"production@{first.generation}"
    second = registry.promote({"generator": models[1]}, first, reason="second lips", by="tests")
    decision = Decision(
        key="0", outcome="promoted", role="generator", recipe="smoke_generator", recipe_sha256="0", reasons=(), champion=models[0], judge_sha256=None,
        challenger_sha256=models[1].sha256, golden="golden", golden_sha256="0", drops=(), people={}, generation=second.generation,
        decided=datetime.now(UTC),
    )  # fmt: skip
    (redone,) = redo_episodes([str(tmp_path / "out" / "small")], decision)
    assert redone.shots == (0, 2), redone
    assert redone.outcome.startswith("redone"), redone
    patches = json.loads((tmp_path / "out" / "small" / "manifest.json").read_text())["patches"]
    assert {patch["model_sha256"] for patch in patches} == {models[1].sha256}
    assert redo_episodes([str(tmp_path / "out" / "small")], decision)[0].shots == ()


def test_a_rollback_is_one_command(studio: Studio) -> None:
    from typer.testing import CliRunner

    from flows.cli import app

    before = studio.production()
    done = CliRunner().invoke(app, ["models", "rollback", "--note", "worse on set", "--json"])
    assert done.exit_code == 0, done.output
    after = studio.production()
    assert after["generation"] == before["generation"] + 1
    assert after["models"] != before["models"]
    shown = CliRunner().invoke(app, ["models", "production"])
    assert "rolled back: worse on set" in shown.stdout
