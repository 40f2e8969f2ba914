"""For flow tests: one Prefect server for the whole session, random weights on a shelf of their own, and the small film."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.prefect_server import prefect_database
from tests.small_film import DURATION_S, make_random_weights, make_small_film, make_track, make_voice

if TYPE_CHECKING:
    from flows.run.local_server import LocalServer

__all__ = ["prefect_database"]


@dataclass(frozen=True)
class Inputs:
    film: Path
    dub: Path
    models_folder: Path  # holds the model `tiny`


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A film of three shots with a voice, a dub for it, and a shelf with the random model `tiny`."""
    from tasks.model_shelf import import_model

    folder = tmp_path_factory.mktemp("small")
    film = make_small_film(folder / "small.mp4", make_voice(DURATION_S))
    for weights in make_random_weights(folder / "weights"):
        import_model(folder / "models", weights)
    return Inputs(film, make_track(folder / "dub.wav"), folder / "models")


@pytest.fixture(scope="session")
def prefect_api(prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Prefect server with a database of its own."""
    from flows.run.local_server import serving, talking_to

    home = shutil.copytree(prefect_database, tmp_path_factory.mktemp("prefect") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        with serving(tmp_path_factory.mktemp("prefect-log")) as server:
            url = _patiently(server)
            with talking_to(url):
                yield url


def _patiently(server: "LocalServer") -> str:
    """Its address; on a machine with other work for longer than a user would wait."""
    from infra.errors import OurTroubleError

    for _ in range(4):
        with suppress(OurTroubleError):
            return server.url()
        assert server.process.is_alive(), server.log.read_text()
    return server.url()


@pytest.fixture(scope="session")
def warm_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder that the tests share, as a user's runs do: what one has finished the next finds. Tests of the work itself bring their own."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def settings_of_test(small: Inputs, prefect_api: str, warm_work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings and Prefect of the tests' own: nothing of the user's is read or written."""
    from infra.settings import get_settings

    monkeypatch.setenv("DUBFLOW_MODELS_FOLDER", str(small.models_folder))
    monkeypatch.setenv("DUBFLOW_WORK_FOLDER", str(warm_work))
    monkeypatch.setenv("DUBFLOW_NUM_WORKERS", "2")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def prefect_home(prefect_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's database for commands in processes of their own, one after another."""
    return shutil.copytree(prefect_database, tmp_path_factory.mktemp("prefect-home") / "home")


@pytest.fixture
def environment(small: Inputs, prefect_home: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a command in a process of its own: its own work folder and its own Prefect server."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DUBFLOW_"))}
    folders = {"DUBFLOW_MODELS_FOLDER": small.models_folder, "DUBFLOW_WORK_FOLDER": tmp_path / "work", "PREFECT_HOME": prefect_home}
    return inherited | {name: str(path) for name, path in folders.items()}
