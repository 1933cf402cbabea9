"""Image networks as PaddlePaddle publishes them, where they differ from timm's network of the same name.

ResNet-vd and PP-LCNetV2 are timm's `resnet50d`, `resnet101d` and `lcnetv2_base` to the last layer. The MobileNets are
not: their first block expands, too (by a factor of one), and MobileNetV3 has other squeeze-excitation layers and no
bias before its classifier (PaddleVideo's `pptsm_mobilenet_v2.py` and `pptsm_mobilenet_v3.py`).
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import _efficientnet_blocks as inverted
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn

PADDLE_BACKBONES = {
    "paddle_mobilenetv2_100": "mobilenetv2_100",
    "paddle_mobilenetv3_large_100": "mobilenetv3_large_100",
}
"""The network of timm that each begins as."""
PADDLE_WEIGHTS = {
    "paddle_mobilenetv2_100": "mobilenetv2-imagenet1k-ssld-paddle",
    "paddle_mobilenetv3_large_100": "mobilenetv3-imagenet1k-ssld-paddle",
}
"""The published ImageNet weights of each, by their name in the table."""


class PaddleHardSigmoid(nn.Module):
    """Paddle's hard sigmoid: x / 5 + 1/2, kept within [0, 1]; PyTorch's has x / 6 instead."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return torch.clamp(0.2 * x + 0.5, 0, 1)


def rebuild_as_paddle(backbone: nn.Module) -> None:
    """Turn timm's MobileNet into Paddle's, in place, with new initial weights from the global generator.

    Args:
        backbone: timm's network that [PADDLE_BACKBONES][clipshift.models.paddle_backbones.PADDLE_BACKBONES] names.
    """
    network: Any = backbone
    first = network.blocks[0][0]
    network.blocks[0][0] = inverted.InvertedResidual(
        first.conv_dw.in_channels,
        first.conv_pw.out_channels,
        stride=first.conv_dw.stride[0],
        exp_ratio=1.0,
        act_layer=type(first.bn1.act),
    )
    for block in backbone.modules():
        squeeze: Any = getattr(block, "se", None)
        if isinstance(squeeze, inverted.SqueezeExcite):
            channels = squeeze.conv_expand.out_channels
            # A quarter of the channels, not rounded to a multiple of eight as in timm.
            block.se = inverted.SqueezeExcite(channels, rd_channels=channels // 4, gate_layer=PaddleHardSigmoid)
    if isinstance(network.conv_head, nn.Conv2d):
        network.conv_head.bias = None
    efficientnet_init_weights(backbone)
