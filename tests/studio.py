"""A studio as a team has it: PostgreSQL, Prefect's server on it, S3, and workers that share finished steps by S3, each with a disk of its own."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.storage import Storage, open_storage
from tests.postgres_server import Postgres, PrefectServer, Worker, running
from tests.prefect_server import dub
from tests.season_media import MediaSeason
from tests.swift_server import ACCESS_KEY, SECRET_KEY, SwiftServer

REPOSITORY = Path(__file__).parents[1]
SEASON_TIMEOUT_S = 2400.0
GOOD_ENOUGH = (0, 2)  # exit codes of `dub season`: 2 says that a film in the table is of no use


@dataclass
class Studio:
    """Its servers and workers, and the season it is to dub. bucket: the s3:// URI of a fresh one."""

    postgres: Postgres
    server: PrefectServer
    workers: list[Worker]
    environment: dict[str, str]
    bucket: str
    season: MediaSeason
    folder: Path

    @property
    def storage(self) -> Storage:
        return open_storage(self.bucket)

    def dub(self, *words: str) -> dict[str, Any]:
        """A command that prints JSON; its answer."""
        done = dub(self.environment, *words, "--json", timeout_s=SEASON_TIMEOUT_S)
        assert done.returncode in GOOD_ENOUGH, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout)

    @property
    def manifest(self) -> Path:
        short = self.folder / "season.csv"
        return short if short.exists() else self.season.manifest

    def shorten_season(self, episodes: Sequence[str]) -> None:
        """Have a table of these episodes only."""
        heading, *rows = self.season.manifest.read_text().splitlines()
        at = [f",{self.season.folder}/".join(row.split(",", 1)) for row in rows if row.split(",")[0] in episodes]
        columns = [row.split(",") for row in at]
        lines = [",".join([*row[:3], f"{self.season.folder}/{row[3]}", *row[4:]]) for row in columns]
        (self.folder / "season.csv").write_text("\n".join([heading, *lines]) + "\n")

    @property
    def season_words(self) -> list[str]:
        where = ["--out", f"{self.bucket}/out", "--on", "workers", "--id", self.folder.name, "--work", str(self.folder / "coordinator")]
        return ["season", str(self.manifest), *where, "--model", "tiny", "--speaker", "only-face"]

    def dub_season(self) -> dict[str, Any]:
        """`dub season` to its end."""
        return self.dub(*self.season_words)

    def begin_season(self) -> subprocess.Popen:
        """`dub season` in the background; its messages go to FOLDER/season.log."""
        command = [sys.executable, "-m", "flows.cli", *self.season_words, "--json"]
        with (self.folder / "season.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def finished_steps(self, step: str) -> list[str]:
        """Records of a step in the store that the workers share."""
        return self.storage.list(f"artifacts/records/{step}/")

    def num_takes_of(self, worker: Worker) -> int:
        """Takes on a worker's own disk."""
        return len(list((self.folder / worker.name / "artifacts" / "records").glob("sync_lips/*")))

    def steps_of(self, episode: str) -> dict[str, dict[str, int]]:
        """What the run that published the episode made, and what it found."""
        manifest = json.loads(self.storage.read_bytes(f"out/{episode}/manifest.json"))
        return manifest["work"]["steps"]

    def runs(self, flow_name: str) -> list[Any]:
        """Every run of a flow that the server knows."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: self.server.url}), get_client(sync_client=True) as client:
            return client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])))


@contextmanager
def open_studio(
    folder: Path, postgres: Postgres, server: PrefectServer, swift: SwiftServer, season: MediaSeason, models_folder: Path, *, silent_after_s: int = 60
) -> Iterator[Studio]:
    """Two workers, one run at a time each, and a fresh bucket. This process must be pointed at the S3 server itself."""
    bucket = f"season-{secrets.token_hex(6)}"
    swift.client().create_bucket(Bucket=bucket)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DUBFLOW_", "AWS_"))}
    environment = inherited | {
        "PREFECT_API_URL": server.url,
        "PREFECT_HOME": str(folder / "home"),
        "PYTHONPATH": str(REPOSITORY),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "DUBFLOW_S3_ENDPOINT_URL": swift.endpoint_url,
        "DUBFLOW_S3_ADDRESSING_STYLE": "path",
        "DUBFLOW_MODELS_FOLDER": str(models_folder),
        "DUBFLOW_ARTIFACTS": f"s3://{bucket}/artifacts",
        "DUBFLOW_NUM_WORKERS": "1",
        "DUBFLOW_TORCH_THREADS": "1",
        "DUBFLOW_WORK_FOLDER": str(folder / "coordinator"),
    }
    workers = [Worker(name, "dubflow", folder, environment | {"DUBFLOW_WORK_FOLDER": str(folder / name)}) for name in ("worker-1", "worker-2")]
    studio = Studio(postgres, server, workers, environment, f"s3://{bucket}", season, folder)
    studio.dub("deploy", "--silent-after", str(silent_after_s))  # on a busy machine a run may take minutes to begin, and is not to be taken for lost
    with running(*workers):
        yield studio


def wait_until(is_so: Callable[[], bool], what: str, limit_s: float = SEASON_TIMEOUT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:.0f} s"
        time.sleep(0.2)
