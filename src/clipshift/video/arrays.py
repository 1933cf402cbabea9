"""Videos that are decoded already."""

from __future__ import annotations

import numpy as np

from clipshift.errors import VideoError


def check_video(frames_THWC: np.ndarray) -> None:
    """Raise a VideoError unless an array is a decoded video: uint8 (T, H, W, 3), no axis of length 0."""
    shape = frames_THWC.shape
    if frames_THWC.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise VideoError(
            "The array is not a video.",
            got=f"{frames_THWC.dtype} {shape}",
            allowed="uint8 (frames, height, width, 3), RGB",
        )
