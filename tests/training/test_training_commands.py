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


def test_a_field_that_was_set_is_part_of_the_run_and_another_value_is_refused_on_resume(data, tmp_path) -> None:
    words = ("train", "smoke", "--data", data, "--out", tmp_path / "run", "--steps", "1", "--threads", "1", "--device", "cpu", "--json")
    first = dub(*words, "--set", "weight_decay=0.5", "--set", "objective=pairs")
    assert first.exit_code == 0, first.stderr
    card = json.loads(Path(json.loads(first.stdout)["weights"]).with_suffix(".json").read_text())
    assert (card["run"]["recipe"]["weight_decay"], card["run"]["recipe"]["objective"]) == (0.5, "pairs")
    assert len(card["run"]["recipe_digest"]) == len(card["run"]["data_digest"]) == len(card["run"]["run_digest"]) == 64
    other = dub(*words, "--set", "weight_decay=0.25", "--set", "objective=pairs")
    assert other.exit_code == 2
    assert "recipe.weight_decay was 0.5, now 0.25" in other.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "nonsense", "--data", ".", "--out", "x"), "no recipe named 'nonsense'"),
        (("train", "smoke", "--data", "empty", "--out", "x"), "holds no prepared clips"),
        (("train", "smoke", "--data", "empty", "--out", "x", "--start", "gone.safetensors"), "gone.safetensors does not exist"),
        (("train", "smoke", "--data", "empty", "--out", "x", "--set", "sync_weight=1"), "sync_weight is nothing that can be set in smoke"),
        (("train", "smoke", "--data", "empty", "--out", "x", "--set", "objective=guess"), "objective=guess: one of multiway, pairs is needed"),
        (("train", "smoke", "--data", "empty", "--out", "x", "--set", "learning_rate=nan"), "learning_rate=nan: a number from 0 on is needed"),
        (("train", "smoke", "--data", "empty", "--out", "x", "--set", "learning_rate"), "write FIELD=VALUE"),
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
