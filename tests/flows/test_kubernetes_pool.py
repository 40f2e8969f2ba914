"""A real Prefect server takes the job templates of infra/kubernetes for its Kubernetes work pools, and holds deployments to them."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KUBERNETES = Path(__file__).parents[2] / "infra" / "kubernetes"


@pytest.fixture(scope="module")
def gpu_pool(prefect_api: str) -> str:
    """A work pool made by the very command of docs/kubernetes.md."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "work-pool", "create", "gpu-pool", "--type", "kubernetes"]
    command += ["--base-job-template", str(KUBERNETES / "base-job-template-gpu.json")]
    done = subprocess.run(command, env=os.environ | {"PREFECT_API_URL": prefect_api}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return "gpu-pool"


def test_the_server_keeps_the_template_as_it_is(gpu_pool):
    from prefect.client.orchestration import get_client

    async def read():
        async with get_client() as client:
            return await client.read_work_pool(gpu_pool)

    pool = asyncio.run(read())
    assert (pool.type, pool.base_job_template) == ("kubernetes", json.loads((KUBERNETES / "base-job-template-gpu.json").read_text()))


def test_a_deployment_may_set_what_the_template_offers_and_nothing_of_another_kind(gpu_pool):
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    async def deploy(job_variables):
        async with get_client() as client:
            flow_id = await client.create_flow_from_name("dub-episode")
            await client.create_deployment(flow_id, "in-the-cluster", work_pool_name=gpu_pool, job_variables=job_variables)

    asyncio.run(deploy({"cpu": 30, "memory": "96Gi", "env": {"DUBFLOW_BATCH_SIZE": "128"}}))
    with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
        asyncio.run(deploy({"cpu": "many"}))


def test_the_server_takes_the_template_for_plain_nodes_too(prefect_api):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    template = json.loads((KUBERNETES / "base-job-template-cpu.json").read_text())

    async def create():
        async with get_client() as client:
            return await client.create_work_pool(WorkPoolCreate(name="cpu-pool", type="kubernetes", base_job_template=template))

    assert asyncio.run(create()).base_job_template == template
