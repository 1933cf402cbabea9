"""The loss, and mixup, which belongs to it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def mixup(clips_BTCHW: Tensor, alpha: float, random: np.random.Generator) -> tuple[Tensor, Tensor, float]:
    """Blend every clip of a batch with another one of it (mixup, Zhang et al. 2018, equation 1).

    One share, drawn from Beta(alpha, alpha), and one permutation hold for the whole batch, as in the published
    PP-TSM training.

    Args:
        clips_BTCHW: Normalised clips, float.
        alpha: Parameter of the Beta distribution, positive.
        random: Source of randomness.

    Returns:
        Blended clips, the permutation `(B,)` int64, and the share in [0, 1] of a clip itself.
    """
    share = float(random.beta(alpha, alpha))
    permutation = torch.from_numpy(random.permutation(len(clips_BTCHW))).to(clips_BTCHW.device)
    return torch.lerp(clips_BTCHW[permutation], clips_BTCHW, share), permutation, share


def classification_loss(
    logits: Tensor, labels: Tensor, *, smoothing: float = 0.0, mixed_with: Tensor | None = None, share: float = 1.0
) -> Tensor:
    """Cross entropy of smoothed labels, for mixed clips the blend of both clips' losses.

    Args:
        logits: `(B, K)` float.
        labels: `(B,)` int64 in [0, K).
        smoothing: Share of the target spread evenly over all classes: (1 - s) onehot + s / K.
        mixed_with: The permutation of [mixup][clipshift.training.losses.mixup].
        share: The share of [mixup][clipshift.training.losses.mixup].

    Returns:
        The mean over the batch, a scalar float32.
    """
    logits = logits.float()
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    if mixed_with is None:
        return loss
    other = functional.cross_entropy(logits, labels[mixed_with], label_smoothing=smoothing)
    return share * loss + (1 - share) * other
