"""Random changes of a whole clip that come after its crop: colors, RandAugment, erasing. All from explicit draws.

One draw per clip holds for all its frames: a video that trembles or flickers from frame to frame would be another one.
Layout: `frames_TCHW` uint8 tensors, T frames of RGB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from clipshift.config import AugmentConfig

MOST_OPERATIONS = 4
"""RandAugment's operations on one clip, at most."""
DRAWS = 6 + 2 * MOST_OPERATIONS
"""Numbers that `change_clip` needs, whatever is switched on."""

_STEPS = 30
"""RandAugment's scale of strengths."""
_AREA = (0.02, 1 / 3)
"""Shares of the frame that erasing covers."""
_ASPECT = (0.3, 1 / 0.3)
"""Height over width of what it covers."""

Level = tuple[float, float]
"""Strength in [0, 1] and sign, -1 or 1, of one of RandAugment's operations."""


def change_clip(
    frames_TCHW: torch.Tensor, augment: AugmentConfig, draws: Sequence[float], *, fill: Sequence[float]
) -> torch.Tensor:
    """RandAugment, hue and erasing, in this order, each where it is switched on.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        augment: What is switched on, and how strong it is.
        draws: `DRAWS` uniform numbers in [0, 1).
        fill: Color of what comes from outside the frame and of what is erased, levels in [0, 255].

    Returns:
        uint8 (T, 3, H, W).
    """
    hue, erase, area, aspect, across, down, *operations = draws
    for number in range(augment.rand_augment):
        which, sign = operations[2 * number : 2 * number + 2]
        frames_TCHW = _rand_augment(frames_TCHW, augment.rand_augment_magnitude, which, sign, fill)
    if augment.hue:
        from torchvision.transforms.v2 import functional  # slow to import, and seldom needed

        frames_TCHW = torch.as_tensor(functional.adjust_hue(frames_TCHW, augment.hue * (2 * hue - 1)))
    if erase < augment.erase:
        frames_TCHW = _erased(frames_TCHW, (area, aspect, across, down), fill)
    return frames_TCHW


def _erased(frames_TCHW: torch.Tensor, draws: Sequence[float], fill: Sequence[float]) -> torch.Tensor:
    """Covers one box, the same in all frames, with the color `fill` (random erasing, Zhong et al. 2020).

    Area and, on a logarithmic scale, aspect are uniform; a box that would stick out is cut to the frame's side.
    """
    height, width = frames_TCHW.shape[-2:]
    area, aspect, across, down = draws
    pixels = (_AREA[0] + (_AREA[1] - _AREA[0]) * area) * height * width
    ratio = _ASPECT[0] * (_ASPECT[1] / _ASPECT[0]) ** aspect
    tall = min(height, max(1, round(math.sqrt(pixels * ratio))))
    wide = min(width, max(1, round(math.sqrt(pixels / ratio))))
    top, left = int(down * (height - tall + 1)), int(across * (width - wide + 1))
    erased = frames_TCHW.clone()
    color = torch.tensor([round(level) for level in fill], dtype=torch.uint8).view(3, 1, 1)
    erased[..., top : top + tall, left : left + wide] = color
    return erased


def _rand_augment(
    frames_TCHW: torch.Tensor, magnitude: int, which: float, sign: float, fill: Sequence[float]
) -> torch.Tensor:
    """One of RandAugment's fourteen operations (Cubuk et al. 2020, section 3) with its strength of `magnitude` / 30.

    The ranges are those of AutoAugment (Cubuk et al. 2019, table 6) and, as there, directions are random. Where an
    operation looks at the levels of a picture it looks at those of the whole clip.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        magnitude: 0 to 30.
        which: Draw of the operation.
        sign: Draw of its direction.
        fill: Color of what comes from outside.
    """
    name = list(_OPERATIONS)[int(which * len(_OPERATIONS))]
    return _OPERATIONS[name](frames_TCHW, (magnitude / _STEPS, 1.0 if sign < 0.5 else -1.0), fill)


def _moved(
    frames_TCHW: torch.Tensor,
    fill: Sequence[float],
    *,
    angle: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> torch.Tensor:
    """Rotates by degrees, shifts by pixels (x, y) and shears by degrees (x, y), around the middle."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    moved = functional.affine(
        frames_TCHW,
        angle=angle,
        translate=[round(step) for step in shift],
        scale=1.0,
        shear=list(shear),
        interpolation=InterpolationMode.BILINEAR,
        fill=list(fill),
    )
    return torch.as_tensor(moved)


def _on_whole_clip(name: str, frames_TCHW: torch.Tensor, *args: float) -> torch.Tensor:
    """A function of torchvision on the frames one below the other, so that all get the same levels."""
    from torchvision.transforms.v2 import functional

    frames, channels, height, width = frames_TCHW.shape
    picture = frames_TCHW.transpose(0, 1).reshape(channels, frames * height, width)
    changed = torch.as_tensor(getattr(functional, name)(picture, *args))
    return changed.reshape(channels, frames, height, width).transpose(0, 1)


def _on_frames(name: str, frames_TCHW: torch.Tensor, *args: float) -> torch.Tensor:
    from torchvision.transforms.v2 import functional

    return torch.as_tensor(getattr(functional, name)(frames_TCHW, *args))


def _factor(level: Level) -> float:
    """Of brightness, color, contrast and sharpness: 0.1 to 1.9."""
    return 1 + level[1] * 0.9 * level[0]


def _shear_degrees(level: Level) -> float:
    """A shear of up to 0.3, as an angle."""
    return level[1] * math.degrees(math.atan(0.3 * level[0]))


def _shift_pixels(level: Level, side: int) -> float:
    """Up to 150 of 331 pixels."""
    return level[1] * level[0] * side * 150 / 331


_Operation = Callable[[torch.Tensor, Level, Sequence[float]], torch.Tensor]
_OPERATIONS: dict[str, _Operation] = {
    "identity": lambda frames, _level, _fill: frames,
    "shear_x": lambda frames, level, fill: _moved(frames, fill, shear=(_shear_degrees(level), 0.0)),
    "shear_y": lambda frames, level, fill: _moved(frames, fill, shear=(0.0, _shear_degrees(level))),
    "shift_x": lambda frames, level, fill: _moved(frames, fill, shift=(_shift_pixels(level, frames.shape[-1]), 0.0)),
    "shift_y": lambda frames, level, fill: _moved(frames, fill, shift=(0.0, _shift_pixels(level, frames.shape[-2]))),
    "rotate": lambda frames, level, fill: _moved(frames, fill, angle=30 * level[0] * level[1]),
    "brightness": lambda frames, level, _fill: _on_frames("adjust_brightness", frames, _factor(level)),
    "color": lambda frames, level, _fill: _on_frames("adjust_saturation", frames, _factor(level)),
    "contrast": lambda frames, level, _fill: _on_whole_clip("adjust_contrast", frames, _factor(level)),
    "sharpness": lambda frames, level, _fill: _on_frames("adjust_sharpness", frames, _factor(level)),
    "posterise": lambda frames, level, _fill: _on_frames("posterize", frames, 8 - round(4 * level[0])),
    "solarise": lambda frames, level, _fill: _on_frames("solarize", frames, 255 * (1 - level[0])),
    "autocontrast": lambda frames, _level, _fill: _on_whole_clip("autocontrast", frames),
    "equalise": lambda frames, _level, _fill: _on_whole_clip("equalize", frames),
}
