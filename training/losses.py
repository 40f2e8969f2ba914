"""What the generator is trained towards: the true picture, weighted to the mouth, and the expert's opinion of blemished copies of its output."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wav2lip_core.face_crop import mouth_mask
from wav2lip_core.sync_expert import SyncExpert, stack_lower_half

EXPERT_SCALE = 15.0  # of cosine similarities in the sync loss
LOOK_LAYERS = (3, 7, 10)  # of the expert's face tower: after its blocks of 64, 128 and 256 channels (at width 1)
MAX_INPUT_GRADIENT = 2.0  # times its own mean size: no pixel of the expert's input may pull harder


def picture_weights(size: int, lower_half_weight: float) -> Tensor:
    """(S, S) weights of mean 1: upper half little, lower half much, the mouth twice as much."""
    weights = torch.full((size, size), 0.2)
    weights[size // 2 :] = lower_half_weight
    weights += lower_half_weight * torch.from_numpy(mouth_mask(size, size).copy())
    return weights / weights.mean()


def weighted_l1(made: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Mean |made - truth| over (..., S, S) with per-pixel weights (S, S)."""
    return ((made - truth).abs() * weights).mean()


def edge_l1(made: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Mean difference of the steps between neighbouring pixels, down and across, weighted (S, S): plain L1 averages edges away, this holds them."""
    difference = made - truth
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * weights[1:]
    across = (difference[..., 1:] - difference[..., :-1]).abs() * weights[:, 1:]
    return down.mean() + across.mean()


def beyond(made: Tensor, seen: Tensor) -> Tensor:
    """Mean distance of made (B, 3, T, S, S) from what is seen (B, 2, 3, S, S), the darkest and the brightest there: 0 where it lies between."""
    darkest, brightest = seen.unsqueeze(3).unbind(dim=1)
    return (F.relu(darkest - made) + F.relu(made - brightest)).mean()


class _ClipGradient(torch.autograd.Function):
    """The identity; backwards, single pixels are held to a few times the mean pull, so that no black speck pays."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        limit = MAX_INPUT_GRADIENT * gradient.abs().mean(dim=tuple(range(1, gradient.dim())), keepdim=True)
        return gradient.clamp(-limit, limit)


def blemish(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """Faces (B, 3, T, S, S), differentiably shifted, blurred, recoloured, noised and partly covered: new at every call, same for a clip's frames."""
    num_clips, _, num_frames, size, _ = faces.shape
    x = faces.transpose(1, 2).flatten(0, 1)
    theta = torch.eye(2, 3).repeat(num_clips, 1, 1)
    theta[:, :, 2] = torch.from_numpy(rng.normal(0, 0.04, (num_clips, 2))).float()
    theta[:, :, :2] += torch.from_numpy(rng.normal(0, 0.04, (num_clips, 2, 2))).float()
    grid = F.affine_grid(theta.repeat_interleave(num_frames, 0).to(x.device), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    sigma = float(rng.uniform(0.3, 1.5))
    taps = torch.exp(-0.5 * (torch.arange(-3, 4) / sigma) ** 2)
    kernel = (taps / taps.sum()).view(1, 1, -1, 1).repeat(3, 1, 1, 1).to(x.device)
    x = F.conv2d(F.conv2d(x, kernel, padding=(3, 0), groups=3), kernel.transpose(2, 3), padding=(0, 3), groups=3)
    gain = torch.from_numpy(np.exp(rng.normal(0, 0.15, (num_clips, 3, 1, 1)))).float().repeat_interleave(num_frames, 0).to(x.device)
    grain = torch.randn(num_clips, 1, *x.shape[1:], device=x.device).expand(-1, num_frames, -1, -1, -1).flatten(0, 1)
    x = (x * gain + grain * float(rng.uniform(0, 0.03))).clamp(0, 1)
    row, column = rng.integers(size // 2, size * 7 // 8), rng.integers(0, size * 7 // 8)
    keep = torch.ones(size, size, device=x.device)
    keep[row : row + size // 8, column : column + size // 8] = 0
    x = x * keep + 0.5 * (1 - keep)
    return x.unflatten(0, (num_clips, num_frames)).transpose(1, 2)


def expert_opinion(expert: SyncExpert, made: Tensor, truth: Tensor, mels: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """What a frozen expert says of generated mouths: (does it pick each clip's own sound?, how unlike the true mouths do they look to it?).

    made, truth (B, 3, 5, S, S), blemished alike; mels (B, A, 80, 16), the right one first; own (B,) bool: truth shows this sound. The first is a
    cross-entropy. The second is the mean relative distance over middle layers of the expert and of its embedding, where there is a truth: a
    speck that wins the first loses the second.
    """
    with torch.no_grad():
        audio = expert.embed_audio(mels.flatten(0, 1).unsqueeze(1)).float().unflatten(0, mels.shape[:2])
        wanted = _looks(expert, stack_lower_half(truth))
    seen = _looks(expert, stack_lower_half(_ClipGradient.apply(made)))
    logits = EXPERT_SCALE * torch.einsum("bd,bad->ba", seen[-1], audio)
    picked = F.cross_entropy(logits, torch.zeros(len(made), dtype=torch.long, device=logits.device))
    if not own.any():
        return picked, picked.new_zeros(())
    seen, wanted = [x[own] for x in seen], [x[own] for x in wanted]
    unlike = torch.stack([(a - b).abs().mean() / b.abs().mean() for a, b in zip(seen[:-1], wanted[:-1], strict=True)]).mean()
    return picked, unlike + (1 - (seen[-1] * wanted[-1]).sum(dim=1)).mean()


def _looks(expert: SyncExpert, stacked: Tensor) -> list[Tensor]:
    """Features of some middle layers of the expert's face tower, and the embedding."""
    looks, x = [], stacked
    for index, block in enumerate(expert.face_encoder):
        x = block(x)
        if index in LOOK_LAYERS:
            looks.append(x.float())
    return [*looks, F.normalize(x.float().flatten(1), dim=1)]
