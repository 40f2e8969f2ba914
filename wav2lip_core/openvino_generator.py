"""The lip generator on OpenVINO."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wav2lip_core.folding import folded
from wav2lip_core.generator import LipGenerator
from wav2lip_core.int8_ranges import input_ranges
from wav2lip_core.openvino_graph import Drawing
from wav2lip_core.openvino_network import OpenVinoNetwork, import_openvino
from wav2lip_core.precision import Precision


class OpenVinoGenerator:
    """Call as a LipGenerator with single frames: always batch_size of them, float32 in and out; see OpenVinoNetwork.

    precision: bf16, or int8, where what lies outside int8 (the first and the last convolution, sums, the blend) is bf16 and float32.
    """

    def __init__(self, model: LipGenerator, precision: Precision, batch_size: int, cache_folder: Path | None = None, num_at_once: int = 1) -> None:
        self._network = OpenVinoNetwork(draw(model, precision, batch_size), cache_folder, num_at_once)

    def __call__(self, mel: Tensor, face: Tensor) -> Tensor:
        return torch.from_numpy(self._network(mel.numpy(), face.contiguous().numpy())[0])


def draw(model: LipGenerator, precision: Precision, batch_size: int) -> Any:
    """The network for (mel (N, 1, 80, 16), face (N, 6, S, S)) as an openvino.Model with float32 ends and batch norm folded."""
    ranges = input_ranges(model) if precision == "int8" else {}
    return Drawing(import_openvino(), folded(model), ranges).draw(batch_size)
