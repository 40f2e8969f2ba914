"""Weights in and out of files: the published checkpoints by key, our own safetensors with a card. Whatever the file, nothing in it is run."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from wav2lip_core import networks
from wav2lip_core.container import CheckpointError, Container, recognise, sha256_of
from wav2lip_core.discriminator import QualityDiscriminator
from wav2lip_core.generator import LipGenerator
from wav2lip_core.model_card import HEADER_ENTRY, Kind, ModelCard, card_of
from wav2lip_core.sync_expert import SyncExpert
from wav2lip_core.vgg_syncnet import VggSyncNet

__all__ = [
    "CheckpointError", "Facts", "ModelCard", "describe", "load_discriminator", "load_generator", "load_sync_expert", "load_vgg_syncnet",
    "read_card", "read_state_dict", "save_model", "sha256_of",
]  # fmt: skip
StrPath = str | os.PathLike[str]

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_SAVED_FLOATS = _FLOATS[:3]


@dataclass(frozen=True)
class Facts:
    """What a weights file was found to be, after every check that loading makes."""

    path: str
    container: Container
    kind: Kind
    title: str  # the network's name for people
    config: dict[str, int | float | str]
    num_parameters: int
    num_bytes: int
    sha256: str
    card: ModelCard | None


def load_generator(path: StrPath) -> LipGenerator:
    """A Wav2Lip generator from wav2lip.pth, wav2lip_gan.pth or our own safetensors: float32, on the CPU, in eval mode.

    The four load_* functions take a torch.save file (a bare dict of tensors, or one under `state_dict`; `module.` anywhere in the names
    and missing batch counters are fine) or safetensors (half precision is widened). The width is read off the shapes or the card.
    They raise CheckpointError, a ValueError, with a message for people where the file is anything else, and run nothing from it.
    """
    return cast(LipGenerator, _load(Path(path), "generator")[0])


def load_sync_expert(path: StrPath) -> SyncExpert:
    """A colour sync expert from lipsync_expert.pth or our own safetensors; see load_generator."""
    return cast(SyncExpert, _load(Path(path), "sync_expert")[0])


def load_discriminator(path: StrPath) -> QualityDiscriminator:
    """A visual quality discriminator from visual_quality_disc.pth or our own safetensors; see load_generator."""
    return cast(QualityDiscriminator, _load(Path(path), "discriminator")[0])


def load_vgg_syncnet(path: StrPath) -> VggSyncNet:
    """The original SyncNet from syncnet_v2.model, without gradients for its weights: it is a judge; see load_generator."""
    return cast(VggSyncNet, _load(Path(path), "vgg_syncnet")[0].requires_grad_(False))


def describe(path: StrPath) -> Facts:
    """Load a file of any of the four kinds and say what it is. Raises CheckpointError as loading it would."""
    path = Path(path)
    module, container, card = _load(path, None)
    network = networks.network_of(module)
    return Facts(
        path=str(path),
        container=container,
        kind=network.kind,
        title=network.title,
        config=networks.config_to_card(module),
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        num_bytes=path.stat().st_size,
        sha256=card.weights_sha256 if card else sha256_of(path),
        card=card,
    )


def read_state_dict(path: StrPath) -> dict[str, Tensor]:
    """Tensors by name from any weights file, in own memory on the CPU: floats as float32, all finite; names without `module.`.

    For networks that bring their own key table (face detectors). Raises CheckpointError, as load_generator does.
    """
    path = Path(path)
    return _tensors(path, recognise(path))


def read_card(path: StrPath) -> ModelCard | None:
    """The card of a safetensors file, from NAME.json beside it or else from its header; None where it has neither.

    Raises CheckpointError if a card is damaged, or if it was written for other weights.
    """
    path = Path(path)
    return card_of(path) if recognise(path) == "safetensors" else None


def save_model(path: StrPath, module: nn.Module, card: ModelCard, dtype: torch.dtype = torch.float32) -> ModelCard:
    """Write NAME.safetensors and NAME.json; return the card with digest and config filled in.

    Both appear whole or not at all, and at no moment does a card stand beside weights that are not its own: the old card goes first,
    and weights without one carry it in their header. dtype float16 or bfloat16 halves the file. Raises ValueError for weights that are
    not finite (in that dtype), a card of another kind of network, or another suffix; OSError where the disk fails.
    """
    path = Path(path)
    network = networks.network_of(module)
    if path.suffix != ".safetensors" or card.kind != network.kind or dtype not in _SAVED_FLOATS:
        raise ValueError(
            f"a {network.kind} is saved as NAME.safetensors with its own kind of card, in half or float32: got {path}, {card.kind}, {dtype}"
        )
    card = card.model_copy(update={"config": networks.config_to_card(module), "weights_sha256": ""})
    tensors = {name: _saved(name, tensor, dtype) for name, tensor in module.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    card_temporary = temporary.with_suffix(".json.tmp")
    try:
        save_file(tensors, temporary, {"format": "pt", HEADER_ENTRY: card.model_dump_json(exclude={"weights_sha256"})})
        card = card.model_copy(update={"weights_sha256": sha256_of(temporary)})
        card_temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _to_disk(temporary)
        _to_disk(card_temporary)
        path.with_suffix(".json").unlink(missing_ok=True)
        temporary.replace(path)
        card_temporary.replace(path.with_suffix(".json"))
        _to_disk(path.parent)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
        card_temporary.unlink(missing_ok=True)
    return card


def _load(path: Path, kind: Kind | None) -> tuple[nn.Module, Container, ModelCard | None]:
    container = recognise(path)
    card = card_of(path) if container == "safetensors" else None
    tensors = _tensors(path, container)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    network = networks.NETWORKS[kind] if kind else networks.recognise_network(shapes)
    if network is None:
        first = ", ".join(list(shapes)[:4]) or "none at all"
        raise CheckpointError(f"{path} holds an unknown network, none of dubflow's; its first tensors: {first}")
    module = _fitting(path, network, shapes, card)
    for name, tensor in module.state_dict().items():
        if name.endswith(networks.COUNTER):
            tensors[name] = tensors.get(name, torch.zeros((), dtype=torch.int64)).to(torch.int64)
        elif tensors[name].dtype != tensor.dtype:
            raise CheckpointError(f"{path} has {name} as {tensors[name].dtype}; weights are floats")
    module.load_state_dict(tensors, assign=True)
    return module.eval(), container, card


def _fitting(path: Path, network: networks.Network, shapes: networks.Shapes, card: ModelCard | None) -> nn.Module:
    """The network these tensors fill exactly, still without memory."""
    try:
        if networks.recognise_network(shapes) is not network:
            misfit = networks.explain_misfit(network, networks.expected_shapes(network, network.config_type()), shapes)
            raise CheckpointError(f"it {misfit}")
        if card and card.kind != network.kind:
            raise CheckpointError(f"its card says {card.kind}, its tensors are a {network.title}")
        config = networks.config_from_card(network, card.config) if card and card.config else networks.config_from_shapes(network, shapes)
        misfit = networks.explain_misfit(network, networks.expected_shapes(network, config), shapes)
        if misfit:
            raise CheckpointError(f"it {misfit}")
        return networks.build_empty(network, config)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error


def _tensors(path: Path, container: Container) -> dict[str, Tensor]:
    raw = _read_safetensors(path) if container == "safetensors" else _read_torch(path, container)
    total = sum(tensor.numel() * tensor.element_size() for tensor in raw.values())
    if total > path.stat().st_size:  # an expanded or shared storage: a few bytes posing as gigabytes
        raise CheckpointError(f"{path} unfolds to {total} bytes of weights, more than the file has")
    tensors: dict[str, Tensor] = {}
    for name, tensor in raw.items():
        clean = name.replace("module.", "")  # DataParallel's prefix, at any depth
        if clean in tensors:
            raise CheckpointError(f"{path} has two tensors named {clean} once 'module.' is taken off")
        tensors[clean] = _owned(path, name, tensor)
    return tensors


def _owned(path: Path, name: str, tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype not in _FLOATS):
        raise CheckpointError(f"{path} has {name} as {tensor.layout} {tensor.dtype}; weights are plain floats of 16, 32 or 64 bits")
    if not tensor.is_floating_point():
        return tensor.detach().clone(memory_format=torch.contiguous_format)
    owned = tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    if not _all_finite(owned):
        raise CheckpointError(f"{path} has NaN or infinity in {name}: the training that wrote it had failed")
    return owned


def _read_torch(path: Path, container: Container) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":  # torch.load goes by the name
        raise CheckpointError(f"{path} is named safetensors but is a torch.save file. Rename it to .pth")
    try:
        # Mapped, so that storages are slices checked against the file's end, and an optimiser's state is never read.
        content = torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=container == "torch zip")
    except Exception as error:  # whatever the unpickler stumbles over in a damaged or hostile stream
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {str(error)[:200]}. Download it again") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not tensors by name")
    strangers = [str(name)[:60] for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if strangers:
        raise CheckpointError(f"{path} holds neither tensors by name nor a 'state_dict': {', '.join(strangers[:6])} are no tensors")
    return content


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged safetensors: {error}. Download it again") from error


def _all_finite(tensor: Tensor) -> bool:
    """By the extremes, which NaN passes through: no temporary array of the tensor's size."""
    return not tensor.numel() or all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(tensor))


def _saved(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu()
    saved: Any = tensor.to(dtype) if tensor.is_floating_point() else tensor
    if saved.is_floating_point() and not _all_finite(saved):
        raise ValueError(f"{name} holds NaN or infinity as {dtype}: nothing was saved")
    return saved.contiguous().clone()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
