"""The sync expert in bf16, for judging: the same embeddings to within 0.005 in cosine, at least four times as fast on a processor with AMX."""

from pathlib import Path

import torch
from torch import Tensor

from wav2lip_core.folding import folded
from wav2lip_core.openvino_expert import OpenVinoExpert
from wav2lip_core.precision import openvino_version
from wav2lip_core.sync_expert import SyncExpert, joint


def make_fast_expert(model: SyncExpert, cache_folder: Path | None = None, num_at_once: int = 1) -> SyncExpert:
    """A likeness of the model on OpenVINO where it is installed, which keeps what it compiled in cache_folder, else on torch; for as many threads."""
    return Bf16Expert(model) if openvino_version() is None else OpenVinoExpert(model, cache_folder, num_at_once)


class Bf16Expert(SyncExpert):
    """Batch norm folded, channels last, products in bf16 with sums in float32; embeddings are normalised in float32."""

    def __init__(self, model: SyncExpert) -> None:
        super().__init__(model.config)
        own = folded(model).to(dtype=torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.face_encoder, self.audio_encoder, self.others = own.face_encoder, own.audio_encoder, own.others
        self.eval()

    def embed_audio(self, mel: Tensor) -> Tensor:
        return joint(tower(_narrow(mel)).float() for tower in self.towers("audio_encoder"))

    def embed_face(self, face: Tensor) -> Tensor:
        return joint(tower(_narrow(face)).float() for tower in self.towers("face_encoder"))


def _narrow(x: Tensor) -> Tensor:
    return x.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
