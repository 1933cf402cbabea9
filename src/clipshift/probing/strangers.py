"""Clips that look like no other clip of the data: videos of something else that have got under a label.

Layouts: N clips, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipshift.inference.known_clips import unit_length

_NEAREST = 3
"""Distances are to the mean of so many of the nearest clips: two strangers of one kind do not hide each other."""
_FENCE = 2.0
"""Interquartile ranges above the upper quartile from which on a distance is unusual (Tukey 1977 has 1.5 and 3)."""
_FEWEST = 20
"""Of fewer clips it is not known what is usual."""


def distances_to_others(features_ND: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """How far each clip is from the nearest clips of other sources.

    Args:
        features_ND: float32 (N, D), the mean over a clip's frames.
        groups: Positions of clips of one source.

    Returns:
        float64 (N,), 1 - cosine in [0, 2], the mean over the three nearest; NaN where no other source has three clips.
    """
    unit = unit_length(features_ND).astype(np.float64)
    found = np.full(len(unit), np.nan)
    for group in groups:
        likeness = np.delete(unit[group] @ unit.T, group, axis=1)
        if likeness.shape[1] >= _NEAREST:
            found[group] = 1 - np.partition(likeness, -_NEAREST, axis=1)[:, -_NEAREST:].mean(axis=1)
    return found


def find_strangers(distances_N: np.ndarray) -> list[int]:
    """Positions of clips that are unusually far from all others, the farthest first.

    Args:
        distances_N: Of `distances_to_others`.
    """
    known = distances_N[~np.isnan(distances_N)]
    if len(known) < _FEWEST:
        return []
    lower, upper = np.percentile(known, [25, 75])
    fence = upper + _FENCE * (upper - lower)
    far = np.flatnonzero(np.nan_to_num(distances_N, nan=-1.0) > fence)
    return sorted(far.tolist(), key=lambda position: -distances_N[position])
