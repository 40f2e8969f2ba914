"""The colour sync expert (SyncNet of Wav2Lip): do these five mouths belong to this fifth of a second of sound?"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wav2lip_core.blocks import ConvBlock, audio_encoder, scaled

NUM_FRAMES = 5  # consecutive frames at 25 fps
MAX_MEMBERS = 16  # each is built before a file's weights are looked at: a file that claims thousands is refused at once


@dataclass(frozen=True)
class ExpertConfig:
    """width 1.0 with a single member is the published network. The face input is the lower half: face_size / 2 rows of face_size pixels.

    num_members: networks trained apart from each other whose opinions are averaged. They err on different people, so that together they know
    strangers better than any of them.
    """

    width: float = 1.0
    face_size: int = 96
    num_members: int = 1


def _face_encoder(width: float, face_size: int) -> nn.Sequential:
    c = [scaled(n, width) for n in (32, 64, 128, 256, 512)]

    def same(channels: int) -> ConvBlock:
        return ConvBlock(channels, channels, 3, 1, 1, residual=True)

    last = face_size // 32  # rows and columns before the closing convolution: 3 for 96 px
    return nn.Sequential(
        ConvBlock(3 * NUM_FRAMES, c[0], 7, 1, 3),
        ConvBlock(c[0], c[1], 5, (1, 2), 1), same(c[1]), same(c[1]),
        ConvBlock(c[1], c[2], 3, 2, 1), same(c[2]), same(c[2]), same(c[2]),
        ConvBlock(c[2], c[3], 3, 2, 1), same(c[3]), same(c[3]),
        ConvBlock(c[3], c[4], 3, 2, 1), same(c[4]), same(c[4]),
        ConvBlock(c[4], c[4], 3, 2, 1),
        ConvBlock(c[4], c[4], last, 1, 0), ConvBlock(c[4], c[4], 1, 1, 0),
    )  # fmt: skip


class SyncExpert(nn.Module):
    """forward(mel (N, 1, 80, 16), face (N, 15, 48, 96) in [0, 1], frame-major BGR) -> audio and face embeddings, each (N, D), L2 norm 1, >= 0.

    D is 512 * width for each member. The cosine of two joint embeddings is the mean of the members' own.
    Source: models of Prajwal et al., ACM MM 2020 (arXiv 2008.10010), section 3.
    """

    def __init__(self, config: ExpertConfig = ExpertConfig()) -> None:
        super().__init__()
        if config.face_size % 32:
            raise ValueError(f"face_size must be a multiple of 32, not {config.face_size}")
        if not 1 <= config.num_members <= MAX_MEMBERS:
            raise ValueError(f"an expert has 1 to {MAX_MEMBERS} members, not {config.num_members}")
        self.config = config
        self.face_encoder = _face_encoder(config.width, config.face_size)
        self.audio_encoder = audio_encoder(config.width, num_residuals_at_256=2)
        self.others = nn.ModuleList(SyncExpert(replace(config, num_members=1)) for _ in range(config.num_members - 1))

    @property
    def num_features(self) -> int:
        """D, the length of an embedding."""
        return self.config.num_members * scaled(512, self.config.width)

    def members(self) -> list["SyncExpert"]:
        """Each member by itself, on the same weights."""
        if self.config.num_members == 1:
            return [self]
        first = SyncExpert(replace(self.config, num_members=1))
        first.face_encoder, first.audio_encoder = self.face_encoder, self.audio_encoder
        return [first.train(self.training), *(other for other in self.others if isinstance(other, SyncExpert))]

    def embed_audio(self, mel: Tensor) -> Tensor:
        return joint(tower(mel) for tower in self.towers("audio_encoder"))

    def embed_face(self, face: Tensor) -> Tensor:
        return joint(tower(face) for tower in self.towers("face_encoder"))

    def towers(self, name: str) -> list[nn.Module]:
        """The members' networks of this name, face_encoder or audio_encoder."""
        return [member.get_submodule(name) for member in (self, *self.others)]

    def forward(self, mel: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_audio(mel), self.embed_face(face)


def joint(features: Iterable[Tensor]) -> Tensor:
    """The members' features (N, C, 1, 1) -> their directions side by side, (N, num_members * C), L2 norm 1."""
    directions = [F.normalize(each.flatten(1), dim=1) for each in features]
    return directions[0] if len(directions) == 1 else torch.cat(directions, dim=1) / len(directions) ** 0.5


def stack_lower_half(faces: Tensor) -> Tensor:
    """Faces (N, 3, 5, S, S) -> the expert's input (N, 15, S / 2, S): lower half, frame-major BGR."""
    lower = faces[..., faces.shape[-2] // 2 :, :]
    return torch.cat([lower[:, :, t] for t in range(lower.shape[2])], dim=1)
