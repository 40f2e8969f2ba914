"""The lip generator in less than float32, on what this machine has for it. What comes out is float32 and within a fraction of a grey level."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from wav2lip_core.folding import folded
from wav2lip_core.generator import LipGenerator
from wav2lip_core.openvino_generator import OpenVinoGenerator
from wav2lip_core.precision import Precision, openvino_version, pick_precision

Painter = Callable[[Tensor, Tensor], Tensor]  # mel (N, 1, 80, 16), face (N, 6, S, S) -> (N, 3, S, S), float32


def make_painter(
    model: LipGenerator, precision: Precision, batch_size: int, device: str = "cpu", cache_folder: Path | None = None, num_at_once: int = 1
) -> Painter:
    """The model itself for float32, else a fast likeness of it, for batches of exactly batch_size, from as many threads at a time.

    On the processor OpenVINO computes where it is installed, and keeps what it compiled in cache_folder; else, and on CUDA, torch does.
    Raises PrecisionError where int8 cannot be had.
    """
    if pick_precision(precision, device) == "float32":
        return model
    if device == "cpu" and openvino_version() is not None:
        return OpenVinoGenerator(model, precision, batch_size, cache_folder, num_at_once)
    return Bf16Generator(model).to(device)


class Bf16Generator(nn.Module):
    """Batch norm folded, channels last, products in bf16 with sums in float32. forward as LipGenerator's, for single frames.

    The last 1x1 convolution, the sigmoid and the blend with the reference are in float32: bf16 does not tell half grey levels apart.
    """

    def __init__(self, model: LipGenerator) -> None:
        super().__init__()
        own = folded(model)
        self.body = folded(model).to(dtype=torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.body.output_block = nn.Sequential(self.body.output_block[0], _InFloat32(own.output_block[1]), own.output_block[2])

    def forward(self, mel: Tensor, face: Tensor) -> Tensor:
        narrow = face.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
        return self.body.paint(mel.to(torch.bfloat16), narrow, reference=face[:, 3:])


class _InFloat32(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.float())
