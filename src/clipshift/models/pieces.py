"""The first layers of a network on a few frames at a time: the same numbers, from memory that is still at hand.

Before frames are mixed in time each goes through the layers by itself. There the pictures are large: the activations of
16 frames of 112 x 112 in 64 channels are 51 MB, which no cache holds, and which the C library gets anew from the system
for every layer. Those of four frames stay in caches and in memory that the process keeps.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.models import efficientnet, lcnetv2
from torch import Tensor, nn

from clipshift.models.recognizer import Recognizer
from clipshift.models.shift import TemporalShift
from clipshift.models.temporal_attention import TemporalAttention

FRAMES = 4
"""Frames at a time: of one, convolutions of small pictures would have too little to do."""

_IN_ORDER: dict[type[nn.Module], tuple[str, ...]] = {
    lcnetv2.LCNetV2: ("stem", "stages"),
    efficientnet.EfficientNet: ("conv_stem", "bn1", "blocks"),
}
"""By the kind of network: its first parts, in the order in which it calls them, one after the other. Of other kinds
(ResNet, MobileNetV3) the numbers come no sooner so."""

_SIDE = 64
"""Of the frame that tells how large the pictures are in each layer."""

_LARGE = 8
"""A layer's pictures are large while they have more than this fraction of the frame's side."""


class InPieces(nn.Sequential):
    """Layers one after the other that see every frame by itself, on the CPU a few frames at a time.

    Input and output: features (B*T, C, H, W).
    """

    def forward(self, x: Tensor) -> Tensor:
        """The features of all frames."""
        frames = x.shape[0]
        if frames <= FRAMES or x.device.type != "cpu":
            return self._all(x)
        piece = self._all(x[:FRAMES])
        result = torch.empty((frames, *piece.shape[1:]), dtype=piece.dtype, memory_format=_layout(piece))
        result[:FRAMES] = piece
        for start in range(FRAMES, frames, FRAMES):
            result[start : start + FRAMES] = self._all(x[start : start + FRAMES])
        return result

    def _all(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x


def first_layers_in_pieces(network: Recognizer) -> None:
    """Let the layers of a network that come before anything in time, and see large pictures, work on pieces; in place.

    Args:
        network: In evaluation mode. Of kinds of backbones that are not known nothing is changed; of others the names of
            the first layers.
    """
    names = next((names for kind, names in _IN_ORDER.items() if isinstance(network.backbone, kind)), ())
    where = next(network.parameters())
    x = torch.zeros(1, 3, _SIDE, _SIDE, device=where.device, dtype=where.dtype)
    chosen: list[tuple[str, nn.Module]] = []
    with torch.no_grad():
        for name, layer in _layers(network.backbone, names):
            if _LARGE * x.shape[-1] <= _SIDE or _mixes_frames(layer):
                break
            x = layer(x)
            chosen.append((name, layer))
    if chosen:
        for name, _ in chosen:
            network.backbone.set_submodule(name, nn.Identity())
        network.backbone.set_submodule(chosen[0][0], InPieces(*(layer for _, layer in chosen)).eval())


def _layers(backbone: nn.Module, names: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    """The layers of some parts, in order, those of plain sequences one by one."""
    for name in names:
        part = backbone.get_submodule(name)
        if type(part) is nn.Sequential:
            yield from ((f"{name}.{inner}", layer) for inner, layer in _layers_of(part))
        else:
            yield name, part


def _layers_of(sequence: nn.Sequential) -> Iterator[tuple[str, nn.Module]]:
    return _layers(sequence, tuple(name for name, _ in sequence.named_children()))


def _mixes_frames(layer: nn.Module) -> bool:
    return any(isinstance(module, TemporalShift | TemporalAttention) for module in layer.modules())


def _layout(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
