"""Runs under .venv-retinaface: what the PyPI package retinaface-pytorch answers for given weights and a picture.

Arguments: a .safetensors file of weights, a .npy picture (uint8 H×W×3 RGB), and the .npz to write.
"""

import os
import sys

# ruff: noqa: E402 - the order is the point
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it phones home

import numpy as np
import torch
from safetensors.torch import load_file

for operator in ("nms", "qnms"):  # torchvision has no build for this torch, and asks for its compiled operators while it is imported
    torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from retinaface.box_utils import decode, decode_landm
from retinaface.predict_single import Model
from retinaface.prior_box import priorbox
from retinaface.utils import tensor_from_rgb_image


@torch.no_grad()
def main(weights: str, picture: str, answer: str) -> None:
    """Each line is one that the package's own `predict_jsons` runs before it throws boxes away."""
    image = np.load(picture)
    height, width = image.shape[:2]
    model = Model(max_size=max(height, width))
    model.load_state_dict(load_file(weights))
    model.eval()
    pixels = tensor_from_rgb_image(model.transform(image=image)["image"]).unsqueeze(0)
    offsets, logits, landmark_offsets = model.model(pixels)
    priors = priorbox(min_sizes=[[16, 32], [64, 128], [256, 512]], steps=[8, 16, 32], clip=False, image_size=(height, width))
    boxes = decode(offsets[0], priors, model.variance) * torch.tensor([width, height] * 2)
    landmarks = decode_landm(landmark_offsets[0], priors, model.variance) * torch.tensor([width, height] * 5)
    scores = torch.softmax(logits, dim=-1)[0, :, 1]
    np.savez(answer, pixels=pixels[0], boxes=boxes, scores=scores, landmarks=landmarks.reshape(-1, 5, 2))


if __name__ == "__main__":
    main(*sys.argv[1:])
