"""The Wav2Lip generator: a face with its lower half hidden, a reference face and a fifth of a second of sound -> the speaking face."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from wav2lip_core.blocks import ConvBlock, UpBlock, audio_encoder, scaled


@dataclass(frozen=True)
class GeneratorConfig:
    """width 1.0 at face_size 96 with output "colour" is the published network.

    output "edit" lets the last layer give a colour and a mask: face = mask * colour + (1 - mask) * reference, so that eyes, skin and
    teeth of the reference stay sharp and only what has to change is painted. painted "mouth" lets the last, dear layers work in the mouth's
    window alone (everything else is the reference). reference says whose looks it was trained to take: the frame's own, as the published
    network in use, or a resting face from near by (wav2lip_core.reference). articulation: by how much an edit's change of the reference is
    exaggerated. Networks trained on few people move the mouths of others too little; the factor is chosen on people kept aside.
    """

    width: float = 1.0
    face_size: int = 96
    output: Literal["colour", "edit"] = "colour"
    painted: Literal["all", "mouth"] = "all"
    reference: Literal["same_frame", "resting"] = "same_frame"
    articulation: float = 1.0


WINDOW_LEVEL = 8  # the window is cut where a feature is 8 pixels wide
WINDOW_TOP, WINDOW_SIDE = 5 / 12, 1 / 12  # of the face: above and beside the mouth window; it reaches down to the chin
MASK_BIAS = -2.0  # an edit generator starts by keeping the reference


def _encoder(width: float, num_halvings: int, bottom_size: int) -> nn.ModuleList:
    c = [scaled(n, width) for n in (16, 32, 64, 128, 256, 512)]
    num_same = (2, 3, 2, 2, 1)
    blocks = [nn.Sequential(ConvBlock(6, c[0], 7, 1, 3))]
    for i in range(num_halvings):
        c_in, c_out = c[min(i, 5)], c[min(i + 1, 5)]
        same = (ConvBlock(c_out, c_out, 3, 1, 1, residual=True) for _ in range(num_same[min(i, 4)]))
        blocks.append(nn.Sequential(ConvBlock(c_in, c_out, 3, 2, 1), *same))
    blocks.append(nn.Sequential(ConvBlock(c[5], c[5], bottom_size, 1, 0), ConvBlock(c[5], c[5], 1, 1, 0)))
    return nn.ModuleList(blocks)


def _decoder(width: float, num_halvings: int, bottom_size: int) -> nn.ModuleList:
    skips = [scaled(n, width) for n in (16, 32, 64, 128, 256, 512)]
    bottom = scaled(512, width)
    out = [scaled(n, width) for n in (512, 384, 256, 128, 64)]
    out = [out[0]] * (num_halvings - 4) + out[1:] if num_halvings > 5 else out
    blocks = [nn.Sequential(ConvBlock(bottom, bottom, 1, 1, 0))]
    same = ConvBlock(bottom, bottom, 3, 1, 1, residual=True)
    blocks.append(nn.Sequential(UpBlock(2 * bottom, bottom, bottom_size, 1, 0), same))
    c_in = 2 * bottom
    for i, c_out in enumerate(out):
        pair = (ConvBlock(c_out, c_out, 3, 1, 1, residual=True) for _ in range(2))
        blocks.append(nn.Sequential(UpBlock(c_in, c_out, 3, 2, 1, 1), *pair))
        c_in = c_out + skips[min(num_halvings - 1 - i, 5)]
    return nn.ModuleList(blocks)


class LipGenerator(nn.Module):
    """forward(mel (N, 1, 80, 16) in [-4, 4], face (N, 6, S, S) in [0, 1]) -> (N, 3, S, S) in (0, 1), BGR.

    Face channels 0-2: the frame to be dubbed with its lower half set to 0; 3-5: a whole reference frame of the same person; BGR.
    Sequences: mel (B, T, 1, 80, 16), face (B, 6, T, S, S) -> (B, 3, T, S, S), folded time-major.
    Source: Prajwal et al., ACM MM 2020 (arXiv 2008.10010), section 3.
    """

    def __init__(self, config: GeneratorConfig = GeneratorConfig()) -> None:
        super().__init__()
        num_halvings = (config.face_size // 3).bit_length() - 1
        if config.face_size != 3 * 2**num_halvings and config.face_size != 4 * 2**num_halvings:
            raise ValueError(f"face_size must be 96, 128, 192, 256 or 384, not {config.face_size}")
        self.config = config
        bottom_size = config.face_size // 2**num_halvings
        self.face_encoder_blocks = _encoder(config.width, num_halvings, bottom_size)
        self.audio_encoder = audio_encoder(config.width, num_residuals_at_256=1)
        self.face_decoder_blocks = _decoder(config.width, num_halvings, bottom_size)
        last, hidden = scaled(64, config.width) + scaled(16, config.width), scaled(32, config.width)
        num_out = 3 if config.output == "colour" else 4
        self.output_block = nn.Sequential(ConvBlock(last, hidden, 3, 1, 1), nn.Conv2d(hidden, num_out, 1), nn.Sigmoid())
        if config.painted == "mouth" and config.output != "edit":
            raise ValueError('only an "edit" generator can paint the mouth alone')
        if config.articulation <= 0 or (config.articulation != 1 and config.output != "edit"):
            raise ValueError(f'articulation must be 1, or positive for an "edit" generator, not {config.articulation}')
        if config.output == "edit":
            bias = self.output_block[1].bias
            assert isinstance(bias, Tensor)
            nn.init.constant_(bias[3:], MASK_BIAS)

    def forward(self, mel: Tensor, face: Tensor) -> Tensor:
        if mel.dim() == 4:
            return self._frames(mel, face)
        num_clips, num_frames = mel.shape[:2]
        mel = mel.transpose(0, 1).flatten(0, 1)
        out = self._frames(mel, face.permute(2, 0, 1, 3, 4).flatten(0, 1))
        return out.unflatten(0, (num_frames, num_clips)).permute(1, 2, 0, 3, 4)

    def _frames(self, mel: Tensor, face: Tensor) -> Tensor:
        return self.paint(mel, face, face[:, 3:])

    def paint(self, mel: Tensor, face: Tensor, reference: Tensor) -> Tensor:
        """forward for single frames; what an edit keeps is taken from reference (N, 3, S, S), which may be finer in number than face."""
        skips, x = [], face
        for block in self.face_encoder_blocks:
            x = block(x)
            skips.append(x)
        x = self.audio_encoder(mel)
        for block in self.face_decoder_blocks:
            skip = skips.pop()
            if self.config.painted == "mouth" and skip.shape[-1] * WINDOW_LEVEL > self.config.face_size:
                skip = skip[:, :, *mouth_window(skip.shape[-1], self.config.face_size)]
            x = torch.cat([block(x), skip], dim=1)
            if self.config.painted == "mouth" and x.shape[-1] * WINDOW_LEVEL == self.config.face_size:
                x = x[:, :, *mouth_window(x.shape[-1], self.config.face_size)].contiguous(memory_format=torch.channels_last)
        out = self.output_block(x)
        if self.config.output == "colour":
            return out
        mask = out[:, 3:] if self.config.articulation == 1 else self.config.articulation * out[:, 3:]
        if self.config.painted == "all":
            return self._in_range(mask * out[:, :3] + (1 - mask) * reference)
        rows, columns = mouth_window(self.config.face_size, self.config.face_size)
        window = reference[:, :, rows, columns]
        return _pasted(reference, self._in_range(window + mask * (out[:, :3] - window)), rows, columns)

    def _in_range(self, face: Tensor) -> Tensor:
        return face if self.config.articulation <= 1 else face.clamp(0, 1)


def mouth_window(size: int, face_size: int) -> tuple[slice, slice]:
    """Rows and columns of the mouth's window in a feature `size` wide of a face `face_size` wide."""
    cells = face_size // WINDOW_LEVEL
    top, side, scale = int(cells * WINDOW_TOP), int(cells * WINDOW_SIDE), size // cells
    return slice(top * scale, size), slice(side * scale, size - side * scale)


def _pasted(whole: Tensor, part: Tensor, rows: slice, columns: slice) -> Tensor:
    """`whole` with `part` in those rows and columns."""
    size = whole.shape[-1]
    padded = torch.nn.functional.pad(part, (columns.start, size - columns.stop, rows.start, size - rows.stop))
    hole = torch.ones(size, size, dtype=whole.dtype, device=whole.device)
    hole[rows, columns] = 0
    return whole * hole + padded
