"""Heat maps as colors: a layer over a frame, or mixed into it.

Layouts: H height, W width.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from clipshift.evaluation.explaining.explanation import HeatMaps

_COLD, _HOT = np.array([255, 225, 60], np.float32), np.array([225, 30, 20], np.float32)
_MOST = 0.72
"""Of the color over the hottest place; what is below is always to be seen."""


def heat_layer(heat: HeatMaps, place: int, width: int, height: int) -> np.ndarray:
    """The heat of a frame as a layer over its picture: hotter is redder and denser, and nothing is clear.

    Args:
        heat: The maps.
        place: Of the frame among those that the model sees.
        width: Of the picture.
        height: Of the picture.

    Returns:
        uint8 (height, width, 4), RGB and alpha; outside of what the maps cover it is clear.
    """
    left, top, share_x, share_y = heat.box
    x, y = round(left * width), round(top * height)
    wide, high = max(1, min(width - x, round(share_x * width))), max(1, min(height - y, round(share_y * height)))
    cells = Image.fromarray(heat.of_frame(place).astype(np.float32))
    inside = np.asarray(cells.resize((wide, high), Image.Resampling.BICUBIC)).clip(0, 1)
    heat_HW = np.zeros((height, width), np.float32)
    heat_HW[y : y + high, x : x + wide] = inside
    layer = np.empty((height, width, 4), np.uint8)
    layer[..., :3] = np.rint(_COLD + heat_HW[..., None] * (_HOT - _COLD))
    layer[..., 3] = np.rint(255 * _MOST * heat_HW)
    return layer


def with_heat(picture_HWC: np.ndarray, heat: HeatMaps | None, place: int) -> np.ndarray:
    """A picture of a frame, uint8 (H, W, 3), with the heat over it."""
    if heat is None:
        return picture_HWC
    layer = heat_layer(heat, place, picture_HWC.shape[1], picture_HWC.shape[0]).astype(np.float32)
    dense = layer[..., 3:] / 255
    return np.rint(picture_HWC * (1 - dense) + layer[..., :3] * dense).astype(np.uint8)
