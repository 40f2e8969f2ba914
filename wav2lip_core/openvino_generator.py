"""The lip generator on OpenVINO, an extra: close to what the processor can do in bf16 and int8, with no compiler and no memory asked for per call."""

import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from wav2lip_core.folding import folded
from wav2lip_core.generator import LipGenerator
from wav2lip_core.int8_ranges import input_ranges
from wav2lip_core.openvino_graph import Drawing
from wav2lip_core.precision import Precision, multiplies_bf16

_importing = threading.Lock()


class OpenVinoGenerator:
    """Call as a LipGenerator with single frames: always batch_size of them, float32 in and out. num_at_once calls
    from several threads are computed side by side, the others wait for their turn.

    precision: bf16, or int8, where what lies outside int8 (the first and the last convolution, sums, the blend) is bf16 and float32.
    cache_folder: where compiled networks are kept for the next process; None: nowhere. Raises ImportError without OpenVINO.
    """

    def __init__(self, model: LipGenerator, precision: Precision, batch_size: int, cache_folder: Path | None = None, num_at_once: int = 1) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        num_threads = torch.get_num_threads() * num_at_once
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": num_at_once, "INFERENCE_NUM_THREADS": num_threads}
        options["INFERENCE_PRECISION_HINT"] = "bf16" if multiplies_bf16() else "f32"
        if cache_folder is not None:
            cache_folder.mkdir(parents=True, exist_ok=True)
            options["CACHE_DIR"] = str(cache_folder)
        compiled = core.compile_model(draw(model, precision, batch_size), "CPU", options)
        self._idle = SimpleQueue[Any]()
        for _ in range(num_at_once):
            self._idle.put(compiled.create_infer_request())

    def __call__(self, mel: Tensor, face: Tensor) -> Tensor:
        request = self._idle.get()
        try:
            request.infer([mel.numpy(), face.contiguous().numpy()], share_inputs=True)
            return torch.from_numpy(request.get_output_tensor(0).data).clone()  # the next call writes there
        finally:
            self._idle.put(request)


def import_openvino() -> Any:
    """The package without its reports to the vendor: where openvino_telemetry is installed, importing openvino would send one."""
    with _importing:
        if "openvino" not in sys.modules:
            sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino  # pyright: ignore[reportMissingImports]

        return openvino


def draw(model: LipGenerator, precision: Precision, batch_size: int) -> Any:
    """The network for (mel (N, 1, 80, 16), face (N, 6, S, S)) as an openvino.Model with float32 ends and batch norm folded."""
    openvino = import_openvino()
    ranges = input_ranges(model) if precision == "int8" else {}
    return Drawing(openvino, folded(model), ranges).draw(batch_size)
