"""A network on OpenVINO, an extra: close to what the processor can do in bf16 and int8, with no compiler and no memory asked for per call."""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch

from wav2lip_core.precision import multiplies_bf16

_importing = threading.Lock()


class OpenVinoNetwork:
    """Call with float32 arrays of the sizes that the model was drawn for. num_at_once calls from several threads are computed side by side, the
    others wait for their turn.

    Products in bf16 where the processor has them, but for what the model itself has in int8 or float32. model: an openvino.Model. cache_folder:
    where compiled networks are kept for the next process; None: nowhere. Raises ImportError without OpenVINO.
    """

    def __init__(self, model: Any, cache_folder: Path | None = None, num_at_once: int = 1) -> None:
        num_threads = torch.get_num_threads() * num_at_once
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": num_at_once, "INFERENCE_NUM_THREADS": num_threads}
        options["INFERENCE_PRECISION_HINT"] = "bf16" if multiplies_bf16() else "f32"
        if cache_folder is not None:
            cache_folder.mkdir(parents=True, exist_ok=True)
            options["CACHE_DIR"] = str(cache_folder)
        compiled = import_openvino().Core().compile_model(model, "CPU", options)
        self._num_outputs = len(compiled.outputs)
        self._idle = SimpleQueue[Any]()
        for _ in range(num_at_once):
            self._idle.put(compiled.create_infer_request())

    def __call__(self, *inputs: np.ndarray) -> Sequence[np.ndarray]:
        """Each output, float32, the caller's own."""
        request = self._idle.get()
        try:
            request.infer(list(inputs), share_inputs=True)
            return [request.get_output_tensor(index).data.copy() for index in range(self._num_outputs)]  # the next call writes there
        finally:
            self._idle.put(request)


def import_openvino() -> Any:
    """The package without its reports to the vendor: where openvino_telemetry is installed, importing openvino would send one."""
    with _importing:
        if "openvino" not in sys.modules:
            sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino  # pyright: ignore[reportMissingImports]

        return openvino
