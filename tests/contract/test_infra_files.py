"""Files that set up machines are checked by the tools that know their formats, and keep the house's own promises: pinned, not root, no secrets."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import kubernetes_validate
import pytest
import yaml

from infra.settings import PREFIX, Settings

REPOSITORY = Path(__file__).parents[2]
INFRA = REPOSITORY / "infra"
DOCKERFILE, COMPOSE = INFRA / "docker" / "Dockerfile", INFRA / "compose.yaml"
TEMPLATES = sorted((INFRA / "kubernetes").glob("base-job-template-*.json"))
MANIFESTS = sorted((INFRA / "kubernetes" / "manifests").glob("*.yaml"))
VALUES = sorted((INFRA / "kubernetes" / "values").glob("*.yaml"))
TERRAFORM = sorted((INFRA / "terraform").glob("*.tf"))
KUBERNETES = "1.33"
MULTIPART = ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:ListBucketMultipartUploads")
OTHER = ("kms:Decrypt", "kms:GenerateDataKey", "sts:AssumeRole", "sts:TagSession")
ALL = [DOCKERFILE, COMPOSE, INFRA / "compose.env.example", *TEMPLATES, *MANIFESTS, *VALUES, *TERRAFORM]
# Neither ours nor Prefect's, and known: PostgreSQL's image, AWS's clients, Python, NVIDIA's runtime, caches of libraries.
OTHERS = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HOME", "PATH", "DO_NOT_TRACK"}
OTHERS |= {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "PIP_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK"}
OTHERS |= {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}
OTHERS |= {f"PREFECT_INTEGRATIONS_KUBERNETES_{name}" for name in ("OBSERVER_NAMESPACES", "WORKER_API_AUTH_STRING_SECRET_NAME")}
OTHERS |= {"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY"}
NAMED = r"(?:password|secret|auth.?string|access.?key)\w*"
SECRETS = re.compile(rf"AKIA[0-9A-Z]{{16}}|-----BEGIN|{NAMED}[ \t]*[:=][ \t]*[\"']?(?![\"'$\s{{}}])[\w+/.:-]{{6,}}", re.I)


def run_tool(*command: str | Path, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=120)


def tool(name: str) -> Path:
    return Path(sys.executable).parent / name


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def walk(value: Any) -> Iterator[Any]:
    """Every mapping in a document."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(child)


def rendered(path: Path, **variables: Any) -> dict[str, Any]:
    """The Kubernetes job that Prefect makes of a base job template, filled in by Prefect's own code."""
    from prefect.utilities.templating import apply_values
    from prefect.workers.base import BaseJobConfiguration

    template = json.loads(path.read_text())
    values = BaseJobConfiguration._get_base_config_defaults(template["variables"]["properties"]) | variables
    job = apply_values(template["job_configuration"]["job_manifest"], values)
    container = job["spec"]["template"]["spec"]["containers"][0]
    # What the worker knows of the run itself.
    job["metadata"]["generateName"], container["args"] = "episode-", ["prefect", "flow-run", "execute"]
    container["env"] = [{"name": name, "value": value} for name, value in (container.get("env") or {}).items()]
    return job


def variables_named() -> set[str]:
    """Every environment variable that one of the files sets for a program."""
    names = set(re.findall(r"^\s*(?:ENV )?([A-Z][A-Z0-9_]+)=", DOCKERFILE.read_text(), re.M))
    names |= set(re.findall(r"(?<=\s)([A-Z][A-Z0-9_]{3,})=\S", "\n".join(re.findall(r"^ENV .*", DOCKERFILE.read_text(), re.M))))
    for service in documents(COMPOSE)[0]["services"].values():
        names |= set(service.get("environment", {}))
    for path in (*MANIFESTS, *VALUES):
        for mapping in (found for document in documents(path) for found in walk(document)):
            names |= {entry["name"] for key in ("env", "extraEnvVars") for entry in mapping.get(key) or []}
            names |= set(mapping.get("data", {})) if mapping.get("kind") == "ConfigMap" else set()
    for path in TEMPLATES:
        names |= {entry["name"] for entry in rendered(path)["spec"]["template"]["spec"]["containers"][0]["env"]}
    return names


def test_the_dockerfile_has_nothing_that_hadolint_objects_to():
    answer = run_tool(tool("hadolint"), "--no-color", DOCKERFILE)
    assert answer.returncode == 0, answer.stdout


def test_hadolint_would_object(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && pip install numpy\n")
    assert run_tool(tool("hadolint"), tmp_path / "Dockerfile").returncode == 1


def test_the_compose_file_is_one():
    answer = run_tool(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", COMPOSE)
    assert answer.returncode == 0, answer.stdout


def test_a_misspelt_compose_file_would_be_noticed(tmp_path):
    (tmp_path / "compose.yaml").write_text(COMPOSE.read_text().replace("healthcheck:", "healthchek:", 1))
    assert run_tool(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml").returncode == 1


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_knows_every_field_of_the_manifests(path):
    for document in documents(path):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_kubernetes_knows_every_field_of_the_jobs_that_prefect_makes(path):
    job = rendered(path)
    for field in ("parallelism", "completions"):  # Prefect's worker demands them here, where Kubernetes has no such fields and ignores them
        assert job["spec"]["template"]["spec"].pop(field) == 1
    kubernetes_validate.validate(job, KUBERNETES, strict=True)


def test_a_misspelt_field_of_a_job_would_be_noticed():
    job = rendered(TEMPLATES[0])
    job["spec"]["template"]["spec"]["containers"][0]["securityContxt"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, KUBERNETES, strict=True)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_variable_of_a_job_template_is_used_and_every_one_used_is_offered(path):
    template = json.loads(path.read_text())
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_deployment_can_choose_image_size_and_settings_of_its_runs(path):
    pod = rendered(path, image="registry.example/dubflow:2", memory="7Gi", env={"DUBFLOW_BATCH_SIZE": "8"})["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == "registry.example/dubflow:2"
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"] == "7Gi"
    assert {"name": "DUBFLOW_BATCH_SIZE", "value": "8"} in container["env"]


def test_terraform_would_not_write_the_files_any_other_way():
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not installed here; the files are parsed all the same")
    answer = run_tool(program, "fmt", "-check", "-diff", INFRA / "terraform")
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("path", TERRAFORM, ids=lambda path: path.name)
def test_every_terraform_file_parses(path):
    with path.open() as file:
        assert set(hcl2.load(file)) & {"resource", "data", "variable", "output", "terraform"}


def test_terraform_names_only_what_it_declares():
    text = "\n".join(path.read_text() for path in TERRAFORM)
    declared = {f"var.{name}" for name in re.findall(r'^variable "(\w+)"', text, re.M)}
    declared |= {f"data.{kind}.{name}" for kind, name in re.findall(r'^data "(\w+)" "(\w+)"', text, re.M)}
    declared |= {f"{kind}.{name}" for kind, name in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.M)}
    declared |= {
        f"local.{name}" for block in re.findall(r"^locals \{\n(.*?)^\}", text, re.M | re.S) for name in re.findall(r"^  (\w+) +=", block, re.M)
    }
    used = set(re.findall(r"(?<![\w.\"/])((?:var|local)\.\w+|data\.aws_\w+\.\w+|aws_\w+\.\w+)", text))
    assert used - declared == set()
    assert {name for name in declared if name.startswith(("var.", "local."))} - used == set()


def images() -> dict[str, str]:
    """Where an image is named -> its name."""
    found = {f"Dockerfile: {image}": image for image in re.findall(r"^FROM (\S+:\S+)", DOCKERFILE.read_text(), re.M)}
    found |= {f"compose: {name}": service["image"] for name, service in documents(COMPOSE)[0]["services"].items()}
    for path in TEMPLATES:
        found[path.name] = rendered(path)["spec"]["template"]["spec"]["containers"][0]["image"]
    for path in VALUES:
        for image in (mapping["image"] for mapping in walk(documents(path)) if isinstance(mapping.get("image"), dict)):
            found[path.name] = f"{image['repository']}:{image['prefectTag']}"
    return found


def test_every_image_is_pinned_to_a_whole_version():
    loose = {where: image for where, image in images().items() if not re.search(r":v?\d+\.\d+(\.\d+)?(-[\w.-]+)?(@sha256:[0-9a-f]{64})?$", image)}
    assert len(images()) >= 9
    assert loose == {}


def test_everybody_runs_the_version_of_prefect_and_of_dubflow_that_the_package_names():
    pyproject = (REPOSITORY / "pyproject.toml").read_text()
    prefect, ours = re.search(r'"prefect==([\d.]+)"', pyproject), re.search(r'^version = "([\d.]+)"', pyproject, re.M)
    assert prefect
    assert ours
    for image in images().values():
        if image.startswith("prefecthq/prefect:"):
            assert image.split(":")[1].split("-")[0] == prefect[1]
        if image.startswith("dubflow:"):
            assert image.split(":")[1].split("-")[0] == ours[1]


def test_no_container_of_ours_runs_as_root():
    users = re.findall(r"^USER (\S+)", DOCKERFILE.read_text(), re.M)
    assert users
    assert users[-1].split(":")[0].isdecimal()
    assert int(users[-1].split(":")[0]) >= 1000
    for path in TEMPLATES:
        pod = rendered(path)["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert str(pod["securityContext"]["runAsUser"]) == users[-1].split(":")[0]
        own = pod["containers"][0]["securityContext"]
        assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    for path in VALUES:
        contexts = [mapping["podSecurityContext"] for mapping in walk(documents(path)) if "podSecurityContext" in mapping]
        assert contexts
        assert all(context["runAsNonRoot"] and context["runAsUser"] >= 1000 for context in contexts)


def test_no_file_holds_a_secret():
    texts = {path.name: re.sub(r"#.*", "", path.read_text()) for path in ALL}
    found = [f"{name}: {found[0]}" for name, text in texts.items() for found in SECRETS.finditer(text)]
    assert found == ["prefect-server.yaml: Secret: prefect-auth"]  # the name of one


@pytest.mark.parametrize("text", ["POSTGRES_PASSWORD: prefect-rocks", "authString=admin:pass123", "secret_key = 'abcdef0123'"])
def test_a_secret_would_be_noticed(text):
    assert SECRETS.search(text)


def test_every_setting_named_is_one():
    from prefect.settings import Settings as PrefectSettings
    from prefect.settings.legacy import _get_settings_fields

    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | set(_get_settings_fields(PrefectSettings)) | OTHERS
    named = variables_named()
    assert {"DUBFLOW_S3_ENDPOINT_URL", "PREFECT_SERVER_API_AUTH_STRING", "NUMBA_CACHE_DIR", "DUBFLOW_REGISTRY"} <= named
    assert named - known == set()


def test_the_settings_in_the_files_can_be_used(monkeypatch):
    config = next(document for path in MANIFESTS for document in documents(path) if document["kind"] == "ConfigMap")
    services = documents(COMPOSE)[0]["services"].values()
    for given in (config["data"], *(service.get("environment", {}) for service in services)):
        with monkeypatch.context() as patch:
            for name, value in given.items():
                if name.startswith(PREFIX):
                    patch.setenv(name, re.sub(r"\$\{\w+:-(\w+)\}", r"\1", str(value)))
            Settings()


def test_nothing_listens_beyond_its_machine():
    services = documents(COMPOSE)[0]["services"]
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"server": ["127.0.0.1:4200:4200"]}
    assert documents(COMPOSE)[0]["networks"]["inner"] == {"internal": True}
    assert {name for name, service in services.items() if service["networks"] != ["inner"]} == {"server"}
    server = documents(INFRA / "kubernetes" / "values" / "prefect-server.yaml")[0]
    assert (server["service"]["type"], server["ingress"]["enabled"], server["server"]["basicAuth"]["enabled"]) == ("ClusterIP", False, True)


def test_every_lasting_service_says_whether_it_is_well():
    services = documents(COMPOSE)[0]["services"]
    assert {name for name, service in services.items() if "healthcheck" not in service} == {
        "worker",
        "season-worker",
        "gpu-worker",
    }  # the image's own
    assert re.search(r"^HEALTHCHECK", DOCKERFILE.read_text(), re.M)


def test_runs_in_the_cluster_reach_names_server_store_and_their_credentials_only():
    policies = {document["metadata"]["name"]: document["spec"] for document in documents(INFRA / "kubernetes" / "manifests" / "network-policy.yaml")}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    run_labels = {name: value for path in TEMPLATES for name, value in rendered(path)["spec"]["template"]["metadata"]["labels"].items()}
    for_runs = [spec for spec in policies.values() if set(spec["podSelector"].get("matchLabels", {}).items()) <= set(run_labels.items())]
    reached = sorted(port["port"] for spec in for_runs for rule in spec.get("egress", []) for port in rule["ports"])
    assert reached == [53, 53, 80, 443, 4200]
    assert all(rule["to"] for spec in for_runs for rule in spec.get("egress", []))
    blocks = [mapping["ipBlock"]["cidr"] for spec in policies.values() for mapping in walk(spec) if "ipBlock" in mapping]
    assert "0.0.0.0/0" not in blocks
    assert [spec for spec in for_runs if "ingress" in spec] == []


def test_gpu_runs_and_gpu_nodes_find_each_other():
    pod = rendered(INFRA / "kubernetes" / "base-job-template-gpu.json")["spec"]["template"]["spec"]
    nodes = (INFRA / "terraform" / "gpu_nodes.tf").read_text()
    for name, value in pod["nodeSelector"].items():
        assert f'"{name}" = "{value}"' in nodes
    assert [f'key    = "{toleration["key"]}"' in nodes for toleration in pod["tolerations"]] == [True]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert re.search(r"min_size +?= 0\n +desired_size = 0", nodes), "the node group scales to zero"


def test_pods_roles_are_those_that_the_store_knows():
    accounts = {document["metadata"]["name"] for document in documents(INFRA / "kubernetes" / "manifests" / "service-account.yaml")}
    roles = (INFRA / "terraform" / "roles.tf").read_text()
    block = re.search(r"service_accounts = \{(.*?)\}", roles, re.S)
    assert block
    assert set(re.findall(r'"([\w-]+)"', block[1])) == accounts
    assert {rendered(path)["spec"]["template"]["spec"]["serviceAccountName"] for path in TEMPLATES} <= accounts


def test_no_role_may_remove_for_good_or_reach_beyond_the_bucket():
    with (INFRA / "terraform" / "roles.tf").open() as file:
        text = json.dumps(hcl2.load(file))
    actions = set(re.findall(r"(?:s3|kms|iam|sts|eks):[A-Z*]\w*", text)) - {"kms:ViaService"}  # a condition
    assert {action for action in actions if action.startswith("s3:Put")} == {"s3:PutObject"}
    assert actions == {*(f"s3:{name}" for name in ("GetObject", "PutObject", "DeleteObject", "ListBucket", "GetBucketLocation")), *MULTIPART, *OTHER}
    assert re.findall(r'"resources": \[\W*\*', text) == []


def test_a_worker_cannot_write_films_or_models():
    rights = re.search(r"worker = \{\n(.*?)\n    \}", (INFRA / "terraform" / "roles.tf").read_text(), re.S)
    assert rights
    for line in rights[1].splitlines()[1:]:
        assert "films" not in line
        assert "registry" not in line


def test_all_that_the_image_is_made_of_gets_to_the_builder():
    ignore = [line for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    kept_out = {line for line in ignore[1:] if not line.startswith("!")}
    sources = [name for line in re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE.read_text(), re.M) for name in line.split()[:-1]]
    assert ignore[0] == "*"
    assert len(sources) >= 8
    for name in sources:
        assert (REPOSITORY / name).exists()
        assert any(name == entry or name.startswith(f"{entry}/") for entry in let_in)
        assert not any(name == entry or name.startswith(f"{entry}/") for entry in kept_out)


def test_the_image_installs_what_the_package_requires():
    import tomllib

    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    project = pyproject["project"]
    answer = run_tool(sys.executable, INFRA / "docker" / "requirements.py", "pyproject.toml", "dask")
    assert answer.stdout.splitlines() == [*project["dependencies"], *project["optional-dependencies"]["dask"]]
    assert "prefect.yaml" in pyproject["tool"]["setuptools"]["package-data"]["infra"], "`dub deploy` reads it where the package is installed"
