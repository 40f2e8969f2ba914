"""Batch norm folded into the convolutions before it: the same function with less to do."""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from wav2lip_core.blocks import ConvBlock, UpBlock

Model = TypeVar("Model", bound=nn.Module)


def folded(model: Model) -> Model:
    """A copy in eval mode without batch norm, equal to the model up to float32 rounding."""
    own = copy.deepcopy(model).eval().requires_grad_(False)
    for block in own.modules():
        if not isinstance(block, (ConvBlock, UpBlock)):
            continue
        conv, norm = block.conv_block
        assert isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d))
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        transposed = isinstance(conv, nn.ConvTranspose2d)
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias, transpose=transposed
        )
        conv.weight, conv.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
        block.conv_block[1] = nn.Identity()
    return own
