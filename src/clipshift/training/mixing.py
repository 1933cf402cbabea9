"""Batches whose clips are made of two: mixup, CutMix and VideoMix, on the device that the batch is on.

Layout: `clips_BTCHW` normalized float clips: B clips, T frames, C channels, H x W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clipshift.config import AugmentConfig
from clipshift.training.losses import mixup

Mixed = tuple[Tensor, Tensor, float]
"""Clips (B, T, C, H, W), the permutation (B,) of the clips they are mixed with, and the share of a clip itself."""


def mixes(augment: AugmentConfig) -> bool:
    """Whether clips of a batch are mixed."""
    return bool(augment.mixup or augment.cutmix or augment.videomix)


def mix_clips(clips_BTCHW: Tensor, augment: AugmentConfig, random: np.random.Generator) -> Mixed:
    """Mixes every clip of a batch with another one of it, in one of the ways that are switched on.

    Of several ways, each is as likely for a batch; the draw that decides it is made only then, so that mixup alone
    draws what it does by itself.

    Args:
        clips_BTCHW: Normalized clips, float.
        augment: `mixup`, `cutmix` and `videomix`, of which one at least is not 0.
        random: Source of randomness.

    Returns:
        The clips, the permutation of those they are mixed with, int64, and the share of a clip itself.
    """
    ways = [way for way in ("mixup", "cutmix", "videomix") if getattr(augment, way)]
    way = ways[int(random.random() * len(ways))] if len(ways) > 1 else ways[0]
    alpha: float = getattr(augment, way)
    if way == "mixup":
        return mixup(clips_BTCHW, alpha, random)
    return paste_box(clips_BTCHW, alpha, random, in_time=way == "videomix")


def paste_box(clips_BTCHW: Tensor, alpha: float, random: np.random.Generator, *, in_time: bool) -> Mixed:
    """Replaces a box in every clip of a batch by the same box of another clip of it.

    CutMix (Yun et al. 2019, section 3.1) for clips: the box is cut out of height and width and is the same in all
    frames (VideoMix, Yun et al. 2020, section 3.2, calls it S-VideoMix). With `in_time` it also has a beginning and an
    end (ST-VideoMix). With a share l of Beta(alpha, alpha), each of the d sides has the length (1 - l)^(1 / d) of the
    clip's, and the box's middle lies anywhere, so that it may be cut at the border; the share that is given back is
    that of the pixels that stay. One draw and one permutation hold for the whole batch.

    Args:
        clips_BTCHW: Clips; left as they are.
        alpha: Parameter of the Beta distribution, positive.
        random: Source of randomness.
        in_time: Whether the box is bounded in time, too.

    Returns:
        The clips, the permutation and the share in [0, 1] of a clip itself.
    """
    share = float(random.beta(alpha, alpha))
    permutation = torch.from_numpy(random.permutation(len(clips_BTCHW))).to(clips_BTCHW.device, non_blocking=True)
    middles = random.random(3)  # of the box in time, height and width, as parts of the clip

    frames, _, height, width = clips_BTCHW.shape[1:]
    sides = (frames if in_time else 0, height, width)
    part = (1 - share) ** (1 / sum(side > 0 for side in sides))
    rows, columns = (_span(side, part, middle) for side, middle in zip(sides[1:], middles[1:].tolist(), strict=True))
    times = _span(frames, part, float(middles[0])) if in_time else slice(0, frames)

    mixed_BTCHW = clips_BTCHW.clone()
    mixed_BTCHW[:, times, :, rows, columns] = clips_BTCHW[permutation, times, :, rows, columns]
    taken = (times.stop - times.start) * (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed_BTCHW, permutation, 1 - taken / (frames * height * width)


def _span(side: int, part: float, middle: float) -> slice:
    """The stretch of a side that a box of the length `part` of it covers, with its middle at `middle` of it."""
    length, center = part * side, middle * side
    return slice(max(0, round(center - length / 2)), min(side, round(center + length / 2)))
