"""Threads, processes, Dask and Ray: the same pictures from all four, workers that know what they must, and deaths that cost one shot at most."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.flows.odd_steps import die, tell_about_worker
from tests.flows.test_dub_episode import decoded, request_for

pytestmark = pytest.mark.usefixtures("settings_of_test")

IN_PROCESSES = ["processes", pytest.param("dask", marks=pytest.mark.long), pytest.param("ray", marks=pytest.mark.long)]


def dub_with(kind: str, small, folder: Path) -> tuple[list[np.ndarray], list[str]]:
    """(decoded frames, digests of the patches) of a dub from nothing."""
    from flows.dub_episode import dub_episode

    fields = {"work": str(folder / "work"), "task_runner": kind, "num_workers": 2, "codec": "ffv1"}
    result = dub_episode(request_for(small, folder / "out", **fields))
    made = {step: count.made for step, count in result.steps.items()}
    assert {"track_faces": 3, "sync_lips": 2, "judge_shot": 3}.items() <= made.items()
    manifest = json.loads((folder / "out" / "small" / "manifest.json").read_text())
    return decoded(Path(result.outputs["fr"])), [patch["sha256"] for patch in manifest["patches"]]


@pytest.fixture(scope="module")
def by_threads(small, prefect_api, tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        from infra.settings import get_settings

        patch.setenv("DUBFLOW_MODELS_FOLDER", str(small.models_folder))
        get_settings.cache_clear()
        return dub_with("threads", small, tmp_path_factory.mktemp("threads"))


@pytest.mark.parametrize("kind", IN_PROCESSES)
def test_every_runner_gives_the_same_pictures_to_the_bit(small, by_threads, tmp_path, kind):
    frames, patches = dub_with(kind, small, tmp_path)
    assert patches == by_threads[1]
    assert len(frames) == len(by_threads[0])
    assert all(np.array_equal(a, b) for a, b in zip(frames, by_threads[0], strict=True))


@pytest.mark.parametrize("kind", IN_PROCESSES)
def test_a_worker_has_the_runs_log_settings_and_server_and_its_share_of_the_processors(prefect_api, warm_work, tmp_path, monkeypatch, kind):
    from flows.episode.steps import Call, as_task, make_runner, run_one
    from flows.run.log_file import logging_to_file
    from infra.settings import get_settings

    monkeypatch.setenv("DUBFLOW_TORCH_THREADS", "1")
    get_settings.cache_clear()
    step = as_task(tell_about_worker, "tell", "tell")
    with logging_to_file(tmp_path, "run") as log, make_runner(kind, 2) as workers:
        told = run_one(workers, step, Call({"logger_name": "flows.test"}))
    assert told["pid"] != os.getpid()
    assert (told["num_threads"], told["api"], told["work_folder"]) == (1, prefect_api, str(warm_work))
    assert told["num_aside"] > 100_000  # modules: not looked through for garbage during calls
    assert told["niceness"] == os.nice(0)  # a worker that gives way to everybody stands still on a machine that others use
    assert "flows.test: a worker writes here" in log.read_text()


@pytest.mark.parametrize("kind", IN_PROCESSES)
def test_a_call_that_kills_its_worker_is_tried_again_alone_and_costs_no_other(prefect_api, tmp_path, kind):
    from flows.episode.steps import Call, as_task, make_runner, run_all
    from infra.errors import OurTroubleError

    step = as_task(die, "die", "die {name}")
    deaths = {"good-0": 0, "once": 1, "always": 9, "good-1": 0, "good-2": 0, "good-3": 0, "good-4": 0}
    calls = [Call({"notes": tmp_path, "name": name, "num_deaths": num, "after": "once" if num > 1 else ""}) for name, num in deaths.items()]
    with make_runner(kind, 2) as workers:
        outcomes = dict(zip(deaths, run_all(workers, step, calls), strict=True))
        assert [name for name, outcome in outcomes.items() if outcome.error is not None] == ["always"]
        assert isinstance(outcomes["always"].error, OurTroubleError)
        assert "its worker process died, with no other beside it" in str(outcomes["always"].error)
        assert all(outcome.result == name for name, outcome in outcomes.items() if name != "always")
        assert len(list(tmp_path.glob("always-*"))) <= 2
        again = run_all(workers, step, [Call({"notes": tmp_path, "name": "later", "num_deaths": 0})])  # the next stage has workers
        assert again[0].result == "later"


def test_a_step_beside_another_begins_when_that_one_has_no_call_left_to_begin(prefect_api, tmp_path):
    from flows.episode.steps import Call, as_task, make_runner, run_together
    from flows.run import progress

    class Notes(list):
        def hear(self, event):
            if isinstance(event, progress.StageBegan | progress.Ended | progress.StageEnded):
                self.append((type(event).__name__, event.stage))

    first, second, empty = (as_task(die, name, name + " {name}") for name in ("first", "second", "empty"))
    calls = {word: [Call({"notes": tmp_path, "name": f"{word}{i}", "num_deaths": 0}) for i in range(2)] for word in ("a", "b")}
    with progress.listening(notes := Notes()), make_runner("threads", 1) as workers:
        found = run_together(workers, [(first, calls["a"]), (empty, []), (second, calls["b"])])
    assert [[outcome.result for outcome in outcomes] for outcomes in found] == [["a0", "a1"], [], ["b0", "b1"]]
    stage = ["StageBegan", "Ended", "Ended", "StageEnded"]
    assert notes == [("StageBegan", "empty"), ("StageEnded", "empty"), *((what, name) for name in ("first", "second") for what in stage)]
