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
    features: Tensor, labels: Tensor, classes: int, *, decay: float = 1e-2, iterations: int = 200
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression on standardised features, by L-BFGS in double precision.

    The standardisation is folded into the result, which therefore applies to the features as they are. The problem is
    strictly convex, so the result does not depend on chance.

    Args:
        features: `(N, D)`, one vector a clip.
        labels: `(N,)` int64 in [0, classes).
        classes: Number of classes K.
        decay: L2 penalty on the weights of the standardised problem, in units of the mean loss.
        iterations: Largest number of L-BFGS iterations.

    Returns:
        Weight `(K, D)` and bias `(K,)`, float32, on the CPU.
    """
    x = features.detach().double().cpu()
    y = labels.cpu()
    mean, std = x.mean(0), x.std(0, correction=0)
    # A feature that never moves says nothing; dividing by its tiny deviation would only blow up noise.
    scale = torch.where(std > 1e-6 * std.max(), 1 / std.clamp_min(1e-12), torch.zeros_like(std))
    x = (x - mean) * scale
    # Penalising the sum over D standardised features: the strength should not depend on their number.
    penalty = decay / 2

    weight = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-8
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = functional.cross_entropy(functional.linear(x, weight, bias), y) + penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        folded = weight * scale
        return folded.float(), (bias - folded @ mean).float()
