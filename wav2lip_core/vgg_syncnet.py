"""The original SyncNet (VGG-M towers), whose distances are the published LSE-D and LSE-C. A judge: it is never trained here."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from wav2lip_core.blocks import scaled

NUM_FRAMES = 5  # consecutive frames at 25 fps
FRAME_SIZE = 224
NUM_MFCC, NUM_STEPS = 13, 20  # 200 ms in steps of 10 ms


@dataclass(frozen=True)
class VggSyncNetConfig:
    """width 1.0 is the published network."""

    width: float = 1.0


def _audio_tower(c64: int, c192: int, c384: int, c256: int, c512: int) -> nn.Sequential:
    def conv(c_in: int, c_out: int, kernel, padding: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(c_in, c_out, kernel, 1, padding), nn.BatchNorm2d(c_out), nn.ReLU()

    return nn.Sequential(
        *conv(1, c64, 3, 1), nn.Identity(),  # a 1 x 1 pool in the published network: holds its place in the numbering
        *conv(c64, c192, 3, 1), nn.MaxPool2d(3, (1, 2)),
        *conv(c192, c384, 3, 1), *conv(c384, c256, 3, 1), *conv(c256, c256, 3, 1), nn.MaxPool2d(3, 2),
        *conv(c256, c512, (5, 4), 0),
    )  # fmt: skip


def _lip_tower(c96: int, c256: int, c512: int) -> nn.Sequential:
    def conv(c_in: int, c_out: int, kernel: tuple[int, int, int], stride: int, padding: int) -> tuple[nn.Module, ...]:
        return nn.Conv3d(c_in, c_out, kernel, (1, stride, stride), (0, padding, padding)), nn.BatchNorm3d(c_out), nn.ReLU()

    def pool(padding: int) -> nn.Module:
        return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))

    return nn.Sequential(
        *conv(3, c96, (NUM_FRAMES, 7, 7), 2, 0), pool(0),
        *conv(c96, c256, (1, 5, 5), 2, 1), pool(1),
        *conv(c256, c256, (1, 3, 3), 1, 1), *conv(c256, c256, (1, 3, 3), 1, 1), *conv(c256, c256, (1, 3, 3), 1, 1), pool(0),
        *conv(c256, c512, (1, 6, 6), 1, 0),
    )  # fmt: skip


def _head(c512: int, c1024: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(c512, c512), nn.BatchNorm1d(c512), nn.ReLU(), nn.Linear(c512, c1024))


class VggSyncNet(nn.Module):
    """Two towers into one space of 1024 numbers, not normalised: distance small where lips and sound belong together.

    Source: Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV 2016 workshops; weights file syncnet_v2.model.
    """

    def __init__(self, config: VggSyncNetConfig = VggSyncNetConfig()) -> None:
        super().__init__()
        self.config = config
        c64, c96, c192, c256, c384, c512, c1024 = (scaled(n, config.width) for n in (64, 96, 192, 256, 384, 512, 1024))
        self.netcnnaud = _audio_tower(c64, c192, c384, c256, c512)
        self.netfcaud = _head(c512, c1024)
        self.netfclip = _head(c512, c1024)
        self.netcnnlip = _lip_tower(c96, c256, c512)

    def embed_audio(self, mfcc: Tensor | np.ndarray) -> Tensor:
        """MFCC windows (N, 1, 13, 20), any float type, rows as columns of wav2lip_core.mfcc -> float32 (N, 1024)."""
        x = _as_float32(mfcc, self._device())
        if x.dim() != 4 or x.shape[1:] != (1, NUM_MFCC, NUM_STEPS):
            raise ValueError(f"embed_audio wants MFCC of shape (N, 1, {NUM_MFCC}, {NUM_STEPS}), got {tuple(x.shape)}")
        return self.netfcaud(self.netcnnaud(x).flatten(1))

    def embed_lips(self, frames: Tensor | np.ndarray) -> Tensor:
        """Five consecutive frames (N, 3, 5, 224, 224), uint8 or float in 0..255, BGR, no mean taken off -> float32 (N, 1024)."""
        x = _as_float32(frames, self._device())
        if x.dim() != 5 or x.shape[1:] != (3, NUM_FRAMES, FRAME_SIZE, FRAME_SIZE):
            raise ValueError(f"embed_lips wants frames of shape (N, 3, {NUM_FRAMES}, {FRAME_SIZE}, {FRAME_SIZE}), got {tuple(x.shape)}")
        return self.netfclip(self.netcnnlip(x).flatten(1))

    def _device(self) -> torch.device:
        return next(self.parameters()).device


def _as_float32(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    return torch.as_tensor(values).to(device=device, dtype=torch.float32)
