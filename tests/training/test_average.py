"""A generator between two has their numbers in proportion, can be judged by nobody who trained either, and is refused where there is no between."""

from pathlib import Path

import pytest
import torch

from infra.errors import InputError
from tests.training.people import tiny_expert
from training.average import average
from training.lineage import refuse_partial_judge
from wav2lip_core.checkpoint import ModelCard, load_generator, save_model, sha256_of
from wav2lip_core.generator import GeneratorConfig, LipGenerator


def _generator(path: Path, seed: int, width: float = 0.125, articulation: float = 1.0, trained_by: tuple[str, ...] = ("1" * 64,)) -> Path:
    torch.manual_seed(seed)
    model = LipGenerator(GeneratorConfig(width=width, output="edit", painted="mouth", reference="resting", articulation=articulation))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    card = {"name": path.stem, "kind": "generator", "data": path.stem, "licence": "CC0", "attribution": "none", "trained_by": trained_by}
    save_model(path, model, ModelCard.model_validate(card))
    return path


def test_every_number_lies_in_proportion_between_the_two(tmp_path) -> None:
    start, end = (_generator(tmp_path / f"{seed}.safetensors", seed, articulation=1 + seed / 10) for seed in (1, 2))
    average(start, end, 0.75, tmp_path / "between.safetensors")
    a, b, between = (load_generator(path) for path in (start, end, tmp_path / "between.safetensors"))
    assert between.config == b.config
    average(start, end, 0.75, tmp_path / "gentle.safetensors", articulation=0.9)
    assert load_generator(tmp_path / "gentle.safetensors").config.articulation == 0.9
    numbers = [(a.state_dict()[name], b.state_dict()[name], mine) for name, mine in between.state_dict().items() if mine.is_floating_point()]
    assert max(float((one - other).abs().max()) for one, other, _ in numbers) > 0.1
    for one, other, mine in numbers:
        torch.testing.assert_close(mine, 0.25 * one + 0.75 * other)


def test_nobody_who_trained_either_may_judge_it_and_its_card_says_what_it_was_made_of(tmp_path) -> None:
    experts = [tiny_expert(tmp_path / f"e{seed}.safetensors", seed) for seed in (1, 2, 3)]
    start, end = (_generator(tmp_path / f"{n}.safetensors", n, trained_by=(sha256_of(experts[n]),)) for n in (0, 1))
    out = tmp_path / "between.safetensors"
    card = average(start, end, 0.6, out)
    for expert in experts[:2]:
        with pytest.raises(InputError, match="cannot judge"):
            refuse_partial_judge(out, expert)
    refuse_partial_judge(out, experts[2])
    assert card.run["averaged"] == {sha256_of(start): pytest.approx(0.4), sha256_of(end): 0.6}
    assert card.parent == sha256_of(end)
    assert card.evaluation == {}


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_out_of_range_is_refused(tmp_path, share) -> None:
    one = _generator(tmp_path / "one.safetensors", 1)
    with pytest.raises(InputError, match="between 0 and 1"):
        average(one, one, share, tmp_path / "out.safetensors")


def test_an_articulation_out_of_range_is_refused(tmp_path) -> None:
    one = _generator(tmp_path / "one.safetensors", 1)
    with pytest.raises(InputError, match="articulation must be"):
        average(one, one, 0.5, tmp_path / "out.safetensors", articulation=0.0)


def test_what_has_nothing_between_is_refused(tmp_path) -> None:
    small, large = _generator(tmp_path / "small.safetensors", 1), _generator(tmp_path / "large.safetensors", 1, width=0.25)
    nobody = _generator(tmp_path / "nobody.safetensors", 1, trained_by=())
    expert = tiny_expert(tmp_path / "expert.safetensors", 1)
    for other, said in (
        (large, "different size"),
        (nobody, "which experts trained it"),
        (expert, "cannot be averaged"),
        (tmp_path / "none", "cannot"),
    ):
        with pytest.raises(InputError, match=said):
            average(small, other, 0.5, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
