"""Wav2Lip's visual quality discriminator: does this lower half of a face look photographed or generated?"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wav2lip_core.blocks import PlainConvBlock, scaled


@dataclass(frozen=True)
class DiscriminatorConfig:
    """width 1.0 at face_size 96 is the published network."""

    width: float = 1.0
    face_size: int = 96


class QualityDiscriminator(nn.Module):
    """forward(faces (B, 3, T, S, S) in [0, 1], BGR) -> (T * B, 1) in (0, 1), time-major: the probability that each picture is real.

    Only the lower half of each picture is looked at. Source: Prajwal et al., ACM MM 2020 (arXiv 2008.10010), section 3.
    """

    def __init__(self, config: DiscriminatorConfig = DiscriminatorConfig()) -> None:
        super().__init__()
        if config.face_size % 32 or config.face_size <= 0:
            raise ValueError(f"face_size must be a multiple of 32, not {config.face_size}")
        self.config = config
        c = [scaled(n, config.width) for n in (32, 64, 128, 256, 512)]
        last = config.face_size // 32  # rows and columns before the closing convolution: 3 for 96 px

        def halving(c_in: int, c_out: int, kernel: int) -> nn.Sequential:
            return nn.Sequential(PlainConvBlock(c_in, c_out, kernel, 2, kernel // 2), PlainConvBlock(c_out, c_out, kernel, 1, kernel // 2))

        self.face_encoder_blocks = nn.ModuleList([
            nn.Sequential(PlainConvBlock(3, c[0], 7, 1, 3)),
            nn.Sequential(PlainConvBlock(c[0], c[1], 5, (1, 2), 2), PlainConvBlock(c[1], c[1], 5, 1, 2)),
            halving(c[1], c[2], 5), halving(c[2], c[3], 5), halving(c[3], c[4], 3), halving(c[4], c[4], 3),
            nn.Sequential(PlainConvBlock(c[4], c[4], last, 1, 0), PlainConvBlock(c[4], c[4], 1, 1, 0)),
        ])  # fmt: skip
        self.binary_pred = nn.Sequential(nn.Conv2d(c[4], 1, 1), nn.Sigmoid())

    def forward(self, faces: Tensor) -> Tensor:
        x = faces.transpose(1, 2).transpose(0, 1).flatten(0, 1)
        x = x[:, :, x.shape[2] // 2 :]
        for block in self.face_encoder_blocks:
            x = block(x)
        return torch.flatten(self.binary_pred(x), 1)
