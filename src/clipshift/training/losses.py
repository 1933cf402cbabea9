"""The losses, and mixup, which belongs to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def mixup(clips_BTCHW: Tensor, alpha: float, random: np.random.Generator) -> tuple[Tensor, Tensor, float]:
    """Blend every clip of a batch with another one of it (mixup, Zhang et al. 2018, equation 1).

    One share, drawn from Beta(alpha, alpha), and one permutation hold for the whole batch, as in the published
    PP-TSM training.

    Args:
        clips_BTCHW: Normalized clips, float.
        alpha: Parameter of the Beta distribution, positive.
        random: Source of randomness.

    Returns:
        Blended clips, the permutation `(B,)` int64, and the share in [0, 1] of a clip itself.
    """
    share = float(random.beta(alpha, alpha))
    permutation = torch.from_numpy(random.permutation(len(clips_BTCHW))).to(clips_BTCHW.device, non_blocking=True)
    return torch.lerp(clips_BTCHW[permutation], clips_BTCHW, share), permutation, share


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    smoothing: float = 0.0,
    mixed_with: Tensor | None = None,
    share: float = 1.0,
    weights: Tensor | None = None,
    gamma: float = 0.0,
) -> Tensor:
    """Cross entropy of smoothed labels, for mixed clips the blend of both clips' losses.

    With `gamma` it is the focal loss (Lin et al. 2017, equation 4): -(1 - p)^gamma log p, of smoothed labels each
    class's term with its own p.

    Args:
        logits: `(B, K)` float.
        labels: `(B,)` int64 in [0, K).
        smoothing: Share of the target spread evenly over all classes: (1 - s) onehot + s / K.
        mixed_with: The permutation of [mixup][clipshift.training.losses.mixup].
        share: The share of [mixup][clipshift.training.losses.mixup].
        weights: `(K,)` float: factor of a clip's loss by its label. The mean is over the number of clips, not over
            their weights: a clip weighs the same whatever else is in its batch.
        gamma: Exponent of the focal loss; 0 is the cross entropy.

    Returns:
        The mean over the batch, a scalar float32.
    """
    logits = logits.float()
    loss = _one_label_loss(logits, labels, smoothing, weights, gamma)
    if mixed_with is None:
        return loss
    other = _one_label_loss(logits, labels[mixed_with], smoothing, weights, gamma)
    return share * loss + (1 - share) * other


def _one_label_loss(logits: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None, gamma: float) -> Tensor:
    if gamma:
        log_p = functional.log_softmax(logits, dim=1)
        targets = torch.full_like(log_p, smoothing / logits.shape[1])
        targets.scatter_add_(1, labels[:, None], torch.full_like(log_p[:, :1], 1 - smoothing))
        # At p = 1 the power's slope may be infinite; a constant there has none.
        losses = -(targets * (1 - log_p.exp()).clamp_min(1e-12) ** gamma * log_p).sum(dim=1)
    elif weights is None:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    else:
        losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return losses.mean() if weights is None else (weights[labels] * losses).mean()


def multilabel_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    smoothing: float = 0.0,
    mixed_with: Tensor | None = None,
    share: float = 1.0,
    weights: Tensor | None = None,
    gamma: float = 0.0,
) -> Tensor:
    """Binary cross entropy of each class by itself, for clips that may have several labels.

    With `gamma` it is the focal loss of a sigmoid (Lin et al. 2017, equation 4).

    Args:
        logits: `(B, K)` float.
        targets: `(B, K)` float of zeros and ones.
        smoothing: Targets become (1 - s) y + s / 2.
        mixed_with: The permutation of [mixup][clipshift.training.losses.mixup].
        share: The share of [mixup][clipshift.training.losses.mixup].
        weights: `(K,)` float: factor of the loss of clips that have the label.
        gamma: Exponent of the focal loss; 0 is the cross entropy.

    Returns:
        The mean over clips and classes, a scalar float32.
    """
    logits, targets = logits.float(), targets.float()
    if mixed_with is not None:  # the loss is linear in the targets
        targets = share * targets + (1 - share) * targets[mixed_with]
    targets = (1 - smoothing) * targets + smoothing / 2
    if not gamma:
        return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
    yes, no = -functional.logsigmoid(logits), -functional.logsigmoid(-logits)
    losses = targets * yes * (1 if weights is None else weights) * (-no).exp().clamp_min(1e-12) ** gamma
    losses = losses + (1 - targets) * no * (-yes).exp().clamp_min(1e-12) ** gamma
    return losses.mean()


def inverse_frequency(counts: Sequence[int]) -> Tensor:
    """Weights of classes inversely to their number of clips, N / (K n), so that their mean over all clips is 1.

    Args:
        counts: Clips of each class; K is the number of classes that have some, the others get 1.

    Returns:
        `(K,)` float32.
    """
    present = sum(count > 0 for count in counts)
    return torch.tensor([sum(counts) / (present * count) if count else 1.0 for count in counts])


def soft_target_loss(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
    """T^2 KL(targets || softmax(logits / T)): what the student has to learn of a teacher's answer.

    Hinton et al. 2015, section 2: the factor T^2 keeps the size of the gradients when the temperature changes. The
    targets' entropy, a constant, is taken off their cross entropy, so that 0 means the same answer.

    Args:
        logits: The student's, `(B, K)` float.
        targets: The teacher's probabilities at the same temperature, `(B, K)`; a row of zeros leaves its clip out.
        temperature: T, positive.

    Returns:
        The mean over the batch, those left out included as 0; a scalar float32.
    """
    log_q = functional.log_softmax(logits.float() / temperature, dim=1)
    targets = targets.float()
    # xlogy: a probability of 0 contributes nothing.
    divergence_BK = torch.special.xlogy(targets, targets) - targets * log_q
    divergence: Tensor = divergence_BK.sum(dim=1).mean()
    return temperature**2 * divergence


def mutual_loss(logits: Tensor, others: Tensor, *, temperature: float = 1.0) -> Tensor:
    """T^2 (KL(p || q) + KL(q || p)) / 2 of two networks' answers, with gradients to both.

    Deep mutual learning (Zhang et al. 2018, equations 3 and 4) as PaddleVideo computes it for PP-TSMv2 (`loss/dml`):
    both directions halved, and, at T = 1, in every direction also the network that is learnt from gets a gradient.

    Args:
        logits: `(B, K)` float.
        others: `(B, K)` float of the other network.
        temperature: T, positive.

    Returns:
        The mean over the batch, a scalar float32.
    """
    log_p = functional.log_softmax(logits.float() / temperature, dim=1)
    log_q = functional.log_softmax(others.float() / temperature, dim=1)
    # p log(p/q) + q log(q/p) = (p - q) (log p - log q)
    divergence = (log_p.exp() - log_q.exp()) * (log_p - log_q)
    return temperature**2 * divergence.sum(dim=1).mean() / 2
