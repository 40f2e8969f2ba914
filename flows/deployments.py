"""`dub deploy`: everything that dubflow needs on a studio's Prefect server, made or brought up to date; to be run again after every change."""

import flows.environment  # noqa: F401  # isort: skip
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

import infra
from flows.runners.gpu_slot import LIMIT
from flows.studio.automations import TAG, Patience, automations
from flows.studio.notify import blocks_named, find_block
from flows.studio.server import studio_server
from infra.errors import InputError, OurTroubleError
from infra.settings import get_settings
from tasks.types import Record

POOL = "dubflow"
QUEUES = {"urgent": 1, "default": 2, "background": 3, "seasons": 4}  # 1 is served first
PREFECT_FILE = Path(infra.__file__).parent / "prefect.yaml"


class Step(Record):
    """One thing on the server, and what was done to it: made, changed, or kept as it was."""

    thing: str
    done: str


class Deployed(Record):
    """What `dub deploy` did."""

    server: str
    steps: tuple[Step, ...]


def deploy(num_gpus: int | None, patience: Patience) -> Deployed:
    """Bring the server up to date. num_gpus: slots of the GPU limit; None: as many as it has, else 1.

    Whatever others keep on the server is left alone, also the seasons' schedules. Raises InputError, OurTroubleError.
    """
    with studio_server() as client:
        blocks = [find_block(client, name) for name in blocks_named(get_settings().notify)]
        steps = [_make_pool(client), *_make_queues(client), _make_limit(client, num_gpus)]
        steps += _deploy_file(client)
        steps += [_make_automation(client, wanted) for wanted in automations(patience, [block.id for block in blocks])]
        steps += _drop_old_automations(client, {wanted.name for wanted in automations(patience, [block.id for block in blocks])})
        return Deployed(server=str(client.api_url), steps=tuple(steps))


def _make_pool(client: SyncPrefectClient) -> Step:
    try:
        pool = client.read_work_pool(POOL)
        return Step(thing=f"work pool {POOL} ({pool.type})", done="kept")
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        return Step(thing=f"work pool {POOL} (process)", done="made")


def _make_queues(client: SyncPrefectClient) -> list[Step]:
    """Least urgent first: the server moves others aside where two would have the same priority."""
    steps = []
    for name, priority in sorted(QUEUES.items(), key=lambda item: -item[1]):
        try:
            client.read_work_queue_by_name(name, work_pool_name=POOL)
            done = "kept"
        except ObjectNotFound:
            client.create_work_queue(name, work_pool_name=POOL)
            done = "made"
        steps.append((name, priority, done))
    for name, priority, _ in sorted(steps, key=lambda step: step[1]):
        if client.read_work_queue_by_name(name, work_pool_name=POOL).priority != priority:
            client.request("PATCH", "/work_pools/{pool}/queues/{name}", path_params={"pool": POOL, "name": name}, json={"priority": priority})  # type: ignore[arg-type]
    return [Step(thing=f"work queue {name}, priority {priority}", done=done) for name, priority, done in steps]


def _make_limit(client: SyncPrefectClient, num_gpus: int | None) -> Step:
    try:
        before = client.read_global_concurrency_limit_by_name(LIMIT).limit
    except ObjectNotFound:
        before = None
    limit = num_gpus or before or 1
    client.upsert_global_concurrency_limit_by_name(LIMIT, limit)
    return Step(thing=f"concurrency limit {LIMIT}: {limit} at a time", done="made" if before is None else _kept_if(before == limit))


def _deploy_file(client: SyncPrefectClient) -> list[Step]:
    before = _deployments(client)
    _run_prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_FILE))
    after = _deployments(client)
    return [Step(thing=f"deployment {name}", done="brought up to date" if name in before else "made") for name in sorted(after)]


def _deployments(client: SyncPrefectClient) -> set[str]:
    ours = client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])))
    return {f"{client.read_flow(deployment.flow_id).name}/{deployment.name}" for deployment in ours}


def _run_prefect(*words: str) -> None:
    """Prefect's own command in this process, so that prefect.yaml is read by nobody else. Raises OurTroubleError with what it said."""
    from prefect.cli import app

    said, before = StringIO(), sys.argv
    sys.argv = ["prefect", *words]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            app()
        code: object = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    if code not in (0, None):
        raise OurTroubleError(f"`prefect {' '.join(words)}` failed: {said.getvalue().strip()[-2000:]}")


def _make_automation(client: SyncPrefectClient, wanted: AutomationCore) -> Step:
    thing = f"automation {wanted.name.removeprefix('dubflow: ')}"
    known = client.read_automations_by_name(wanted.name)
    for double in known[1:]:
        client.delete_automation(double.id)
    if not known:
        client.create_automation(wanted)
        return Step(thing=thing, done="made")
    if _content(known[0]) == _content(wanted):
        return Step(thing=thing, done="kept")
    client.update_automation(known[0].id, wanted)
    return Step(thing=thing, done="changed")


def _drop_old_automations(client: SyncPrefectClient, wanted: set[str]) -> list[Step]:
    """Those that an earlier `dub deploy` made and this one does not want."""
    steps = []
    for automation in client.read_automations():
        if automation.name.startswith("dubflow: ") and automation.name not in wanted:
            client.delete_automation(automation.id)
            steps.append(Step(thing=f"automation {automation.name.removeprefix('dubflow: ')}", done="removed"))
    return steps


def _content(automation: AutomationCore) -> dict:
    content = automation.model_dump(mode="json", include={"description", "enabled", "trigger", "actions"})
    content["trigger"].pop("id", None)
    return {name: _sorted(value) for name, value in content.items()}


def _sorted(value: object) -> object:
    """The same content in one order: sets come back from the server as lists in any order."""
    if isinstance(value, dict):
        return {name: _sorted(inner) for name, inner in value.items()}
    if isinstance(value, list) and all(isinstance(inner, str) for inner in value):
        return sorted(value)
    return value


def _kept_if(is_same: bool) -> str:
    return "kept" if is_same else "changed"


def show_deployed(result: Deployed) -> None:
    """Line by line, and what is to be done next."""
    for step in result.steps:
        print(f"{step.done:>18}  {step.thing}")
    print(f"on {result.server}; start workers with: prefect worker start --pool {POOL}")


def run_deploy(num_gpus: int | None, **patience: object) -> Deployed:
    """For the command. Raises InputError naming the option that does not fit."""
    from pydantic import ValidationError

    given: dict[str, object] = {name: value for name, value in patience.items() if value is not None}
    try:
        wanted = Patience.model_validate(given)
    except ValidationError as error:
        wrong = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise InputError(f"That patience cannot be used. {wrong}.") from None
    return deploy(num_gpus, wanted)
