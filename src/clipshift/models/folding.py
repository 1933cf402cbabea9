"""The form of a network for deployment: parallel branches folded into one convolution each."""

from __future__ import annotations

from typing import cast

import torch
from timm.models import reparameterize_model

from clipshift.errors import WeightsError
from clipshift.models.backbones import fixed_size
from clipshift.models.recognizer import Recognizer

TOLERANCE = 1e-4
"""Largest allowed difference of the logits before and after folding, relative to the largest logit."""


def fold_branches(network: Recognizer) -> Recognizer:
    """A copy of a recognizer in its folded form; of networks without parallel branches, a plain copy.

    PP-LCNetV2 and others of timm (RepVGG, FastViT ...) train several convolutions with batch norms side by side, whose
    sum is one convolution in evaluation mode (Ding et al., "RepVGG", CVPR 2021, section 3.3).

    Args:
        network: Any recognizer; not changed.

    Returns:
        The copy, in evaluation mode. It cannot be trained on as the original can.

    Raises:
        WeightsError: The network gives no finite numbers, or the copy gives others: weights or batch norms are out of
            any sensible range.
    """
    folded = cast("Recognizer", reparameterize_model(network).eval())
    if next(network.parameters()).device.type != "meta":
        _check_same(network, folded)
    return folded


def _check_same(network: Recognizer, folded: Recognizer) -> None:
    where = next(network.parameters())
    random = torch.Generator().manual_seed(0)
    height, width = fixed_size(network.backbone) or (64, 64)
    clips_BTCHW = torch.randn(1, network.segments, 3, height, width, generator=random).to(where.device, where.dtype)
    training = network.training
    with torch.no_grad():
        expected, got = network.eval()(clips_BTCHW), folded(clips_BTCHW)
    network.train(training)
    if not expected.isfinite().all():
        raise WeightsError(
            "The network answers with infinity or not-a-number: its weights are broken.", where=network.model.backbone
        )
    error = float((got - expected).abs().max() / expected.abs().max())
    if not error <= TOLERANCE:
        raise WeightsError(
            "The folded network does not give the numbers of the trained one.",
            where=network.model.backbone,
            got=f"a relative difference of {error:.1e} in the logits",
            allowed=f"{TOLERANCE:.0e}",
        )
