"""Finds clips that look alike: copies that were encoded anew, at another size, quality or codec.

Eight frames, spread evenly, are shrunk to 16 x 16 gray pixels. Two clips are alike when they last as long, when these
pictures agree (correlation, brightness and contrast apart), and when what changes from the clip's mean picture
agrees, too. The last keeps apart different clips of one scene and camera, of which the pictures agree as well. A
clip in which next to nothing moves has nothing to tell it apart by, and is left out; so are copies that were cut
or mirrored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

LOOK_FRAMES = 8
_SIDE = 16
_LENGTH = 0.04
"""Share by which the lengths of copies may differ (a lost frame, a rounded frame rate)."""
_PICTURE = 0.95
"""Least mean correlation of the pictures of copies."""
_MOTION = 0.8
"""Least correlation of the changes. Measured: 0.83 and more for copies at half and third size and bad quality,
0.74 and less for different clips of one scene and of like length (UCF-101, UT-Interaction, surveillance)."""
_STILL = 1.0
"""Root mean square of the changes, in gray levels of 255, below which a clip counts as still."""
_BLOCK = 512


@dataclass(frozen=True)
class Pair:
    """Two clips that look alike, by their positions."""

    first: int
    second: int
    score: float
    """Correlation of the changes, 1 for a perfect copy."""


def look_of(frames_THWC: np.ndarray) -> np.ndarray:
    """How a clip looks.

    Args:
        frames_THWC: `LOOK_FRAMES` frames, spread evenly over the clip, uint8 (T, H, W, 3), RGB.

    Returns:
        uint8 (T, 16, 16), gray.
    """
    pictures = [
        np.asarray(Image.fromarray(frame).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX))
        for frame in frames_THWC
    ]
    return np.stack(pictures)


def find_near_duplicates(looks: Sequence[np.ndarray], seconds: Sequence[float]) -> list[Pair]:
    """All pairs of clips that look alike.

    Args:
        looks: Of every clip, by `look_of`.
        seconds: Length of every clip.

    Returns:
        Pairs with first < second, sorted.
    """
    moving = [i for i, look in enumerate(looks) if _changes(look).std() >= _STILL]
    if len(moving) < 2:
        return []
    order = np.array(sorted(moving, key=lambda i: seconds[i]))
    pairs = []
    for i, j in _candidates([looks[i] for i in order], np.array([seconds[i] for i in order])):
        first, second = sorted((int(order[i]), int(order[j])))
        score = _correlation(_changes(looks[first]), _changes(looks[second]))
        if score >= _MOTION:
            pairs.append(Pair(first, second, score))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _candidates(looks: list[np.ndarray], seconds: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of like length whose pictures agree; the clips are sorted by length, so that most are never compared."""
    pictures = np.stack([_unit_pictures(look) for look in looks])
    ends = np.searchsorted(seconds, seconds * (1 + _LENGTH), side="right")
    for start in range(0, len(looks), _BLOCK):
        stop = min(start + _BLOCK, len(looks))
        agreement = pictures[start:stop] @ pictures[start : ends[stop - 1]].T
        for row, column in np.argwhere(agreement >= _PICTURE):
            i, j = start + int(row), start + int(column)
            if i < j < ends[i]:
                yield i, j


def _unit_pictures(look: np.ndarray) -> np.ndarray:
    """float32 (T x 256,): the product of two is the mean correlation of their pictures."""
    pictures = look.reshape(len(look), -1).astype(np.float32)
    pictures -= pictures.mean(axis=1, keepdims=True)
    length = np.linalg.norm(pictures, axis=1, keepdims=True)
    unit = pictures / np.maximum(length, 1e-6) / np.sqrt(np.float32(len(look)))
    return np.asarray(unit.reshape(-1))


def _changes(look: np.ndarray) -> np.ndarray:
    """What differs from the clip's mean picture, float32 (T, 16, 16)."""
    pictures = look.astype(np.float32)
    return np.asarray(pictures - pictures.mean(axis=0))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / max(1e-6, float(np.sqrt((a * a).sum() * (b * b).sum()))))
