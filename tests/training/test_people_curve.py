"""The curve over the number of people: nested sets, nobody both in training and aside, and what is finished is not trained again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.people_curve import people_curve, people_needed, split, view_of
from infra.errors import InputError
from tests.training.people import TINY_EXPERT
from training import shards
from training.processes import Machine

PEOPLE = [f"p{n}" for n in range(12)]


def test_folds_keep_other_people_aside_and_who_is_in_few_is_in_many() -> None:
    folds = [split(PEOPLE, 3, fold, 4) for fold in range(4)]
    assert sorted(person for aside, _ in folds for person in aside) == sorted(PEOPLE)
    for aside, order in folds:
        assert sorted([*aside, *order]) == sorted(PEOPLE)
    assert split(PEOPLE, 3, 0, 4) == folds[0]


def test_a_view_holds_the_people_asked_for_alone(data, tmp_path) -> None:
    view = view_of(data, ["ann", "dee"], tmp_path / "view")
    assert {entry.person for entry in shards.list_entries(view)} == {"ann", "dee"}
    wanted = {entry.key: entry.person for entry in shards.list_entries(view)}
    names = {entry.shard for entry in shards.list_entries(view)}
    assert {clip.person for name in names for clip in shards.read_shard(view, name, wanted)} == {"ann", "dee"}


def test_the_curve_is_measured_on_the_same_people_and_found_again(data, tmp_path, monkeypatch) -> None:
    machine = Machine(device="cpu", num_threads=1)
    recipe = replace(TINY_EXPERT, num_steps=1)
    found = people_curve(data, recipe, [1, 2], 2, 1, tmp_path, machine)
    one, two = found["runs"]
    assert set(one["asked"]["people"]) < set(two["asked"]["people"])
    assert one["asked"]["aside"] == two["asked"]["aside"]
    assert not set(two["asked"]["people"]) & set(two["asked"]["aside"])
    assert json.loads((tmp_path / "people_curve.json").read_text())["means"]["two_way_accuracy"]["1"] == one["figures"]["two_way_accuracy"]["value"]
    assert (tmp_path / "people_curve.png").read_bytes()[:4] == b"\x89PNG"
    card = json.loads((tmp_path / "fold-1" / "people-1" / "run" / "weights.json").read_text())
    assert card["run"]["people"] == one["asked"]["people"]
    monkeypatch.setattr("benchmarks.people_curve.train", None)  # whoever trains now fails
    assert people_curve(data, recipe, [1, 2], 2, 1, tmp_path, machine)["runs"] == found["runs"]


def test_more_people_than_there_are_is_an_error(data, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds 4 people; 3 to train on and 2 aside are more"):
        people_curve(data, TINY_EXPERT, [3], 2, 1, tmp_path, Machine(device="cpu"))


def test_how_many_people_it_takes_follows_the_line_and_is_unknown_where_people_do_not_help() -> None:
    halving = {3: 1 - 0.2, 6: 1 - 0.1}  # each doubling halves the error
    assert people_needed(halving, 0.95) == pytest.approx(12)
    assert people_needed({3: 0.8, 6: 0.8001}, 0.95) is None
    assert people_needed({3: 0.8, 6: 0.8}, 0.9) is None
    assert people_needed({3: 0.8}, 0.9) is None
