"""The form of a network for engines on CPUs: folded, and with the temporal shift as engines run it in place.

Layouts: B clips, T segments (frames of a clip), C channels of which M move, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipshift.models.backbones import fixed_size
from clipshift.models.folding import fold_norms
from clipshift.models.recognizer import Recognizer
from clipshift.models.shift import TemporalShift, temporal_shift

_SIDE = 64
"""Side in pixels of the frames on which channels are counted."""


class ConvolvedShift(nn.Module):
    """The temporal shift of the channels that move, as a convolution over time with weights of 0 and 1.

    Gives the numbers of [temporal_shift][clipshift.models.shift.temporal_shift], to the bit for finite features (of
    zeros, the sign may change).

    Engines for CPUs keep features channels-last, int8 engines keep them in eight bits, and both leave that layout and
    that type at operations that they do not know in them: taking clips apart in five dimensions costs a
    reordering there and back per shift, and a quantizer does not find its way through. Here nothing has more than four
    dimensions: the permutations below do not move anything in channels-last memory, where a clip of the moved channels
    is an image of T x HW positions, and the rest is splitting, convolving and concatenating along channels, which all
    engines do in place and in int8. Only the moved channels are convolved: split off, they are in memory of
    their own; engines do copy to permute features that something else, the shortcut, reads as well.

    Args:
        shift: The shift to do.
        channels: Number of channels, C.
    """

    weight: Tensor

    def __init__(self, shift: TemporalShift, channels: int) -> None:
        super().__init__()
        # One clip of three frames that holds C different ones in its middle: where they go tells the weights.
        impulse = torch.zeros(3, channels, 1, 1)
        impulse[1] = 1
        moved = temporal_shift(impulse, 3, shift.fold_div, shift.order, shift.rounding)
        taps_CK = moved.flatten(1).t().flip(1)  # a convolution's weights run against its impulse response
        stays = taps_CK[:, 1] == 1
        self.segments = shift.segments
        self.moved = int((~stays).sum())
        # A buffer, so that exporters and quantizers meet a constant; not part of the state dict.
        self.register_buffer("weight", taps_CK[: self.moved, None, :, None].contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shift features (B*T, C, H, W)."""
        if not self.moved:
            return x
        # Split, not sliced: nncf carries one quantizer through a split, and puts one behind every slice.
        moving, still = torch.split(x, [self.moved, x.shape[1] - self.moved], dim=1)
        height, width = x.shape[2], x.shape[3]
        clips_BTPM = moving.permute(0, 2, 3, 1).reshape(-1, self.segments, height * width, self.moved)
        shifted_BMTP = F.conv2d(clips_BTPM.permute(0, 3, 1, 2), self.weight, padding=(1, 0), groups=self.moved)
        frames_NHWM = shifted_BMTP.permute(0, 2, 3, 1).reshape(-1, height, width, self.moved)
        return torch.cat([frames_NHWM.permute(0, 3, 1, 2), still], dim=1)

    def extra_repr(self) -> str:
        """The settings, as `print(network)` shows them."""
        return f"segments={self.segments}, moved={self.moved}"


def engine_form(network: Recognizer) -> Recognizer:
    """A copy of a recognizer for engines on CPUs: branches and batch norms folded, shifts as convolutions over time.

    Engines fold batch norms by themselves; an exporter that meets none has a third less to do.

    Args:
        network: Any recognizer; not changed.

    Returns:
        The copy, in evaluation mode, with the logits of [fold_norms][clipshift.models.folding.fold_norms]' copy.

    Raises:
        WeightsError: As for [fold_branches][clipshift.models.folding.fold_branches].
    """
    deployed = fold_norms(network)
    channels = _channels_of_shifts(deployed)
    where = next(deployed.parameters())
    for name, module in list(deployed.named_modules()):
        if isinstance(module, TemporalShift):
            convolved = ConvolvedShift(module, channels[module]).to(where.device, where.dtype)
            deployed.set_submodule(name, convolved)
        elif getattr(module, "inplace", False):
            # Exporters write the parts of what was changed in place as slices, however it was split.
            module.inplace = False
    return deployed


def _channels_of_shifts(network: Recognizer) -> dict[TemporalShift, int]:
    """How many channels each shift of a network sees."""
    channels: dict[TemporalShift, int] = {}

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, TemporalShift):
            channels[module] = inputs[0].shape[1]

    hooks = [m.register_forward_pre_hook(count) for m in network.modules() if isinstance(m, TemporalShift)]
    where = next(network.parameters())
    height, width = fixed_size(network.backbone) or (_SIDE, _SIDE)
    clips_BTCHW = torch.zeros(1, network.segments, 3, height, width, device=where.device, dtype=where.dtype)
    try:
        with torch.no_grad():
            network(clips_BTCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return channels
