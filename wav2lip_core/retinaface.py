"""RetinaFace (Deng et al., CVPR 2020), batched: MobileNet-0.25 or ResNet-50, pyramid, context modules, heads, decoding.

Attribute names are the published checkpoints' keys, so biubug6's and ternaus' files load as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wav2lip_core.anchors import STRIDES, Sides
from wav2lip_core.checkpoint import CheckpointError, read_state_dict


@dataclass(frozen=True)
class InputRange:
    """How a network wants its pixels: channel order, and (value - mean) / deviation on the 0..255 scale, in that order."""

    order: Literal["bgr", "rgb"]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


@dataclass(frozen=True)
class Variant:
    """What a published file leaves unsaid: its training's pixels, anchors, and slope of the activations below zero."""

    input_range: InputRange
    anchor_sides_px: Sides
    leak: float = 0.0


_CENTRED_BGR = InputRange("bgr", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
_IMAGENET_RGB = InputRange("rgb", (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))
_LARGE: Sides = ((16, 32), (64, 128), (256, 512))
FACE_DETECTOR_1MB = Variant(_CENTRED_BGR, ((10, 20), (32, 64), (128, 256)))  # biubug6/Face-Detector-1MB-with-landmark, MobileNet
PYTORCH_RETINAFACE_MOBILE = Variant(_CENTRED_BGR, _LARGE, leak=0.1)  # biubug6/Pytorch_Retinaface, MobileNet
PYTORCH_RETINAFACE_LARGE = Variant(_CENTRED_BGR, _LARGE)  # the same, ResNet-50
TERNAUS = Variant(_IMAGENET_RGB, _LARGE)  # ternaus/retinaface (PyPI retinaface-pytorch), ResNet-50


def _conv(num_in: int, num_out: int, size: int, stride: int = 1, leak: float | None = 0.0, groups: int = 1) -> nn.Sequential:
    """Convolution and batch norm; then a ReLU with the given slope below zero, unless `leak` is None."""
    layers = [nn.Conv2d(num_in, num_out, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(num_out)]
    return nn.Sequential(*layers) if leak is None else nn.Sequential(*layers, nn.LeakyReLU(leak))


def _depthwise(num_in: int, num_out: int, stride: int, leak: float) -> nn.Sequential:
    return nn.Sequential(*_conv(num_in, num_in, 3, stride, leak, groups=num_in), *_conv(num_in, num_out, 1, 1, leak))


class MobileNetQuarter(nn.Module):
    """MobileNet v1 at a quarter of its width; gives the features at strides 8, 16, 32."""

    num_channels = (64, 128, 256)

    def __init__(self, leak: float) -> None:
        super().__init__()
        shapes = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.stage1 = nn.Sequential(_conv(3, 8, 3, 2, leak), *(_depthwise(*shape, leak) for shape in shapes))
        self.stage2 = nn.Sequential(_depthwise(64, 128, 2, leak), *(_depthwise(128, 128, 1, leak) for _ in range(5)))
        self.stage3 = nn.Sequential(_depthwise(128, 256, 2, leak), _depthwise(256, 256, 1, leak))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage1(x)
        middle = self.stage2(fine)
        return fine, middle, self.stage3(middle)


class Bottleneck(nn.Module):
    """ResNet v1.5's block: 1x1, 3x3 (strided), 1x1, added to the input."""

    def __init__(self, num_in: int, num_inner: int, stride: int) -> None:
        super().__init__()
        num_out = 4 * num_inner
        self.conv1, self.bn1 = _conv(num_in, num_inner, 1, leak=None)
        self.conv2, self.bn2 = _conv(num_inner, num_inner, 3, stride, leak=None)
        self.conv3, self.bn3 = _conv(num_inner, num_out, 1, leak=None)
        self.downsample = _conv(num_in, num_out, 1, stride, leak=None) if stride != 1 or num_in != num_out else None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """ResNet-50 without its classifier; gives the features at strides 8, 16, 32."""

    num_channels = (512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(3, 64, 7, 2, leak=None)
        self.layer1 = self._layer(64, 64, 3, 1)
        self.layer2 = self._layer(256, 128, 4, 2)
        self.layer3 = self._layer(512, 256, 6, 2)
        self.layer4 = self._layer(1024, 512, 3, 2)

    @staticmethod
    def _layer(num_in: int, num_inner: int, num_blocks: int, stride: int) -> nn.Sequential:
        rest = (Bottleneck(4 * num_inner, num_inner, 1) for _ in range(num_blocks - 1))
        return nn.Sequential(Bottleneck(num_in, num_inner, stride), *rest)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        fine = self.layer2(self.layer1(x))
        middle = self.layer3(fine)
        return fine, middle, self.layer4(middle)


class FeaturePyramid(nn.Module):
    """Coarse features added to finer ones, all with the same number of channels."""

    def __init__(self, nums_in: Sequence[int], num_out: int, leak: float) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_conv(n, num_out, 1, leak=leak) for n in nums_in)
        self.merge1 = _conv(num_out, num_out, 3, leak=leak)
        self.merge2 = _conv(num_out, num_out, 3, leak=leak)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y3, y2, y1 = self.output3(coarse), self.output2(middle), self.output1(fine)
        y2 = self.merge2(y2 + functional.interpolate(y3, size=y2.shape[2:], mode="nearest"))
        y1 = self.merge1(y1 + functional.interpolate(y2, size=y1.shape[2:], mode="nearest"))
        return y1, y2, y3


class ContextModule(nn.Module):
    """SSH's context: views of 3x3, 5x5 and 7x7 side by side."""

    def __init__(self, num: int, leak: float) -> None:
        super().__init__()
        self.conv3X3 = _conv(num, num // 2, 3, leak=None)
        self.conv5X5_1 = _conv(num, num // 4, 3, leak=leak)
        self.conv5X5_2 = _conv(num // 4, num // 4, 3, leak=None)
        self.conv7X7_2 = _conv(num // 4, num // 4, 3, leak=leak)
        self.conv7x7_3 = _conv(num // 4, num // 4, 3, leak=None)  # the published key has this small x

    def forward(self, x: Tensor) -> Tensor:
        wide = self.conv5X5_1(x)
        return functional.relu(torch.cat([self.conv3X3(x), self.conv5X5_2(wide), self.conv7x7_3(self.conv7X7_2(wide))], dim=1))


class Head(nn.Module):
    """`num_values` numbers for each of the two anchors at each place."""

    def __init__(self, num_in: int, num_values: int) -> None:
        super().__init__()
        self.num_values = num_values
        self.conv1x1 = nn.Conv2d(num_in, 2 * num_values, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.num_values)


class RetinaFace(nn.Module):
    """Pictures float32 (N, 3, H, W) in the variant's input range -> box offsets (N, A, 4), class logits (N, A, 2), landmark offsets (N, A, 10)."""

    def __init__(self, body: MobileNetQuarter | ResNet50, num_features: int, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.body = body
        self.fpn = FeaturePyramid(body.num_channels, num_features, variant.leak)
        self.ssh1, self.ssh2, self.ssh3 = (ContextModule(num_features, variant.leak) for _ in STRIDES)
        self.ClassHead = nn.ModuleList(Head(num_features, 2) for _ in STRIDES)
        self.BboxHead = nn.ModuleList(Head(num_features, 4) for _ in STRIDES)
        self.LandmarkHead = nn.ModuleList(Head(num_features, 10) for _ in STRIDES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = [ssh(y) for ssh, y in zip((self.ssh1, self.ssh2, self.ssh3), self.fpn(*self.body(x)), strict=True)]
        boxes, logits, landmarks = (
            torch.cat([head(y) for head, y in zip(heads, levels, strict=True)], dim=1) for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, logits, landmarks


def mobilenet_retinaface(variant: Variant = FACE_DETECTOR_1MB) -> RetinaFace:
    """The small network, 0.43 M parameters."""
    return RetinaFace(MobileNetQuarter(variant.leak), 64, variant)


def resnet50_retinaface(variant: Variant = TERNAUS) -> RetinaFace:
    """The large network, 27.3 M parameters."""
    return RetinaFace(ResNet50(), 256, variant)


def prepare(pictures: np.ndarray, input_range: InputRange) -> Tensor:
    """uint8 (N, H, W, 3) BGR -> float32 (N, 3, H, W) as the network wants it."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()
    x = x if input_range.order == "bgr" else x.flip(1)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (input_range.mean, input_range.deviation))
    return (x - mean) / deviation


def load_retinaface(path: Path) -> RetinaFace:
    """The network in a published checkpoint, known by its keys, in eval mode. Raises CheckpointError."""
    return from_state_dict(read_state_dict(path), str(path))


def from_state_dict(state: Mapping[str, Tensor], source: str) -> RetinaFace:
    """The network that a published state dict belongs to, filled with it, in eval mode. Raises CheckpointError naming `source`.

    Published files differ in slope, anchors and input range without differing in a single key: the variant is taken whose
    activations agree best with the batch-norm statistics in the file.
    """
    if "body.stage1.0.0.weight" in state:
        variants = [mobilenet_retinaface(variant) for variant in (FACE_DETECTOR_1MB, PYTORCH_RETINAFACE_MOBILE)]
    elif "body.layer4.0.conv1.weight" in state:
        variants = [resnet50_retinaface(variant) for variant in (TERNAUS, PYTORCH_RETINAFACE_LARGE)]
    else:
        raise CheckpointError(f"{source} holds no RetinaFace network (MobileNet-0.25 or ResNet-50); its first key is {next(iter(state), None)!r}")
    for network in variants:
        _fill(network, state, source)
    return min(variants, key=_disagreement)


def _fill(network: RetinaFace, state: Mapping[str, Tensor], source: str) -> None:
    def counts_batches(key: str) -> bool:
        return key.endswith("num_batches_tracked")  # older files lack these

    missing = sorted(key for key in network.state_dict().keys() - state.keys() if not counts_batches(key))
    foreign = sorted(key for key in state.keys() - network.state_dict().keys() if not counts_batches(key))
    if missing or foreign:
        raise CheckpointError(f"{source} is not a whole RetinaFace network: missing {missing[:3]}, unknown {foreign[:3]}")
    try:
        network.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{source} is a RetinaFace network of another size: {error}") from error
    network.eval()


@torch.inference_mode()
def _disagreement(network: RetinaFace) -> float:
    """How far the network's batch norms, on pictures with natural statistics, are from the means they remember, in deviations."""
    distances: list[float] = []

    def note(norm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        z = (inputs[0].mean(dim=(0, 2, 3)) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        distances.append(float(z.square().mean().sqrt()))

    hooks = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    network(prepare(_natural_noise(), network.variant.input_range))
    for hook in hooks:
        hook.remove()
    return sum(distances) / len(distances)


def _natural_noise() -> np.ndarray:
    """Four 256x256 pictures, light and dark, whose spectra fall with frequency as photographs' do; always the same: uint8 (4, 256, 256, 3)."""
    size, rng = 256, np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    frequency[0, 0] = np.inf
    pictures = []
    for brightness, contrast in ((80, 40), (105, 65), (125, 50), (150, 35)):
        white = rng.standard_normal((4, size, size))
        smooth = np.fft.ifft2(np.fft.fft2(white) / frequency**1.4).real
        smooth /= smooth.std(axis=(1, 2), keepdims=True)
        tint = rng.normal(0, 8, (3, 1, 1))
        pictures.append(brightness + tint + contrast * (smooth[0] + 0.3 * smooth[1:]))  # mostly grey
    return np.clip(np.stack(pictures), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
