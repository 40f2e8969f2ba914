"""`dub deploy` sets a studio's server up, twice as well as once; seasons get their clocks; a server that asks for a password gets it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.errors import InputError
from tests.prefect_server import dub, prefect_server

PASSWORD = "admin:pass-of-the-tests"
DEPLOYMENTS = {
    "dub-episode/dub-episode": "default",
    "dub-season/dub-season": "seasons",
    "redo-shots/redo-shots": "urgent",
    "retrain/retrain": "background",
}


@pytest.fixture(scope="module")
def studio(prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real Prefect server that asks for a password; this process has it."""
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

    from flows.run.local_server import talking_to

    with ExitStack() as stack:
        server = prefect_server(tmp_path_factory.mktemp("studio"), prefect_database, PREFECT_SERVER_API_AUTH_STRING=PASSWORD)
        environment = stack.enter_context(server)
        stack.enter_context(temporary_settings({PREFECT_API_AUTH_STRING: PASSWORD}))
        stack.enter_context(talking_to(environment["PREFECT_API_URL"]))
        yield environment


@pytest.fixture(scope="module")
def deployed(studio: dict[str, str]) -> dict:
    """What the first `dub deploy` said."""
    done = dub(studio | {"PREFECT_API_AUTH_STRING": PASSWORD}, "deploy", "--gpus", "3", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def client():
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def test_a_server_with_a_password_is_not_entered_without(studio):
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

    from flows.deployments import deploy
    from flows.studio.automations import Patience

    with temporary_settings({PREFECT_API_AUTH_STRING: "admin:wrong"}), pytest.raises(InputError, match=r"\(401\).*PREFECT_API_AUTH_STRING") as told:
        deploy(None, Patience())
    assert "admin:wrong" not in str(told.value)


def test_one_command_makes_pool_queues_slots_deployments_and_automations(deployed):
    assert {step["done"] for step in deployed["steps"]} <= {"made", "kept"}
    with client() as server:
        assert server.read_work_pool("dubflow").type == "process"
        queues = {queue.name: queue.priority for queue in server.read_work_queues(work_pool_name="dubflow")}
        assert queues == {"urgent": 1, "default": 2, "background": 3, "seasons": 4}
        assert server.read_global_concurrency_limit_by_name("dubflow-gpu").limit == 3
        for name, queue in DEPLOYMENTS.items():
            deployment = server.read_deployment_by_name(name)
            assert (deployment.work_pool_name, deployment.work_queue_name, deployment.tags) == ("dubflow", queue, ["dubflow"])
            environment = deployment.job_variables["env"]
            assert (environment["DO_NOT_TRACK"], environment["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")
            assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
        retrain = server.read_deployment_by_name("retrain/retrain")
        assert [schedule.schedule.cron for schedule in retrain.schedules] == ["0 3 * * 0"]
        names = {automation.name for automation in server.read_automations()}
    assert {"retrain when data comes in", "dubflow: a silent run is marked as crashed", "dubflow: a crashed run is started again"} <= names


def test_a_season_gets_a_clock_with_its_own_parameters_and_loses_it_again(deployed, tmp_path: Path):
    from flows.studio.schedules import add_schedule, list_schedules, remove_schedule

    add_schedule("s01.csv", "s3://bucket/out", "0 22 * * 5", "Europe/Paris", None, ["missing=skip", "codec=ffv1"])
    add_schedule("s3://bucket/s02.csv", str(tmp_path), "*/5 * * * *", "UTC", "second", [])
    changed = add_schedule("s01.csv", "s3://bucket/out", "0 23 * * 5", "Europe/Paris", None, [])
    assert changed.done == "changed s01"
    assert {(season.season_id, season.cron, season.timezone) for season in list_schedules().schedules} == {
        ("s01", "0 23 * * 5", "Europe/Paris"),
        ("second", "*/5 * * * *", "UTC"),
    }
    with client() as server:
        schedules = {schedule.slug: schedule for schedule in server.read_deployment_by_name("dub-season/dub-season").schedules}
    assert schedules["s01"].parameters["request"] == {
        "manifest": str(Path("s01.csv").absolute()),
        "out": "s3://bucket/out",
        "season_id": "s01",
        "on": "workers",
    }
    with pytest.raises(InputError, match=r"cron.*five fields"):
        add_schedule("s01.csv", "out", "every friday", "UTC", None, [])
    with pytest.raises(InputError, match=r"--set colour=red: write FIELD=VALUE"):
        add_schedule("s01.csv", "out", "0 22 * * 5", "UTC", None, ["colour=red"])
    with pytest.raises(InputError, match="No season 'third'"):
        remove_schedule("third")
    assert [season.season_id for season in remove_schedule("s01").schedules] == ["second"]


def test_the_same_command_again_changes_only_what_is_asked_for_and_keeps_the_clocks(deployed):
    from flows.deployments import deploy
    from flows.studio.automations import Patience
    from flows.studio.schedules import add_schedule, list_schedules

    add_schedule("kept.csv", "out", "0 4 * * 1", "UTC", None, [])
    again = deploy(None, Patience(num_restarts=1))
    changed = [step.thing for step in again.steps if step.done not in ("kept", "brought up to date")]
    assert changed == ["automation a crashed run is started again"]
    assert {step.thing.removeprefix("deployment ") for step in again.steps if step.done == "brought up to date"} == set(DEPLOYMENTS)
    assert "kept" in {season.season_id for season in list_schedules().schedules}
    without = deploy(None, Patience(num_restarts=0))
    assert [(step.thing, step.done) for step in without.steps if step.done == "removed"] == [("automation a crashed run is started again", "removed")]
    with client() as server:
        assert server.read_global_concurrency_limit_by_name("dubflow-gpu").limit == 3
        assert len(server.read_automations()) == 5


def test_without_a_server_of_the_studio_the_command_says_what_to_do():
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.deployments import deploy
    from flows.studio.automations import Patience
    from infra.errors import TransientError

    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(InputError, match="export PREFECT_API_URL="):
        deploy(None, Patience())
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(TransientError, match="does not answer"):
        deploy(None, Patience())
