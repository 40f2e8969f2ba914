"""Fixtures for everybody: the real clips and weights beside the repository, a real S3 server, a disk that fills up."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.swift_server import s3_bucket, swift

__all__ = ["s3_bucket", "shared", "swift", "tiny_disk"]

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real clips, weights and reference numbers beside the repository. Skips, saying so, where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real clips and weights are absent: there is no {SHARED}")
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that takes the fixture `shared` bears the marker `shared`, so that -m can choose."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, to be filled up. Skips, saying so, where it cannot be mounted."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
