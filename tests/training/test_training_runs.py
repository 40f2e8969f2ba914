"""A training run survives being killed, a cut-short state, a full disk; and two processes are one."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infra.errors import InputError, TransientError
from tests.training.people import TINY_EXPERT, TINY_GENERATOR, write_shards
from training import recipes
from training.processes import Machine, World
from training.run_folder import RunFolder
from training.slice_norm import SliceNorm
from training.train import WEIGHTS, TrainResult, train
from training.train_generator import weights_at
from training.trainer import DivergedError
from wav2lip_core.checkpoint import load_generator, load_sync_expert, sha256_of

REPOSITORY = Path(__file__).parents[2]
ONE = Machine(device="cpu", num_threads=1)


class Killed(BaseException):
    """Stands for the end of a process: nothing may catch it."""


def rows_of(result: TrainResult) -> list[dict]:
    return RunFolder(result.log.parent).rows()


def run_with_kills(monkeypatch: pytest.MonkeyPatch, go, out: Path) -> tuple[TrainResult, int]:
    """Die just before and just after every save; start again each time. Returns the result and how often it died."""
    save, deaths = RunFolder.save, []

    def dying(self, step, tensors, facts) -> None:
        if ("before", step) not in deaths:
            deaths.append(("before", step))
            raise Killed
        save(self, step, tensors, facts)
        if ("after", step) not in deaths:
            deaths.append(("after", step))
            raise Killed

    monkeypatch.setattr(RunFolder, "save", dying)
    for _ in range(20):
        try:
            return go(out), len(deaths)
        except Killed:
            continue
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("recipe", [TINY_EXPERT, TINY_GENERATOR], ids=lambda recipe: recipe.name)
def test_killed_at_every_save_and_resumed_the_loss_curve_goes_on_as_if_nothing_had_happened(recipe, data, expert, tmp_path, monkeypatch) -> None:
    def go(out: Path) -> TrainResult:
        return train(recipe, data, out, experts=(expert,), machine=ONE)

    whole = go(tmp_path / "whole")
    broken, num_deaths = run_with_kills(monkeypatch, go, tmp_path / "broken")
    assert num_deaths == 2 * recipe.num_steps // recipe.save_every
    assert rows_of(broken) == rows_of(whole)  # bit for bit
    assert [row["step"] for row in rows_of(whole)] == list(range(1, recipe.num_steps + 1))
    load = load_sync_expert if recipe is TINY_EXPERT else load_generator
    for a, b in zip(load(broken.weights).state_dict().values(), load(whole.weights).state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_process_that_is_really_killed_leaves_a_folder_that_goes_on(data, tmp_path) -> None:
    recipe = replace(TINY_EXPERT, num_steps=4)
    whole = train(recipe, data, tmp_path / "whole", machine=ONE)
    script = f"""
import os, signal
from tests.training import people
from training import train, run_folder
from dataclasses import replace
from pathlib import Path
publish = run_folder.publish
def dying(temporary, target):
    if target.name.startswith("state-00000004"):
        os.kill(os.getpid(), signal.SIGKILL)
    publish(temporary, target)
run_folder.publish = dying
train.train(replace(people.TINY_EXPERT, num_steps=4), Path({str(data)!r}), Path({str(tmp_path / "broken")!r}), machine=train.Machine("cpu", 1, 1))
"""
    died = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
    assert died.returncode == -signal.SIGKILL, died.stderr
    left = sorted(path.name.split("-")[0] for path in (tmp_path / "broken").iterdir() if "~" not in path.name)
    assert left == [".lock", "log.jsonl", "run.json", "state"]
    assert rows_of(train(recipe, data, tmp_path / "broken", machine=ONE)) == rows_of(whole)
    assert not [path for path in (tmp_path / "broken").iterdir() if "~" in path.name]  # what the dead process left is swept up


@pytest.mark.parametrize("recipe", [TINY_EXPERT, pytest.param(TINY_GENERATOR, marks=pytest.mark.long)], ids=lambda recipe: recipe.name)
def test_two_processes_have_the_loss_curve_of_one_with_the_same_global_batch(recipe, data, expert, tmp_path) -> None:
    """Tolerance: sums are taken in another order, so relative 1e-4 after a few steps of single precision."""
    recipe = replace(recipe, num_steps=3, save_every=10)
    one = train(recipe, data, tmp_path / "one", experts=(expert,), machine=ONE)
    two = train(recipe, data, tmp_path / "two", experts=(expert,), machine=replace(ONE, num_processes=2))
    assert len(rows_of(one)) == len(rows_of(two)) == 3
    for a, b in zip(rows_of(one), rows_of(two), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    load = load_sync_expert if recipe.name == "smoke" else load_generator
    for a, b in zip(load(one.weights).state_dict().values(), load(two.weights).state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)  # running statistics of batch norm among them


def test_slices_one_after_another_leave_the_running_statistics_of_slices_side_by_side() -> None:
    torch.manual_seed(0)
    batches = torch.randn(3, 8, 4, 5, 5) * torch.tensor([1.0, 2.0, 5.0]).view(3, 1, 1, 1, 1)
    together, alone = torch.nn.BatchNorm2d(4), [torch.nn.BatchNorm2d(4) for _ in range(3)]
    norm = SliceNorm(together)
    norm.begin()
    for batch in batches:
        together(batch)
        norm.slice_done()
    norm.end(World(0, 1, torch.device("cpu")))
    for model, batch in zip(alone, batches, strict=True):
        model(batch)
    for name in ("running_mean", "running_var"):
        assert torch.allclose(getattr(together, name), torch.stack([getattr(model, name) for model in alone]).mean(0))
    assert together.num_batches_tracked == 1


def test_processes_that_cannot_share_the_slices_are_refused(data, tmp_path) -> None:
    with pytest.raises(InputError, match="3 processes cannot share 2 slices"):
        train(TINY_EXPERT, data, tmp_path, machine=replace(ONE, num_processes=3))


def test_another_recipe_on_the_same_folder_is_refused_and_says_what_differs(data, tmp_path) -> None:
    recipe = replace(TINY_EXPERT, num_steps=1)
    first = train(recipe, data, tmp_path, machine=ONE)
    digest = sha256_of(first.weights)
    with pytest.raises(InputError, match=r"recipe.learning_rate was 0.002, now 0.1"):
        train(replace(recipe, learning_rate=0.1), data, tmp_path, machine=ONE)
    with pytest.raises(InputError, match="without"):
        train(recipe, data, tmp_path, without=frozenset({"bob"}), machine=ONE)
    assert sha256_of(train(recipe, data, tmp_path, machine=ONE).weights) == digest  # asked for the same again: it is there


def test_a_state_that_was_cut_short_gives_way_to_the_one_before(data, tmp_path) -> None:
    recipe = replace(TINY_EXPERT, num_steps=4)
    whole = train(recipe, data, tmp_path, machine=ONE)
    before = rows_of(whole)
    (tmp_path / WEIGHTS).unlink()
    last = max(tmp_path.glob("state-*.safetensors"))
    assert last.name.startswith("state-00000004")
    last.write_bytes(last.read_bytes()[:-1000])
    assert RunFolder(tmp_path).load().step == 2
    assert rows_of(train(recipe, data, tmp_path, machine=ONE)) == before
    assert RunFolder(tmp_path).load().step == 4


def test_a_full_disk_leaves_the_state_before_intact(tiny_disk: Path) -> None:
    run = RunFolder(tiny_disk)
    run.save(1, {"x": torch.arange(10_000.0)}, {"seconds": 1.0})
    with pytest.raises(TransientError, match="Disk full while saving the run"):
        run.save(2, {"x": torch.zeros(100_000)}, {"seconds": 2.0})
    saved = run.load()
    assert saved is not None
    assert (saved.step, saved.facts) == (1, {"seconds": 1.0})
    assert torch.equal(saved.tensors["x"], torch.arange(10_000.0))
    assert [path.name for path in tiny_disk.iterdir()] == [next(tiny_disk.glob("state-00000001-*")).name]


def test_only_the_last_two_states_are_kept(tmp_path) -> None:
    run = RunFolder(tmp_path)
    for step in (1, 2, 3):
        run.save(step, {"x": torch.full((3,), float(step))}, {"seconds": 0.0})
    assert [path.name[:14] for path in sorted(tmp_path.glob("state-*"))] == ["state-00000002", "state-00000003"]


def test_two_trainings_in_one_folder_at_a_time_are_one_too_many(tmp_path) -> None:
    with RunFolder(tmp_path).held(), pytest.raises(InputError, match="Another training is running"), RunFolder(tmp_path).held():
        pass


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_nothing(data, tmp_path) -> None:
    recipe = replace(TINY_EXPERT, learning_rate=1e30, max_gradient=1e30, num_warmup_steps=0, save_every=1)
    with pytest.raises(DivergedError, match=r"Training failed at step \d+: .* no longer a number"):
        train(recipe, data, tmp_path, machine=ONE)
    assert not (tmp_path / WEIGHTS).exists()
    for state in RunFolder(tmp_path).load().tensors.values() if RunFolder(tmp_path).load() else []:
        assert not state.is_floating_point() or state.isfinite().all()


def test_the_sync_weight_follows_from_where_the_run_is_alone() -> None:
    recipe = replace(TINY_GENERATOR, sync_weight=0.03, sync_from=0.4, sync_ramp=0.2, gan_weight=0.07, gan_from=0.5)
    assert [weights_at(recipe, progress) for progress in (0.0, 0.39)] == [(0.0, 0.0)] * 2
    assert weights_at(recipe, 0.5) == pytest.approx((0.015, 0.07))
    assert [weights_at(recipe, progress) for progress in (0.61, 1.0)] == [(0.03, 0.07)] * 2


def test_the_true_sync_loss_is_in_the_log_before_it_has_any_weight_and_the_expert_stays_as_it_was(data, expert, tmp_path) -> None:
    digest = sha256_of(expert)
    recipe = replace(TINY_GENERATOR, num_steps=2, sync_from=1.0, gan_weight=0.0, discriminator=None, edge_weight=0.0, range_weight=0.0)
    result = train(recipe, data, tmp_path, experts=(expert,), machine=ONE)
    for row in rows_of(result):
        assert row["sync_weight"] == 0
        assert row["sync"] > 0.1
        assert row["loss"] == pytest.approx(row["l1"])  # all else is left out
    assert result.card.trained_by == (digest,)
    assert sha256_of(expert) == digest


def test_the_papers_paired_objective_trains_too(data, tmp_path) -> None:
    recipe = replace(TINY_EXPERT, objective="pairs", num_steps=2)
    rows = rows_of(train(recipe, data, tmp_path, machine=ONE))
    assert all(0 < row["loss"] < 20 and 0 <= row["right"] <= 1 and "scale" not in row for row in rows)


def test_people_kept_aside_are_measured_and_the_run_leaves_curves_strips_and_a_card(data, expert, tmp_path) -> None:
    recipe = replace(TINY_GENERATOR, num_steps=2, save_every=9, evaluate_every=2)
    result = train(recipe, data, tmp_path, experts=(expert,), without=frozenset({"dee"}), machine=ONE)
    row = rows_of(result)[-1]
    assert {"validation_loss", "validation_l1", "validation_sync"} <= row.keys()
    assert row["held_out"]["psnr_lower"]["value"] > 5
    for picture in ("curves.png", "strip-00000002.png"):
        assert (tmp_path / picture).read_bytes()[:4] == b"\x89PNG"
    assert result.card.run["people"] == ["ann", "bob", "cy"]
    assert result.card.run["without"] == ["dee"]
    assert result.card.attribution == "CC0"


def test_training_goes_on_from_weights_of_another_size_than_the_recipes(data, expert, tmp_path) -> None:
    first = train(replace(TINY_EXPERT, num_steps=1), data, tmp_path / "a", machine=ONE)
    wider = replace(recipes.expert_lite(), num_steps=1, num_clips=1, num_windows=3, num_distractors=2)
    second = train(wider, data, tmp_path / "b", start=first.weights, machine=ONE)
    assert second.card.parent == first.card.weights_sha256
    assert load_sync_expert(second.weights).config.width == 0.125


def test_a_wall_clock_ceiling_ends_the_run_early_with_the_rate_run_down(data, tmp_path) -> None:
    result = train(replace(TINY_EXPERT, num_steps=100_000, save_every=100_000, evaluate_every=100_000, max_minutes=0.04), data, tmp_path, machine=ONE)
    assert 0 < result.num_steps < 100_000
    assert len(rows_of(result)) == result.num_steps


def test_a_person_kept_aside_whose_clip_is_also_in_training_fails_the_run(tmp_path) -> None:
    folder = write_shards(tmp_path / "leaking", {"ann": [1], "bob": [2], "eve": [2]})
    with pytest.raises(InputError, match=r"kept aside for measuring are in training too: eve's eve/2.mp4 is bob's bob/2.mp4"):
        train(TINY_EXPERT, folder, tmp_path / "out", without=frozenset({"eve"}), machine=ONE)


def test_somebody_unknown_kept_aside_is_an_error_not_an_empty_measurement(data, tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds nobody called zoe\. It holds: ann, bob, cy, dee"):
        train(TINY_EXPERT, data, tmp_path, without=frozenset({"zoe"}), machine=ONE)


def test_an_unknown_recipe_names_the_known_ones(data, tmp_path) -> None:
    with pytest.raises(InputError, match=r"no recipe named 'big'. Known: expert_lite, expert_full, .*smoke"):
        train("big", data, tmp_path)


def test_every_recipe_is_frozen_named_after_its_function_and_unlike_the_others() -> None:
    for name, make in recipes.RECIPES.items():
        assert make().name == name
        with pytest.raises(AttributeError):
            make().seed = 2  # type: ignore[misc]
    asked_for = {"smoke", "expert_lite", "expert_full", "generator_lite", "generator_full", "generator_gan", "finetune_character"}
    assert asked_for <= recipes.RECIPES.keys()
    assert len({recipes.digest_of(make()) for make in recipes.RECIPES.values()}) == len(recipes.RECIPES)
