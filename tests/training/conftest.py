"""One thread for torch: tests share the machine, and sums come out the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.people import tiny_expert, write_shards


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared clips of four people."""
    return write_shards(tmp_path_factory.mktemp("data"), {"ann": [1], "bob": [2], "cy": [3], "dee": [4, 5]})


@pytest.fixture(scope="session")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_expert(tmp_path_factory.mktemp("expert") / "expert.safetensors")
