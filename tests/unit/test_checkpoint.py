"""Weights come back from every published container and from our own, whole, as float32, with their card."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wav2lip_core import checkpoint
from wav2lip_core.checkpoint import (
    CheckpointError,
    ModelCard,
    describe,
    load_discriminator,
    load_generator,
    load_sync_expert,
    load_vgg_syncnet,
    read_card,
    read_state_dict,
    save_model,
    sha256_of,
)
from wav2lip_core.discriminator import DiscriminatorConfig, QualityDiscriminator
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.model_card import Kind
from wav2lip_core.sync_expert import ExpertConfig, SyncExpert
from wav2lip_core.vgg_syncnet import VggSyncNet, VggSyncNetConfig

TINY = 0.01
LOADERS = {"generator": load_generator, "sync_expert": load_sync_expert, "discriminator": load_discriminator, "vgg_syncnet": load_vgg_syncnet}
KINDS: list[Kind] = ["generator", "sync_expert", "discriminator", "vgg_syncnet"]


def make(kind: Kind, width: float = TINY) -> nn.Module:
    """A small network of a kind, with weights and batch statistics that are all different from a fresh one's."""
    networks = {
        "generator": lambda: LipGenerator(GeneratorConfig(width)),
        "sync_expert": lambda: SyncExpert(ExpertConfig(width)),
        "discriminator": lambda: QualityDiscriminator(DiscriminatorConfig(width)),
        "vgg_syncnet": lambda: VggSyncNet(VggSyncNetConfig(width)),
    }
    module = networks[kind]()
    generator = torch.Generator().manual_seed(3)
    for tensor in module.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module


def card_for(kind: Kind, **more) -> ModelCard:
    return ModelCard(name=f"tiny-{kind.replace('_', '-')}", kind=kind, data="drawn at random", licence="CC0-1.0", attribution="nobody", **more)


def same_weights(one: nn.Module, other: nn.Module, tolerance: float = 0.0) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.allclose(ours[name].float(), theirs[name].float(), rtol=tolerance, atol=0) for name in ours)


def without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_comes_back_with_its_weights_config_and_card(kind: Kind, tmp_path: Path) -> None:
    module = make(kind)
    card = save_model(tmp_path / "tiny.safetensors", module, card_for(kind, evaluation={"accuracy": 0.8, "on": ["s1", "s26_m"]}, parent="a" * 64))
    loaded = LOADERS[kind](tmp_path / "tiny.safetensors")
    assert same_weights(loaded, module)
    assert loaded.config == module.config
    assert not loaded.training
    assert card.config["width"] == TINY
    assert card.weights_sha256 == sha256_of(tmp_path / "tiny.safetensors")
    assert read_card(tmp_path / "tiny.safetensors") == card
    assert ModelCard.model_validate_json((tmp_path / "tiny.json").read_text()) == card
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.json", "tiny.safetensors"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_published_containers_load_with_prefixes_and_without_counters(kind: Kind, as_zip: bool, tmp_path: Path) -> None:
    module = make(kind)
    state = without_counters(module.state_dict())
    containers = {
        "bare": state,
        "wrapped": {"state_dict": state, "optimizer": None, "global_step": 258000, "global_epoch": 88},
        "prefixed": {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        "prefixed-inside": {"state_dict": {name.replace(".", ".module.", 1): tensor for name, tensor in state.items()}},
    }
    for name, content in containers.items():
        torch.save(content, tmp_path / f"{name}.pth", _use_new_zipfile_serialization=as_zip)
        loaded = LOADERS[kind](tmp_path / f"{name}.pth")
        assert loaded.state_dict().keys() == module.state_dict().keys()
        assert without_counters(loaded.state_dict()).keys() == state.keys()
        assert all(torch.equal(tensor, state[key]) for key, tensor in without_counters(loaded.state_dict()).items()), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [0.05, 0.125, 0.3, 0.5])
def test_the_width_of_a_file_without_a_card_is_read_off_its_shapes(kind: Kind, width: float, tmp_path: Path) -> None:
    module = make(kind, width)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "narrow.pth")
    assert same_weights(LOADERS[kind](tmp_path / "narrow.pth"), module)
    facts = describe(tmp_path / "narrow.pth")
    assert (facts.kind, facts.container, facts.card) == (kind, "torch zip", None)
    assert facts.config["width"] == pytest.approx(width, abs=0.005)
    assert facts.num_parameters == sum(parameter.numel() for parameter in module.parameters())
    assert facts.sha256 == hashlib.sha256((tmp_path / "narrow.pth").read_bytes()).hexdigest()


@pytest.mark.parametrize("config", [GeneratorConfig(TINY, 128), GeneratorConfig(TINY, 192), GeneratorConfig(TINY, 96, "edit")], ids=str)
def test_face_size_and_output_of_a_generator_are_read_off_its_shapes_too(config: GeneratorConfig, tmp_path: Path) -> None:
    torch.save(LipGenerator(config).state_dict(), tmp_path / "foreign.pth")
    assert load_generator(tmp_path / "foreign.pth").config == config


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_half_precision_files_are_half_the_size_and_load_as_float32(dtype: torch.dtype, tolerance: float, tmp_path: Path) -> None:
    module = make("discriminator", 0.1)
    save_model(tmp_path / "full.safetensors", module, card_for("discriminator"))
    save_model(tmp_path / "half.safetensors", module, card_for("discriminator"), dtype=dtype)
    loaded = load_discriminator(tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert same_weights(loaded, module, tolerance)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.52 * (tmp_path / "full.safetensors").stat().st_size


def test_safetensors_without_a_card_of_ours_load_by_their_names(tmp_path: Path) -> None:
    module = make("sync_expert")
    save_file({f"module.{name}": tensor.half() for name, tensor in without_counters(module.state_dict()).items()}, tmp_path / "foreign.safetensors")
    loaded = load_sync_expert(tmp_path / "foreign.safetensors")
    assert all(
        torch.allclose(tensor, module.state_dict()[name], rtol=1e-3)
        for name, tensor in loaded.state_dict().items()
        if not name.endswith("num_batches_tracked")
    )
    assert read_card(tmp_path / "foreign.safetensors") is None


def test_weights_without_their_json_carry_their_card_in_the_header(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    card = save_model(path, make("generator"), card_for("generator"))
    path.with_suffix(".json").unlink()
    assert read_card(path) == card
    assert load_generator(path).config == GeneratorConfig(TINY)


def test_people_may_complete_the_json_card(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    card = save_model(path, make("generator"), card_for("generator"))
    completed = card.model_copy(update={"evaluation": {"psnr_db": 31.5}})
    path.with_suffix(".json").write_text(completed.model_dump_json())
    assert read_card(path) == completed
    assert describe(path).card == completed


def test_a_hand_written_card_need_not_know_the_config(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(make("sync_expert").state_dict(), path)
    path.with_suffix(".json").write_text(card_for("sync_expert", weights_sha256=sha256_of(path)).model_dump_json())
    assert load_sync_expert(path).config == ExpertConfig(TINY)
    assert describe(path).card


def test_a_card_for_other_weights_is_refused(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        save_model(tmp_path / f"{name}.safetensors", QualityDiscriminator(DiscriminatorConfig(TINY)), card_for("discriminator"))
    (tmp_path / "one.json").replace(tmp_path / "two.json")
    with pytest.raises(CheckpointError, match=r"does not match two\.json"):
        load_discriminator(tmp_path / "two.safetensors")


def test_a_loaded_model_does_not_depend_on_its_file_any_more(tmp_path: Path) -> None:
    module = make("discriminator")
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    save_model(tmp_path / "weights.safetensors", module, card_for("discriminator"))
    for name in ("weights.pth", "weights.safetensors"):
        loaded = load_discriminator(tmp_path / name)
        with (tmp_path / name).open("r+b") as file:
            file.write(b"\xff" * (tmp_path / name).stat().st_size)
        assert same_weights(loaded, module), name


def test_generators_can_be_trained_further_and_the_vgg_judge_cannot(tmp_path: Path) -> None:
    torch.save(make("generator").state_dict(), tmp_path / "generator.pth")
    torch.save(make("vgg_syncnet").state_dict(), tmp_path / "vgg.pth")
    assert all(parameter.requires_grad for parameter in load_generator(tmp_path / "generator.pth").parameters())
    assert not any(parameter.requires_grad for parameter in load_vgg_syncnet(tmp_path / "vgg.pth").parameters())


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    module = make("discriminator")
    assert isinstance(module, QualityDiscriminator)
    bias = module.binary_pred[0].bias
    assert isinstance(bias, Tensor)
    bias.data.fill_(70000.0)  # too large for float16 alone
    save_model(tmp_path / "kept.safetensors", module, card_for("discriminator"))
    with pytest.raises(ValueError, match=r"binary_pred\.0\.bias holds NaN or infinity as torch\.float16"):
        save_model(tmp_path / "kept.safetensors", module, card_for("discriminator"), dtype=torch.float16)
    bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="nothing was saved"):
        save_model(tmp_path / "kept.safetensors", module, card_for("discriminator"))
    assert load_discriminator(tmp_path / "kept.safetensors").state_dict()["binary_pred.0.bias"] == 70000.0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_model_is_saved_only_under_its_own_kind_and_suffix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sync_expert"):
        save_model(tmp_path / "a.safetensors", make("generator"), card_for("sync_expert"))
    with pytest.raises(ValueError, match=r"NAME\.safetensors"):
        save_model(tmp_path / "a.pth", make("generator"), card_for("generator"))
    with pytest.raises(ValueError, match="Linear is not one of dubflow's networks"):
        save_model(tmp_path / "a.safetensors", nn.Linear(2, 2), card_for("generator"))
    assert not list(tmp_path.iterdir())


class Killed(BaseException):
    """Stands for a process that ends between two system calls: no clean-up runs."""


@pytest.mark.parametrize("num_calls_done", range(9))
def test_a_save_killed_at_any_step_leaves_the_old_or_the_new_model_and_never_a_wrong_pair(
    num_calls_done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    old, new = make("discriminator"), QualityDiscriminator(DiscriminatorConfig(TINY))
    save_model(path, old, card_for("discriminator", evaluation={"is": "old"}))
    calls: list[str] = []

    def killed_at(name: str, real):
        def call(*args, **kwargs):
            if len(calls) >= num_calls_done:
                raise Killed(name)
            calls.append(name)
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", killed_at("save", checkpoint.save_file))
        patched.setattr(checkpoint, "_to_disk", killed_at("fsync", checkpoint._to_disk))
        for name in ("write_text", "unlink", "replace"):
            patched.setattr(Path, name, killed_at(name, getattr(Path, name)))
        with pytest.raises(Killed):
            save_model(path, new, card_for("discriminator", evaluation={"is": "new"}))
    loaded, card = load_discriminator(path), read_card(path)
    assert card
    assert same_weights(loaded, old if card.evaluation == {"is": "old"} else new)
    assert calls == ["save", "write_text", "fsync", "fsync", "unlink", "replace", "replace", "fsync", "unlink"][:num_calls_done]


def test_tensors_by_name_are_given_to_networks_with_their_own_key_table(tmp_path: Path) -> None:
    content = {"module.body.weight": torch.rand(3, 2, dtype=torch.float64).T, "module.body.num_batches_tracked": torch.tensor(7)}
    torch.save(content, tmp_path / "detector.pth")
    state = read_state_dict(tmp_path / "detector.pth")
    assert state["body.weight"].dtype == torch.float32
    assert torch.equal(state["body.weight"], content["module.body.weight"].float())
    assert state["body.num_batches_tracked"] == 7


@pytest.mark.shared
def test_a_real_detector_s_file_is_read_and_refused_as_a_generator(shared: Path) -> None:
    path = shared / "weights/retinaface_mobilenet0.25.pth"
    assert len(read_state_dict(path)) == 300
    with pytest.raises(CheckpointError, match="RetinaFace face detector, but a lip generator"):
        load_generator(path)
