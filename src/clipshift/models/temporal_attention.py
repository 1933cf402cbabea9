"""The temporal attention of PP-TSMv2 (PaddleVideo's `GlobalAttention`, "LTA" in its documents)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TemporalAttention(nn.Module):
    """Weighs the frames of a clip against one another: a linear layer from the frames' means to their weights.

    Args:
        segments: Frames per clip, T; the linear layer is T x T.
        generator: Source of the initial weights.
    """

    def __init__(self, segments: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.segments = segments
        self.fc = nn.Linear(segments, segments)
        nn.init.xavier_uniform_(self.fc.weight, generator=generator)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Scale every frame by one number in (0, 1).

        Args:
            x: Features (B*T, C, H, W), the frames of a clip one after the other.

        Returns:
            Features of the same shape.
        """
        means_BT = x.mean(dim=(1, 2, 3)).view(-1, self.segments)
        weights_BT = torch.sigmoid(self.fc(means_BT))
        return x * weights_BT.flatten().view(-1, 1, 1, 1).to(x.dtype)
