"""Fixtures for everybody: the real clips and weights beside the repository, a real S3 server, a disk that fills up."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.swift_server import s3_bucket, swift

__all__ = ["dubbed_episode_a", "s3_bucket", "shared", "swift", "tiny_disk"]

SHARED = Path(__file__).parents[2] / "shared"
# What takes longest, to be begun first, so that no worker process ends up alone with it; the others follow folder by folder.
DEAREST = ("test_episode_a.py", "flows/test_retrain.py", "flows/", "training/", "browser/", "faults/")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real clips, weights and reference numbers beside the repository. Skips, saying so, where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real clips and weights are absent: there is no {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def dubbed_episode_a(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT/ID of `dub episode` of episode_a with the embedded defaults and --lossless; the work folder lies beside OUT. Not to be changed."""
    film_folder, folder = shared / "media" / "episode_a", tmp_path_factory.mktemp("episode-a")
    command = [sys.executable, "-m", "flows.cli", "episode", str(film_folder / "film.mp4"), "--audio", f"en={film_folder / 'dub.wav'}"]
    command += ["--out", str(folder / "out"), "--work", str(folder / "work"), "--id", "episode-a", "--lossless", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    json.loads(done.stdout)
    return folder / "out" / "episode-a"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that takes the fixture `shared` bears the marker `shared`, so that -m can choose; and what is dear comes first."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)
    items.sort(key=lambda item: next((place for place, name in enumerate(DEAREST) if name in item.nodeid), len(DEAREST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> LoadScopeScheduling:
    """Among several worker processes a file stays together, and so do all tests of the dubbed episode: what is dear is made once."""
    config.option.loadscopereorder = False  # they come in the order of DEAREST

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "episode" if file.endswith("/test_episode_a.py") else file

    return ByFile(config, log)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, to be filled up. Skips, saying so, where it cannot be mounted."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
