"""A linear probe as the classifier's start: first the head, then everything.

Fine-tuning with a random classifier sends large, meaningless gradients through good features and spoils them. Fitting
the classifier on the frozen features first avoids that (LP-FT, Kumar et al. 2022, "Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution").
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def fit_linear_probe(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    kept: tuple[Tensor, Tensor] | None = None,
    parts: int = 1,
    decay: float = 1e-4,
    iterations: int = 200,
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression by L-BFGS in double precision.

    The features are centered and divided by one number, the square root of their total variance, so that `decay` means
    the same for every network; of several parts each is divided by its own, and all weigh the same. This is folded into
    the result, which therefore applies to the features as they are. The problem is strictly convex, so the result does
    not depend on chance.

    Args:
        features: `(N, D)`, one vector a clip.
        labels: `(N,)` int64 in [0, classes).
        classes: Number of classes K.
        kept: Weight `(k, D)` and bias `(k,)` of the first k classes, k < K, which stay as they are: only the others
            are fitted, to what these leave.
        parts: Of how many parts of equal width the features are.
        decay: Weight of the sum of the squared weights, beside the mean cross entropy.
        iterations: Largest number of L-BFGS iterations.

    Returns:
        Weight `(K, D)` and bias `(K,)`, float32, on the CPU.
    """
    x = features.detach().double().cpu()
    y = labels.cpu()
    mean = x.mean(0)
    variances = x.var(0, correction=0).unflatten(0, (parts, -1)).sum(1, keepdim=True)  # type: ignore[no-untyped-call]
    scale = 1 / (parts * variances).sqrt().clamp_min(1e-12).expand(-1, x.shape[1] // parts).flatten()
    x = (x - mean) * scale

    old, rows = None, classes
    if kept is not None:
        old = functional.linear(features.detach().double().cpu(), *(each.double().cpu() for each in kept))
        rows -= old.shape[1]
    weight = torch.zeros(rows, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(rows, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-8
    )

    def closure() -> Tensor:
        solver.zero_grad()
        logits = functional.linear(x, weight, bias)
        logits = logits if old is None else torch.cat([old, logits], dim=1)
        loss = functional.cross_entropy(logits, y) + decay * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        folded = weight * scale
        fitted = folded.float(), (bias - folded @ mean).float()
    if kept is None:
        return fitted
    first, second = (torch.cat([one.float().cpu(), other]) for one, other in zip(kept, fitted, strict=True))
    return first, second
