"""From a detection network's numbers to boxes: RetinaFace's anchors, decoding and non-maximum suppression, all whole-array."""

from functools import lru_cache

import torch
from torch import Tensor

STRIDES = (8, 16, 32)
Sides = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # of the two square anchors at each place, px, per stride
VARIANCES = (0.1, 0.2)  # of offsets (centre, landmarks) and of log sizes


@lru_cache(maxsize=32)
def anchors(height: int, width: int, sides_px: Sides) -> Tensor:
    """Anchors of a picture's size: float32 (A, 4) as centre x, centre y, width, height in pixels; by stride, row, column, side."""
    levels = []
    for stride, sides in zip(STRIDES, sides_px, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, side = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, torch.tensor(sides).float(), indexing="ij")
        levels.append(torch.stack([x * stride, y * stride, side, side], dim=-1).reshape(-1, 4))
    return torch.cat(levels)


def decode_boxes(offsets: Tensor, priors: Tensor) -> Tensor:
    """Box offsets (..., A, 4) at anchors (A, 4) -> XYXY in pixels."""
    centres = priors[:, :2] + offsets[..., :2] * VARIANCES[0] * priors[:, 2:]
    half = priors[:, 2:] * torch.exp(offsets[..., 2:] * VARIANCES[1]) / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def decode_landmarks(offsets: Tensor, priors: Tensor) -> Tensor:
    """Landmark offsets (..., A, 10) at anchors (A, 4) -> (..., A, 5, 2) xy in pixels."""
    return priors[:, None, :2] + offsets.unflatten(-1, (5, 2)) * VARIANCES[0] * priors[:, None, 2:]


def nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Indices (int64) of the boxes (n, 4 XYXY) kept by greedy non-maximum suppression, best first.

    Whole-matrix: a box stays while no better box that stays overlaps it; repeated until nothing changes, which is the greedy answer.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    sorted_boxes = boxes[order]
    area = (sorted_boxes[:, 2:] - sorted_boxes[:, :2]).clamp(min=0).prod(dim=1)
    top_left = torch.maximum(sorted_boxes[:, None, :2], sorted_boxes[None, :, :2])
    bottom_right = torch.minimum(sorted_boxes[:, None, 2:], sorted_boxes[None, :, 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    beats = torch.triu(overlap > iou * (area[:, None] + area[None, :] - overlap), diagonal=1)  # [better, worse]
    stays = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    while True:
        now = ~(beats & stays[:, None]).any(dim=0)
        if torch.equal(now, stays):
            return order[stays]
        stays = now
