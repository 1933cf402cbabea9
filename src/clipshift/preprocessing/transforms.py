"""Frames to network input: scaling, crops, mirrors and color, as functions of explicit draws.

Layouts: `frames_THWC` uint8 numpy as decoded, `frames_TCHW` and `views_VTCHW` uint8 tensors; T frames, V views.
Training, validation, prediction and the exported file all see frames through this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from clipshift.config import AugmentConfig, Crops, InputConfig
from clipshift.preprocessing.augmentation import DRAWS, change_clip
from clipshift.preprocessing.motion_region import seen_frames
from clipshift.video.region import cut_region

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

VIEWS: dict[Crops, int] = {"center": 1, "three": 3, "three_small": 3, "ten": 10}
"""Crops of a frame."""

_SNAP = 2
"""Pixels by which a crop's side may miss `input.crop` and still be taken as it: no needless resampling."""

# Quarters of the free space to the left of and above a crop: corners and center, then the eight between them.
_FIVE = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2))
_EIGHT = ((0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))
_LEFT_RIGHT_CENTER = ((0, 2), (4, 2), (2, 2))


def training_clip(
    frames_THWC: np.ndarray,
    settings: InputConfig,
    augment: AugmentConfig,
    random: np.random.Generator,
    *,
    mirrors: bool = True,
) -> tuple[torch.Tensor, bool]:
    """Scales, cuts, mirrors and changes a clip at random: one draw for all its frames.

    The multi-scale crop is TSN's (Wang et al. 2016, section 3.2, with the thirteen positions of its published code).
    By default it is taken from the frame as decoded and scaled straight to `settings.crop`, as TSM's code does;
    `augment.scale` and `augment.crop_resize` give TSN's and PP-TSM's steps before and after it.

    Args:
        frames_THWC: Decoded frames, uint8 (T, H, W, 3), RGB.
        settings: Gives the side `crop`, the interpolation and, where frames are scaled first, `resize`.
        augment: Shares, positions, probabilities and strengths of the draws.
        random: Consumed by the same number of draws whatever `augment` switches on, so that switching one change
            off leaves the others as they were (only `crop_positions` changes it).
        mirrors: Whether a clip of this class may be mirrored.

    Returns:
        uint8 (T, 3, crop, crop), contiguous, and whether it is mirrored.
    """
    frames_THWC, settings = seen_frames(frames_THWC, settings)
    frames_THWC = cut_region(frames_THWC, settings.fixed_region)
    height, width = frames_THWC.shape[1:3]
    if augment.scale != "none":
        height, width = scaled_size(height, width, settings.model_copy(update={"aspect": augment.scale}))
    side = augment.crop_resize or settings.crop
    x, y, crop_width, crop_height = random_box(width, height, side, augment, random)
    mirror = random.random() < augment.flip and mirrors
    factors = [_factor(random, size) for size in (augment.brightness, augment.contrast, augment.saturation)]
    across, down, *draws = random.random(2 + DRAWS).tolist()

    if augment.scale == "none":
        frames_TCHW = _tensor(frames_THWC[:, y : y + crop_height, x : x + crop_width])
    else:
        frames_TCHW = _resize(_tensor(frames_THWC), height, width, settings)
        frames_TCHW = frames_TCHW[:, :, y : y + crop_height, x : x + crop_width]
    frames_TCHW = _resize(frames_TCHW, side, side, settings)
    left, top = int(across * (side - settings.crop + 1)), int(down * (side - settings.crop + 1))
    frames_TCHW = frames_TCHW[:, :, top : top + settings.crop, left : left + settings.crop]
    if mirror:
        frames_TCHW = frames_TCHW.flip(-1)
    frames_TCHW = _colored(frames_TCHW, *factors)
    fill = [255 * level for level in settings.mean]
    return change_clip(frames_TCHW, augment, draws, fill=fill).contiguous(), mirror


def random_box(width: int, height: int, crop: int, augment: AugmentConfig, random: np.random.Generator) -> Box:
    """Draws the multi-scale crop: sizes int(min(width, height) x share), at most one step of shares apart.

    Sizes within two pixels of `crop` become `crop`; a size larger than the frame becomes the frame's. Positions are
    multiples of a quarter of the free space, `(width - crop_width) // 4`, as published, or any (`augment`).

    Args:
        width: Width of the frame, in pixels.
        height: Its height.
        crop: Side to which the crop will be scaled.
        augment: Shares of the short side, and which positions.
        random: Source of the draws.

    Returns:
        The crop as x, y, width, height, inside the frame.
    """
    base = min(width, height)
    sides = [max(1, int(base * share)) for share in augment.crop_scales]
    sides = [crop if abs(side - crop) <= _SNAP else side for side in sides]
    pairs = [(w, h) for i, w in enumerate(sides) for j, h in enumerate(sides) if abs(i - j) <= 1]
    crop_width, crop_height = pairs[int(random.integers(len(pairs)))]
    crop_width, crop_height = min(crop_width, width), min(crop_height, height)
    if augment.crop_positions == "any":
        x = int(random.integers(width - crop_width + 1))
        y = int(random.integers(height - crop_height + 1))
        return x, y, crop_width, crop_height
    quarters = _FIVE if augment.crop_positions == "five" else _FIVE + _EIGHT
    across, down = quarters[int(random.integers(len(quarters)))]
    return (
        across * ((width - crop_width) // 4),
        down * ((height - crop_height) // 4),
        crop_width,
        crop_height,
    )


def evaluation_views(frames_THWC: np.ndarray, settings: InputConfig, crops: Crops) -> torch.Tensor:
    """Scales frames to the short side `settings.resize` and takes the test crops. Nothing is random.

    The long side is that of `scaled_size`. Then, as published (mmaction2's CenterCrop, ThreeCrop and TenCrop;
    PaddleVideo's CenterCrop and TenCrop; torchvision's CenterCrop; W, H are the scaled sides):

    - `center`: one square of side `crop` at ((W - crop) / 2, (H - crop) / 2), halves rounded down, or to the even
      neighbor (`settings.crop_rounding`).
    - `three`: squares of side `resize`, the whole short side: left, center, right (of a portrait: top, center,
      bottom), a step of (W - resize) // 2 apart. The network is fully convolutional: it takes this side, too.
    - `three_small`: squares of side `crop` at (0, 2h), (4w, 2h), (2w, 2h) with w = (W - crop) // 4 and
      h = (H - crop) // 4: left, right, center (PaddleVideo's `GroupFullResSample`).
    - `ten`: squares of side `crop` at (0, 0), (4w, 0), (0, 4h), (4w, 4h), (2w, 2h) with w = (W - crop) // 4 and
      h = (H - crop) // 4, each followed by its mirror.

    Args:
        frames_THWC: Decoded frames, uint8 (T, H, W, 3), RGB.
        settings: Gives `resize`, `crop`, how both are rounded, and the interpolation.
        crops: Which crops.

    Returns:
        uint8 (V, T, 3, side, side), contiguous; V = 1, 3, 3, 10 and side = crop, resize, crop, crop.
    """
    frames_THWC, settings = seen_frames(frames_THWC, settings)
    frames_THWC = cut_region(frames_THWC, settings.fixed_region)
    height, width = scaled_size(frames_THWC.shape[1], frames_THWC.shape[2], settings)
    return cut_views(_resize(_tensor(frames_THWC), height, width, settings), settings, crops)


def scale_frames(frames_THWC: np.ndarray, settings: InputConfig) -> np.ndarray:
    """The scaling of `evaluation_views` alone, uint8 (T, h, w, 3); done twice it is the same as done once.

    Of settings without a region.
    """
    height, width = scaled_size(frames_THWC.shape[1], frames_THWC.shape[2], settings)
    return np.asarray(_resize(_tensor(frames_THWC), height, width, settings).permute(0, 2, 3, 1))


def cut_square(frames_TCHW: torch.Tensor, x: int, y: int, side: int) -> torch.Tensor:
    """A square of frames (T, 3, H, W), its left and upper edge at x and y."""
    return frames_TCHW[:, :, y : y + side, x : x + side]


def cut_views(
    frames_TCHW: torch.Tensor,
    settings: InputConfig,
    crops: Crops,
    cut: Callable[[torch.Tensor, int, int, int], torch.Tensor] = cut_square,
) -> torch.Tensor:
    """The test crops of scaled frames, as `evaluation_views` lays them.

    Args:
        frames_TCHW: Of the size that `scaled_size` gives, (T, 3, H, W).
        settings: Gives `resize`, `crop` and how halves are rounded.
        crops: Which crops.
        cut: Cuts a square of them.

    Returns:
        (V, T, 3, side, side), contiguous.
    """
    views = []
    for x, y, side in test_boxes(frames_TCHW.shape[3], frames_TCHW.shape[2], settings, crops):
        view = cut(frames_TCHW, x, y, side)
        views.append(view)
        if crops == "ten":
            views.append(view.flip(-1))
    return torch.stack(views)


def scaled_size(height: int, width: int, settings: InputConfig) -> tuple[int, int]:
    """The size to which a frame is scaled whose short side is to become r = `settings.resize`.

    - `aspect` `keep`: the long side becomes long x r / short, half of a pixel rounded up (mmaction2), or any part of
      one dropped (torchvision, PaddleVideo), as `resize_rounding` says.
    - `aspect` `four_thirds`: it becomes floor(4 r / 3) whatever it was, and a square is taken as upright, as
      PaddleVideo's `Scale` does with `fixed_ratio`; a frame whose short side is r already keeps its size.

    Args:
        height: Height of the frame, in pixels.
        width: Its width.
        settings: Gives `resize`, `aspect` and `resize_rounding`.

    Returns:
        The new height and width.
    """
    short, old = settings.resize, min(height, width)
    if old == short:
        return height, width
    if settings.aspect == "four_thirds":
        long = 4 * short // 3
        return (short, long) if width > height else (long, short)
    # In whole numbers, (2 a + b) // (2 b) = floor(a / b + 0.5): no rounding error decides a pixel.
    half = old if settings.resize_rounding == "nearest" else 0
    return (2 * height * short + half) // (2 * old), (2 * width * short + half) // (2 * old)


def normalize(clips: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Turns pixels into the network's numbers: (x / 255 - mean) / std, in float32 and in this order.

    Args:
        clips: uint8 (..., 3, H, W), RGB, on any device.
        mean: Of each channel, of values in [0, 1].
        std: Of each channel.

    Returns:
        float32 (..., 3, H, W) on the same device and in the same memory format.
    """
    # Made on a GPU, they would make the host wait until it has done all that was asked of it before.
    means, stds = (
        torch.tensor(values, dtype=torch.float32).to(clips.device, non_blocking=True).view(3, 1, 1)
        for values in (mean, std)
    )
    return clips.to(torch.float32).div_(255).sub_(means).div_(stds)


def test_boxes(width: int, height: int, settings: InputConfig, crops: Crops) -> list[tuple[int, int, int]]:
    """Left, top and side, in pixels, of the test crops of a frame that is scaled to `width` x `height`."""
    crop = settings.crop
    if crops == "center":
        return [(_half(width - crop, settings), _half(height - crop, settings), crop)]
    if crops == "three":
        across, down = (width - settings.resize) // 2, (height - settings.resize) // 2
        return [(step * across, step * down, settings.resize) for step in range(3)]
    across, down = (width - crop) // 4, (height - crop) // 4
    return [(i * across, j * down, crop) for i, j in (_LEFT_RIGHT_CENTER if crops == "three_small" else _FIVE)]


def _half(free: int, settings: InputConfig) -> int:
    """Half of the free space, a half pixel rounded down or, as Python's `round`, to the even neighbor."""
    half = free // 2
    return half + (free % 2) * (half % 2) if settings.crop_rounding == "even" else half


def _tensor(frames_THWC: np.ndarray) -> torch.Tensor:
    """uint8 (T, H, W, 3) array to a (T, 3, H, W) tensor in channels-last memory, which resizing is fastest on."""
    return torch.from_numpy(np.ascontiguousarray(frames_THWC)).permute(0, 3, 1, 2)


def _resize(frames_TCHW: torch.Tensor, height: int, width: int, settings: InputConfig) -> torch.Tensor:
    """Resizing of uint8 frames; frames that already have the size are returned as they are."""
    if tuple(frames_TCHW.shape[-2:]) == (height, width):
        return frames_TCHW
    return interpolate(frames_TCHW, height, width, settings)


def interpolate(frames_TCHW: torch.Tensor, height: int, width: int, settings: InputConfig) -> torch.Tensor:
    """Resizing of uint8 frames (T, 3, H, W), by the interpolation of the settings, whatever their size is."""
    if settings.interpolation == "bilinear" and not settings.antialias:
        return _resize_fixed_point(frames_TCHW, height, width)
    # The kernel that torchvision's resize calls, which takes uint8; torchvision itself would double the time and
    # memory that every loader process needs to start.
    return F.interpolate(
        frames_TCHW,
        size=(height, width),
        mode=settings.interpolation,
        antialias=settings.antialias,
        align_corners=False,
    )


def _resize_fixed_point(frames_TCHW: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bilinear resizing without antialiasing, to the last bit as OpenCV's `resize` with `INTER_LINEAR` on 8 bits.

    Networks that learned from OpenCV's images see the same ones here. With weights a, b of 11 bits, the row of a pixel
    gives t = (a left + b right) >> 4, and the two rows give ((a t_upper >> 16) + (b t_lower >> 16) + 2) >> 2
    (OpenCV, modules/imgproc/src/resize.cpp). What the shifts drop makes pixels 0.1 levels darker, on average, than
    exact arithmetic would.

    Args:
        frames_TCHW: uint8 (T, 3, H, W).
        height: New height, in pixels.
        width: New width.

    Returns:
        uint8 (T, 3, height, width).
    """
    old_height, old_width = frames_TCHW.shape[-2:]
    above, row_weights = _taps(old_height, height)
    left, column_weights = _taps(old_width, width)
    # Beyond the first and the last column there is nothing to mix; rows are mixed with themselves there.
    whole = torch.tensor([[2048], [0]], dtype=torch.int32)
    column_weights = torch.where((left < 0) | (left >= old_width - 1), whole, column_weights)
    columns_2W = torch.stack([left, left + 1]).clamp(0, old_width - 1)
    rows_2H = torch.stack([above, above + 1]).clamp(0, old_height - 1)

    frames_THWC = frames_TCHW.permute(0, 2, 3, 1)  # as they lie in memory
    # Not `len`: where torch.export traces this, that would be one number for good.
    total_THWC = torch.full((frames_THWC.shape[0], height, width, 3), 2, dtype=torch.int32)
    for rows, weights_H in zip(rows_2H, row_weights, strict=True):
        lines_THWC = frames_THWC.index_select(1, rows)
        mixed_THWC = torch.zeros_like(total_THWC)
        for columns, weights_W in zip(columns_2W, column_weights, strict=True):
            mixed_THWC += lines_THWC.index_select(2, columns).to(torch.int32).mul_(weights_W[:, None])
        mixed_THWC >>= 4
        mixed_THWC *= weights_H[:, None, None]
        mixed_THWC >>= 16
        total_THWC += mixed_THWC
    return (total_THWC >> 2).to(torch.uint8).permute(0, 3, 1, 2)


def _taps(old: int, new: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each new pixel lies between two old ones: index of the first, int64 (new,); weights, int32 (2, new).

    Pixel i lies at (i + 1/2) old / new - 1/2, which may be outside; weights are parts of 2048, from a fraction in
    float32, rounded half to even.
    """
    places = ((torch.arange(new, dtype=torch.float64) + 0.5) * (1 / (new / old)) - 0.5).to(torch.float32)
    first = places.floor()
    fractions = places - first
    weights = torch.stack([1 - fractions, fractions]).mul(2048).round().to(torch.int32)
    return first.to(torch.int64), weights


def _factor(random: np.random.Generator, size: float) -> float:
    """A factor in [max(0, 1 - size), 1 + size]; drawn, and 1, when size is 0."""
    low, high = max(0.0, 1 - size), 1 + size
    return low + (high - low) * float(random.random())


def _colored(frames_TCHW: torch.Tensor, brightness: float, contrast: float, saturation: float) -> torch.Tensor:
    """Applies factors of brightness, contrast and saturation in this order; 1 changes nothing."""
    if brightness == contrast == saturation == 1:
        return frames_TCHW
    from torchvision.transforms.v2 import functional as color  # slow to import, and seldom needed

    frames_TCHW = color.adjust_brightness(frames_TCHW, brightness)
    frames_TCHW = color.adjust_contrast(frames_TCHW, contrast)
    return torch.as_tensor(color.adjust_saturation(frames_TCHW, saturation))
