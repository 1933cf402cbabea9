"""Which labels are wrong, from out-of-fold probabilities: confident learning (Northcutt et al. 2021).

"Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial Intelligence Research 70. The
package cleanlab of its authors is alive, but needs pandas and scikit-learn for what are a few lines here: section 3.1's
confident joint, which counts the wrong labels, and the ranking by the margin, as of section 3.2 where noise is pruned.

Layouts: N clips, K classes.
"""

from __future__ import annotations

import numpy as np


def suspicious(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The clips off the diagonal of the confident joint.

    A clip counts as of class j where its probability of j is at least the mean one that clips with the label j have;
    of several such j the likeliest one. It is suspicious where that is another class than its label.

    Args:
        chances: float64 (N, K) of probes that have not seen the clip.
        labels: int64 (N,).

    Returns:
        bool (N,).
    """
    thresholds = np.array(
        [
            chances[labels == label, label].mean() if (labels == label).any() else np.inf
            for label in range(chances.shape[1])
        ]
    )
    over = np.where(chances >= thresholds - 1e-12, chances, -1.0)
    return np.asarray((over.max(axis=1) >= 0) & (over.argmax(axis=1) != labels))


def margins(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probability of the label less the largest of the other classes, float64 (N,) in [-1, 1]; low is suspicious.

    Args:
        chances: float64 (N, K), K of at least 2.
        labels: int64 (N,).
    """
    rows = np.arange(len(labels))
    others = chances.copy()
    others[rows, labels] = -np.inf
    return np.asarray(chances[rows, labels] - others.max(axis=1))
