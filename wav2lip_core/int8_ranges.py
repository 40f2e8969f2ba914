"""How large each convolution's input gets, told by batch norm's own weights alone, so that int8 needs no sample films.

Batch norm makes a channel normal with its weight as deviation and its bias as mean, on what it was trained on. What rectifying and adding
residuals do to a normal is known. Source: Nagel et al., Data-Free Quantization, ICCV 2019 (arXiv 1906.04721), section 4.2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wav2lip_core.blocks import ConvBlock, UpBlock
from wav2lip_core.generator import LipGenerator

DEVIATIONS = 32.0  # real faces are no normals: clipping at 6 costs 10 dB, and the coarser steps of 32 cost little (benchmarks.generator_speed)
KEPT = ("face_encoder_blocks.0.0.conv_block.0", "output_block.1")  # the first and the last convolution: little to gain, most to lose
MEL_RANGE = (-4.0, 4.0)
FACE_RANGE = (0.0, 1.0)


@dataclass(frozen=True)
class _Spread:
    """Mean and variance per channel (C,), and the range of the whole tensor."""

    mean: Tensor
    variance: Tensor
    low: float
    high: float


def input_ranges(model: LipGenerator) -> dict[str, tuple[float, float]]:
    """(low, high) of what goes into each convolution but those KEPT, by the convolution's name. The model must still have its batch norm."""
    names = {id(module): name for name, module in model.named_modules()}
    ranges: dict[str, tuple[float, float]] = {}

    def through(layers: nn.Module, x: _Spread) -> _Spread:
        for layer in layers.children() if isinstance(layers, nn.Sequential) else [layers]:
            conv = layer.conv_block[0] if isinstance(layer, (ConvBlock, UpBlock)) else layer
            ranges[names[id(conv)]] = (x.low, x.high)
            x = _after(layer, x) if layer is not conv else x
        return x

    skips, x = [], _flat(6, FACE_RANGE)
    for block in model.face_encoder_blocks:
        x = through(block, x)
        skips.append(x)
    x = through(model.audio_encoder, _flat(1, MEL_RANGE))
    for block in model.face_decoder_blocks:
        x = _joined(through(block, x), skips.pop())
    through(model.output_block[:2], x)
    return {name: limits for name, limits in ranges.items() if name not in KEPT}


def _flat(num_channels: int, limits: tuple[float, float]) -> _Spread:
    return _Spread(torch.zeros(num_channels), torch.zeros(num_channels), *limits)


def _after(layer: nn.Module, x: _Spread) -> _Spread:
    """What a block makes of it: normal by its batch norm, plus the residual, rectified."""
    assert isinstance(layer, (ConvBlock, UpBlock))
    norm = layer.conv_block[1]
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance = norm.bias.detach().double(), norm.weight.detach().double() ** 2
    if isinstance(layer, ConvBlock) and layer.residual:
        mean, variance = mean + x.mean, variance + x.variance
    deviation = variance.sqrt().clamp_min(1e-12)
    high = max(float((mean + DEVIATIONS * deviation).max()), 1e-6)
    return _Spread(*_rectified(mean, deviation), 0.0, high)


def _rectified(mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of max(0, normal)."""
    z = mean / deviation
    density, share = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi), (1 + torch.erf(z / math.sqrt(2))) / 2
    first = mean * share + deviation * density
    second = (mean**2 + deviation**2) * share + mean * deviation * density
    return first, (second - first**2).clamp_min(0)


def _joined(a: _Spread, b: _Spread) -> _Spread:
    return _Spread(torch.cat([a.mean, b.mean]), torch.cat([a.variance, b.variance]), min(a.low, b.low), max(a.high, b.high))
