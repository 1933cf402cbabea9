"""A recognizer with its preprocessing and probabilities as one PyTorch module, whose frames may have any size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clipshift.config import InputConfig, ModelSpec
from clipshift.models.folding import fold_norms
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.transforms import cut_views, interpolate, normalize
from clipshift.video.region import PARTS, edges


class FramesRecognizer(nn.Module):
    """From frames uint8 (B, T, H, W, 3), RGB, to probabilities and logits, float32 (B, K).

    Args:
        network: In evaluation mode; a copy in its form for deployment is taken.
        spec: Preprocessing, crops and averaging.
    """

    def __init__(self, network: Recognizer, spec: ModelSpec) -> None:
        super().__init__()
        self.network = fold_norms(network).cpu().float()
        self.spec = spec

    def forward(self, frames_BTHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and logits."""
        views = prepared_views(frames_BTHWC, self.spec)
        logits_NK = self.network(views.flatten(0, 1))
        logits_BVK = torch.unflatten(logits_NK, 0, (frames_BTHWC.shape[0], -1))
        if self.spec.average == "probabilities" and logits_BVK.shape[1] > 1:
            logits_BK = logits_BVK.softmax(dim=2).mean(dim=1).log()
        else:
            logits_BK = logits_BVK.mean(dim=1)
        scaled_BK = logits_BK if self.spec.temperature == 1 else logits_BK / self.spec.temperature
        several = self.spec.labels == "several"
        return scaled_BK.sigmoid() if several else scaled_BK.softmax(dim=1), logits_BK


class ClipsRecognizer(nn.Module):
    """From normalized clips float32 (B, T, 3, H, W) to a tuple of the logits, float32 (B, K)."""

    def __init__(self, network: Recognizer) -> None:
        super().__init__()
        self.network = fold_norms(network).cpu().float()

    def forward(self, clips_BTCHW: Tensor) -> tuple[Tensor]:
        """The logits."""
        return (self.network(clips_BTCHW),)


def prepared_views(frames_BTHWC: Tensor, spec: ModelSpec) -> Tensor:
    """Scaled, cropped and normalized, by the code that evaluation runs, for sizes that are not known yet.

    Args:
        frames_BTHWC: uint8 (B, T, H, W, 3), RGB.
        spec: Preprocessing and crops.

    Returns:
        float32 (B, V, T, 3, side, side).
    """
    settings = spec.input
    clips, segments = frames_BTHWC.shape[:2]
    frames_NCHW = frames_BTHWC.flatten(0, 1).permute(0, 3, 1, 2)
    if settings.fixed_region is not None:  # one that moves is cut by who reads the clip
        x, y, across, down = settings.fixed_region
        frames_NCHW = _part_of(_part_of(frames_NCHW, 2, *edges(y, down)), 3, *edges(x, across))
    height, width = _scaled_size(frames_NCHW.shape[2], frames_NCHW.shape[3], settings)
    scaled_NCHW = interpolate(frames_NCHW, height, width, settings)
    views_VNCHW = cut_views(scaled_NCHW, settings, spec.crops, _cut_square)
    views_BVTCHW = torch.unflatten(views_VNCHW, 1, (clips, segments)).transpose(0, 1)
    return normalize(views_BVTCHW, settings.mean, settings.std)


def _cut_square(frames_NCHW: Tensor, x: int, y: int, side: int) -> Tensor:
    """As `cut_square`, by indices: a slice would let the tracer ask whether it is the whole height or width."""
    places = torch.arange(side)
    return frames_NCHW.index_select(2, places + y).index_select(3, places + x)


def _part_of(frames_NCHW: Tensor, axis: int, first: int, last: int) -> Tensor:
    """A region along an axis, as `video.region.pixel_edges`, by indices as well."""
    pixels = frames_NCHW.shape[axis]
    begin = torch.sym_min((2 * first * pixels + PARTS) // (2 * PARTS), pixels - 1)
    end = torch.sym_max((2 * last * pixels + PARTS) // (2 * PARTS), begin + 1)
    return frames_NCHW.index_select(axis, torch.arange(end - begin) + begin)


def _scaled_size(height: int, width: int, settings: InputConfig) -> tuple[Any, Any]:
    """As `preprocessing.transforms.scaled_size`, for sizes that are not known yet: no branch may ask for them."""
    old = torch.sym_min(height, width)
    short = settings.resize
    if settings.aspect == "four_thirds":
        long = 4 * short // 3
        landscape, kept = width > height, old == short
        return (
            torch.sym_ite(kept, height, torch.sym_ite(landscape, short, long)),
            torch.sym_ite(kept, width, torch.sym_ite(landscape, long, short)),
        )
    half = old if settings.resize_rounding == "nearest" else 0
    return (2 * height * short + half) // (2 * old), (2 * width * short + half) // (2 * old)


def export_program(module: nn.Module, example: Tensor, free_axes: tuple[int, ...]) -> torch.export.ExportedProgram:
    """A module as a program that needs no code of its own.

    Args:
        module: In evaluation mode; takes one tensor.
        example: An input.
        free_axes: Axes of the input whose length may change.
    """
    shapes = {
        axis: torch.export.Dim.DYNAMIC if axis in free_axes else torch.export.Dim.STATIC for axis in range(example.ndim)
    }
    return torch.export.export(module.eval(), (example,), dynamic_shapes=(shapes,), strict=False)
