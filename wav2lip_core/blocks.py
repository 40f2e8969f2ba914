"""The two building blocks of Wav2Lip's networks, with the published parameter names."""

import torch
from torch import Tensor, nn

Size = int | tuple[int, int]


def scaled(channels: int, width: float) -> int:
    """Channel count at a width factor: whole multiples of 4, at least 4; width 1.0 gives the published number."""
    return channels if width == 1.0 else max(4, round(channels * width / 4) * 4)


class ConvBlock(nn.Module):
    """Convolution, batch norm, optional residual, ReLU: (N, C, H, W) -> (N, C', H', W'). The residual is added before the ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: Size, stride: Size = 1, padding: Size = 0, residual: bool = False) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, padding), nn.BatchNorm2d(c_out))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_block(x)
        return torch.relu(out + x if self.residual else out)


class UpBlock(nn.Module):
    """Transposed convolution, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, output_padding: int = 0) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.ConvTranspose2d(c_in, c_out, kernel, stride, padding, output_padding), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv_block(x))


class PlainConvBlock(nn.Module):
    """Convolution and leaky ReLU (slope 0.01), no norm: the discriminator's block."""

    def __init__(self, c_in: int, c_out: int, kernel: Size, stride: Size = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.conv_block(x), 0.01)


def audio_encoder(width: float, num_residuals_at_256: int) -> nn.Sequential:
    """Mel (N, 1, 80, 16) -> (N, 512 * width, 1, 1). The generator has one residual block at 256 channels, the expert two."""
    c = [scaled(n, width) for n in (32, 64, 128, 256, 512)]

    def same(channels: int) -> ConvBlock:
        return ConvBlock(channels, channels, 3, 1, 1, residual=True)

    return nn.Sequential(
        ConvBlock(1, c[0], 3, 1, 1), same(c[0]), same(c[0]),
        ConvBlock(c[0], c[1], 3, (3, 1), 1), same(c[1]), same(c[1]),
        ConvBlock(c[1], c[2], 3, 3, 1), same(c[2]), same(c[2]),
        ConvBlock(c[2], c[3], 3, (3, 2), 1), *(same(c[3]) for _ in range(num_residuals_at_256)),
        ConvBlock(c[3], c[4], 3, 1, 0), ConvBlock(c[4], c[4], 1, 1, 0),
    )  # fmt: skip
