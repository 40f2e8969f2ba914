"""A real S3 server for tests: OpenStack Swift with s3api, four processes on free ports, up in about two seconds."""

import getpass
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.settings import get_settings

REPOSITORY = Path(__file__).parents[1]
PYTHON = REPOSITORY / ".venv-swift" / "bin" / "python"
ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"
BACKENDS = ("account", "container", "object")

_SWIFT_CONF = "[swift-hash]\nswift_hash_path_prefix = tests\nswift_hash_path_suffix = tests\n[storage-policy:0]\nname = one\ndefault = yes\n"
_BACKEND_CONF = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
log_level = WARNING
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
_PROXY_CONF = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors healthcheck cache listing_formats s3api tempauth bulk copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
min_segment_size = 5242880
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
"""
_PLAIN_FILTERS = ("catch_errors", "healthcheck", "cache", "listing_formats", "bulk", "copy", "slo", "dlo", "versioned_writes", "symlink")


@dataclass(frozen=True)
class SwiftServer:
    host: str
    port: int

    @property
    def endpoint_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def client(self):
        """A plain boto3 client, for doing things behind dubflow's back."""
        config = Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 3})
        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
        return boto3.session.Session().client("s3", endpoint_url=self.endpoint_url, region_name="us-east-1", config=config, **keys)


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    """A running server for the whole session. Skips, saying so, where .venv-swift is absent (tests/make_swift_venv.sh makes it)."""
    if not PYTHON.exists():
        pytest.skip("no S3 server: .venv-swift is absent; make it with tests/make_swift_venv.sh")
    folder = tmp_path_factory.mktemp("swift")
    ports = dict(zip(("proxy", *BACKENDS), _free_ports(4), strict=True))
    _write_configuration(folder, ports)
    subprocess.run([PYTHON, REPOSITORY / "tests" / "swift_runner.py", folder, "rings"], check=True, timeout=60)
    servers = []
    try:
        with open(folder / "log", "wb") as log:
            for name in (*BACKENDS, "proxy"):
                command = [PYTHON, REPOSITORY / "tests" / "swift_runner.py", folder, name]
                servers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True))
        server = SwiftServer("127.0.0.1", ports["proxy"])
        _wait_until_up(server, servers, folder / "log")
        yield server
    finally:
        for process in servers:
            process.send_signal(signal.SIGKILL)
            process.wait(30)


@pytest.fixture
def s3_bucket(swift: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The s3:// URI of a fresh bucket, with dubflow's settings and credentials pointing at it."""
    bucket = f"tests-{secrets.token_hex(8)}"
    swift.client().create_bucket(Bucket=bucket)
    point_at(monkeypatch, swift.endpoint_url)
    yield f"s3://{bucket}"
    get_settings.cache_clear()


def point_at(monkeypatch: pytest.MonkeyPatch, endpoint_url: str, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> None:
    """Make dubflow use this S3 server and these credentials until the test ends."""
    from infra.s3_client import forget_clients

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("DUBFLOW_S3_ENDPOINT_URL", endpoint_url)
    monkeypatch.setenv("DUBFLOW_S3_ADDRESSING_STYLE", "path")
    get_settings.cache_clear()
    forget_clients()


def _write_configuration(folder: Path, ports: dict[str, int]) -> None:
    (folder / "devices" / "d1").mkdir(parents=True)
    (folder / "swift.conf").write_text(_SWIFT_CONF)
    (folder / "ports").write_text(" ".join(f"{name}={port}" for name, port in ports.items()))
    for name in BACKENDS:
        (folder / f"{name}.conf").write_text(_BACKEND_CONF.format(name=name, port=ports[name], user=getpass.getuser(), folder=folder))
    filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name.replace('cache', 'memcache')}\n" for name in _PLAIN_FILTERS)
    (folder / "proxy.conf").write_text(_PROXY_CONF.format(port=ports["proxy"], user=getpass.getuser(), folder=folder) + filters)


def _free_ports(num: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(num)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _wait_until_up(server: SwiftServer, processes: list[subprocess.Popen], log: Path) -> None:
    deadline = time.monotonic() + 60
    trouble: Exception | None = None
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        try:
            with urllib.request.urlopen(f"{server.endpoint_url}/healthcheck", timeout=5):
                server.client().list_buckets()
                return
        except (OSError, ClientError) as error:  # not all four listen yet
            trouble = error
        time.sleep(0.1)
    raise RuntimeError(f"Swift did not start ({trouble}):\n{log.read_text(errors='replace')[-3000:]}\n{os.listdir(log.parent)}")
