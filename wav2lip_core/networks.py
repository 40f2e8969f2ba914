"""The four networks by their tensors: which one a set of names belongs to, its config read off the shapes, and what does not fit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args, get_origin

import torch
from torch import nn

from wav2lip_core.container import CheckpointError
from wav2lip_core.discriminator import DiscriminatorConfig, QualityDiscriminator
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.model_card import Kind
from wav2lip_core.sync_expert import ExpertConfig, SyncExpert
from wav2lip_core.vgg_syncnet import VggSyncNet, VggSyncNetConfig

Shapes = Mapping[str, tuple[int, ...]]
COUNTER = "num_batches_tracked"  # batch norm's; absent in old files, unused in eval mode
MAX_WIDTH, MAX_FACE_SIZE = 8.0, 1024
_LIMITS: dict[Any, tuple[tuple[type, ...], float]] = {float: ((float, int), MAX_WIDTH), int: ((int,), MAX_FACE_SIZE)}  # by a config field's type
_NUM_SHOWN = 4


@dataclass(frozen=True)
class Network:
    """One architecture: how to build it, and how to know it by its tensors."""

    kind: Kind
    title: str  # for people
    build: Callable[[Any], nn.Module]
    config_type: type
    marks: tuple[str, ...]  # beginnings of names; a file with all of them is this network
    widest: tuple[str, int]  # a tensor, and its published first dimension: tells the width
    read_config: Callable[[Shapes, float], Any]  # from all shapes and the width


def _generator_config(shapes: Shapes, width: float) -> GeneratorConfig:
    num_blocks = len({name.split(".")[1] for name in shapes if name.startswith("face_encoder_blocks.")})
    bottom_size = shapes[f"face_encoder_blocks.{num_blocks - 1}.0.conv_block.0.weight"][-1]
    num_out = shapes["output_block.1.weight"][0]
    if num_blocks > 12:
        raise ValueError(f"{num_blocks} face encoder blocks")
    return GeneratorConfig(width, bottom_size * 2 ** (num_blocks - 2), "edit" if num_out == 4 else "colour")


def _expert_config(shapes: Shapes, width: float) -> ExpertConfig:
    others = {name.split(".")[1] for name in shapes if name.startswith("others.")}
    return ExpertConfig(width, 32 * shapes["face_encoder.15.conv_block.0.weight"][-1], 1 + len(others))


NETWORKS: dict[Kind, Network] = {
    network.kind: network
    for network in (
        Network(
            "generator", "lip generator (Wav2Lip)", LipGenerator, GeneratorConfig, ("face_decoder_blocks.", "output_block."),
            ("audio_encoder.12.conv_block.0.weight", 512), _generator_config,
        ),
        Network(
            "sync_expert", "colour sync expert (SyncNet_color)", SyncExpert, ExpertConfig, ("face_encoder.", "audio_encoder."),
            ("audio_encoder.13.conv_block.0.weight", 512),
            _expert_config,
        ),
        Network(
            "discriminator", "visual quality discriminator", QualityDiscriminator, DiscriminatorConfig, ("face_encoder_blocks.", "binary_pred."),
            ("face_encoder_blocks.6.1.conv_block.0.weight", 512),
            lambda shapes, width: DiscriminatorConfig(width, 32 * shapes["face_encoder_blocks.6.0.conv_block.0.weight"][-1]),
        ),
        Network(
            "vgg_syncnet", "original VGG SyncNet (syncnet_v2.model)", VggSyncNet, VggSyncNetConfig, ("netcnnaud.", "netcnnlip."),
            ("netfclip.3.weight", 1024), lambda shapes, width: VggSyncNetConfig(width),
        ),
    )
}  # fmt: skip
_STRANGERS = {
    "RetinaFace face detector": ("ClassHead.", "BboxHead."),
    "S3FD face detector": ("conv3_3_norm.", "fc6."),
}


def recognise_network(names: Iterable[str]) -> Network | None:
    """The network whose names these are, or None."""
    names = list(names)
    return next((network for network in NETWORKS.values() if _has_all(names, network.marks)), None)


def network_of(module: nn.Module) -> Network:
    """The network a module is an instance of. Raises ValueError for a module that is none of ours."""
    for network in NETWORKS.values():
        if type(module) is network.build:
            return network
    raise ValueError(f"{type(module).__name__} is not one of dubflow's networks")


def config_from_shapes(network: Network, shapes: Shapes) -> Any:
    """The config whose module has these shapes, as far as a file without a card tells. Raises CheckpointError if it tells nothing."""
    name, published = network.widest
    try:
        exact = shapes[name][0] / published
        # Channel counts are rounded, so several widths can share one; the roundest that fits every shape is the one that was meant.
        widths = [width for width in dict.fromkeys((round(exact, 1), round(exact, 2), exact)) if 0 < width <= MAX_WIDTH]
        candidates = [network.read_config(shapes, width) for width in widths]
        fitting = [config for config in candidates if differing_shapes(expected_shapes(network, config), shapes) == []]
        return (fitting or candidates)[0]
    except (KeyError, IndexError, ValueError, OverflowError) as error:
        raise CheckpointError(f"its tensors do not tell what {network.title} it is ({error})") from error


def config_from_card(network: Network, values: Mapping[str, object]) -> Any:
    """The config dataclass from a card's table. Raises CheckpointError for unknown fields and senseless values."""
    known = {field.name: field for field in fields(network.config_type)}
    for name, value in values.items():
        if name not in known:
            raise CheckpointError(f"its card has a config field {name!r} that this version's {network.title} does not know")
        wanted = known[name].type
        allowed = get_args(wanted) if get_origin(wanted) else None
        if not (value in allowed if allowed else _is_size(value, *_LIMITS[wanted])):
            raise CheckpointError(f"its card has config {name} = {value!r}, which makes no {network.title}")
    return network.config_type(**values)


def config_to_card(module: nn.Module) -> dict[str, int | float | str]:
    """A network's config as plain values."""
    return asdict(module.config)  # pyright: ignore[reportArgumentType, reportCallIssue]


def build_empty(network: Network, config: Any) -> nn.Module:
    """The network without memory for its weights (on torch's meta device). Raises CheckpointError if the config makes no network."""
    try:
        with torch.device("meta"):
            return network.build(config)
    except (ValueError, RuntimeError, OverflowError, IndexError) as error:
        raise CheckpointError(f"config {config} makes no {network.title}: {error}") from error


def expected_shapes(network: Network, config: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in build_empty(network, config).state_dict().items()}


def differing_shapes(expected: Shapes, found: Shapes) -> list[str]:
    """One line for each tensor both have, but in different shapes."""
    return [f"{name} has shape {found[name]}, not {shape}" for name, shape in expected.items() if name in found and found[name] != shape]


def explain_misfit(network: Network, expected: Shapes, found: Shapes) -> str | None:
    """None if every tensor is there in its shape, otherwise a sentence for people with the first differences."""
    missing = [name for name in expected if name not in found and not name.endswith(COUNTER)]
    unexpected = [name for name in found if name not in expected]
    if not missing and not unexpected:
        shapes = differing_shapes(expected, found)
        return f"is a {network.title} of another size: {_first(shapes, '; ')}" if shapes else None
    other = recognise_network(found)
    stranger = next((title for title, marks in _STRANGERS.items() if _has_all(found, marks)), None)
    if other and other is not network:
        what = f"holds a {other.title}, but a {network.title} was asked for"
    elif other:
        what = f"looks like a {network.title}, but not all of it fits"
    else:
        what = f"holds {'a ' + stranger if stranger else 'an unknown network'}, but a {network.title} was asked for"
    return f"{what} (missing: {_first(missing)}; unexpected: {_first(unexpected)})"


def _has_all(names: Iterable[str], marks: tuple[str, ...]) -> bool:
    names = list(names)
    return all(any(name.startswith(mark) for name in names) for mark in marks)


def _is_size(value: object, types: tuple[type, ...], maximum: float) -> bool:
    return type(value) in types and 0 < value <= maximum  # pyright: ignore[reportOperatorIssue]


def _first(items: list[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - _NUM_SHOWN} more" if len(items) > _NUM_SHOWN else ""
    return (separator.join(items[:_NUM_SHOWN]) or "none") + more
