"""The sync expert on OpenVINO, for judging."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wav2lip_core.folding import folded
from wav2lip_core.mel import NUM_BANDS, WINDOW_COLUMNS
from wav2lip_core.openvino_graph import Layers
from wav2lip_core.openvino_network import OpenVinoNetwork, import_openvino
from wav2lip_core.sync_expert import NUM_FRAMES, SyncExpert, joint

BATCH = 8  # windows of one call: a shot's last ones are filled up to it


class OpenVinoExpert(SyncExpert):
    """Embeddings to within 0.005 in cosine of the expert's own, float32 in and out; see OpenVinoNetwork."""

    def __init__(self, model: SyncExpert, cache_folder: Path | None = None, num_at_once: int = 1) -> None:
        super().__init__(model.config)
        own, size = folded(model), model.config.face_size
        self._sees, self._hears = (
            OpenVinoNetwork(_drawn(own.towers(name), shape), cache_folder, num_at_once)
            for name, shape in (("face_encoder", (3 * NUM_FRAMES, size // 2, size)), ("audio_encoder", (1, NUM_BANDS, WINDOW_COLUMNS)))
        )
        del self.face_encoder, self.audio_encoder, self.others
        self.eval()

    def embed_audio(self, mel: Tensor) -> Tensor:
        return _embedded(self._hears, mel)

    def embed_face(self, face: Tensor) -> Tensor:
        return _embedded(self._sees, face)


def _drawn(towers: Iterable[nn.Module], shape: tuple[int, int, int]) -> object:
    """openvino.Model of a batch of this shape -> each tower's features. towers: with batch norm folded."""
    openvino = import_openvino()
    layers = Layers(openvino)
    seen = layers.ops.parameter([BATCH, *shape], np.float32, name="windows")
    return openvino.Model([layers.through(tower, seen) for tower in towers], [seen], "sync expert")


def _embedded(network: OpenVinoNetwork, windows: Tensor) -> Tensor:
    rows = []
    for first in range(0, len(windows), BATCH):
        batch = windows[first : first + BATCH].contiguous().numpy()
        lacking = BATCH - len(batch)
        features = network(np.pad(batch, [(0, lacking), (0, 0), (0, 0), (0, 0)]) if lacking else batch)
        rows.append(joint(torch.from_numpy(each[: len(batch)]) for each in features))
    return torch.cat(rows)
