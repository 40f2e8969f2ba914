"""`dub train`, `dub evaluate` and `dub data prepare` as a person or a script uses them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from infra.settings import get_settings
from tests.training.people import tiny_expert


def dub(*words: str | Path):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DUBFLOW_MODELS_FOLDER", str(tmp_path / "models"))
    get_settings.cache_clear()
    yield tmp_path / "models"
    get_settings.cache_clear()


def test_evaluate_prints_one_json_object_of_figures_and_keeps_them(data, tmp_path, models) -> None:
    weights = tiny_expert(tmp_path / "expert.safetensors")
    result = dub("evaluate", "expert", "--model", weights, "--data", data, "--bootstrap", "20", "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer.pop("status") == "done"
    assert {"two_way_accuracy", "offset_within_1_3s", "offset_within_1_1s"} <= answer.keys()
    assert all(figure.keys() == {"value", "low", "high"} for figure in answer.values())
    (kept,) = (models / "evaluations").iterdir()
    assert json.loads(kept.read_text())["figures"] == answer


def test_train_says_where_the_weights_are_and_the_same_command_finds_them_again(data, tmp_path) -> None:
    words = ("train", "smoke", "--data", data, "--out", tmp_path / "run", "--steps", "1", "--threads", "1", "--device", "cpu", "--json")
    first, again = dub(*words), dub(*words)
    assert first.exit_code == 0, first.stderr
    answer = json.loads(first.stdout)
    assert Path(answer["weights"]).is_file()
    assert answer["num_steps"] == 1
    assert json.loads(again.stdout) == answer


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "nonsense", "--data", ".", "--out", "x"), "no recipe named 'nonsense'"),
        (("train", "smoke", "--data", "empty", "--out", "x"), "holds no prepared clips"),
        (("train", "smoke", "--data", "empty", "--out", "x", "--start", "gone.safetensors"), "gone.safetensors does not exist"),
        (("evaluate", "expert", "--data", "empty", "--model", "unheard-of"), "no model named 'unheard-of'"),
        (("data", "prepare", "empty", "--out", "y", "--licence", "CC0", "--consent", "yes", "--expert", "none"), "holds no films"),
    ],
)
def test_what_is_wrong_with_the_input_is_said_with_exit_code_2(tmp_path, monkeypatch, words, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = dub(*words)
    assert result.exit_code == 2
    assert message in result.stderr
