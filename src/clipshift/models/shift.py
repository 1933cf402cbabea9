"""The temporal shift of TSM (Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019).

Layouts: B clips, T segments (frames of a clip), C channels, H height, W width. The frames of a clip lie one after
the other along the batch axis, so that 2D layers see (B*T, C, H, W).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

Order = Literal["future_first", "past_first", "past_only"]
Rounding = Literal["each", "total"]


def fold_ends(channels: int, fold_div: int, rounding: Rounding) -> tuple[int, int]:
    """Where the two moved groups of channels end: [0, first) and [first, second) move, [second, channels) stay.

    Args:
        channels: Number of channels, C.
        fold_div: One part in `fold_div` of the channels moves in each direction.
        rounding: `each`: both groups have C // fold_div channels (MIT, mmaction2); `total`: they end at
            C // fold_div and 2 C // fold_div (PaddlePaddle's operator).
    """
    first = channels // fold_div
    return first, 2 * first if rounding == "each" else 2 * channels // fold_div


def temporal_shift(
    x: Tensor,
    segments: int,
    fold_div: int = 8,
    order: Order = "future_first",
    rounding: Rounding = "each",
) -> Tensor:
    """Move some channels by one frame, within each clip; zeros enter at its ends (the paper, section 3.2).

    With `future_first` (the paper, MIT, mmaction2) the first group of channels takes the values of frame t+1 and the
    second those of t-1; with `past_first` (PaddleVideo) it is the other way round. With `past_only` (the paper, section
    4.2: online TSM) the first group takes those of t-1 and nothing else moves: no frame waits for a later one.

    Args:
        x: Features (B*T, C, H, W) of any floating type, on any device; not changed.
        segments: Frames per clip, T.
        fold_div: One part in `fold_div` of the channels moves in each direction.
        order: Which way the first group moves.
        rounding: The group sizes where C / fold_div is not whole; see [fold_ends][clipshift.models.shift.fold_ends].

    Returns:
        Features of the same shape, type and memory format.

    Raises:
        ValueError: B*T is not a multiple of `segments`.
    """
    if x.shape[0] % segments:
        raise ValueError(f"a batch of {x.shape[0]} frames cannot be cut into clips of {segments} frames")
    first, second = fold_ends(x.shape[1], fold_div, rounding)
    if order == "past_only":
        second = first
    step = 1 if order == "future_first" else -1
    # Compilers and exporters get the operators that they know best, and fuse them; run one by one, they copy more.
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return _concatenate(x, segments, first, second, step)
    return _Shift.apply(x, segments, first, second, step)  # type: ignore[no-any-return]


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _concatenate(x: Tensor, segments: int, first: int, second: int, step: int) -> Tensor:
    """The shift from concatenations: channels [0, first) take frame t + step, [first, second) frame t - step."""
    # Working along the axis that is contiguous in memory keeps channels-last tensors channels-last without a copy.
    channels_last = _is_channels_last(x)
    frames = x.permute(0, 2, 3, 1) if channels_last else x
    channel_axis = 4 if channels_last else 2
    clips = torch.unflatten(frames, 0, (-1, segments))
    group_a, group_b, still = torch.split(clips, [first, second - first, x.shape[1] - second], dim=channel_axis)
    moved = [_from_future(group_a), _from_past(group_b), still]
    if step < 0:
        moved = [_from_past(group_a), _from_future(group_b), still]
    shifted = torch.cat(moved, dim=channel_axis).flatten(0, 1)
    return shifted.permute(0, 3, 1, 2) if channels_last else shifted


def _from_future(group: Tensor) -> Tensor:
    """Frame t takes the values of frame t+1, the last one zeros; time is axis 1 of 5."""
    # Concatenated, not padded: the padding of torch 2.9 refuses what is empty (one frame, or less than one channel).
    return torch.cat([group[:, 1:], torch.zeros_like(group[:, :1])], dim=1)


def _from_past(group: Tensor) -> Tensor:
    """Frame t takes the values of frame t-1, the first one zeros; time is axis 1 of 5."""
    return torch.cat([torch.zeros_like(group[:, :1]), group[:, :-1]], dim=1)


class _Shift(torch.autograd.Function):
    """The same from copies into one new tensor; its gradient is the shift back, done the same way.

    Autograd's own gradient of slices and concatenations fills and adds whole tensors of zeros.
    """

    @staticmethod
    def forward(x: Tensor, segments: int, first: int, second: int, step: int) -> Tensor:
        channels_last = _is_channels_last(x)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        shifted = torch.empty_like(x, memory_format=layout)
        sizes = (-1, segments) if x.shape[0] else (0, segments)
        source, target = torch.unflatten(x, 0, sizes), torch.unflatten(shifted, 0, sizes)
        # Channels-last, a pixel's still channels are a short run: one copy of all is quicker than many short ones.
        still = slice(0, None) if channels_last else slice(second, None)
        target[:, :, still] = source[:, :, still]
        _move(source[:, :, :first], target[:, :, :first], step)
        _move(source[:, :, first:second], target[:, :, first:second], -step)
        return shifted

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int, int, int], output: Tensor) -> None:  # noqa: ANN401, ARG004
        _, *ctx.settings, ctx.step = inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:  # noqa: ANN401
        return _Shift.apply(gradients[0], *ctx.settings, -ctx.step), None, None, None, None


def _move(source: Tensor, target: Tensor, step: int) -> None:
    """Frame t of the target takes frame t + step, the one that has none zeros; time is axis 1 of 5, step 1 or -1."""
    if step > 0:
        target[:, :-1] = source[:, 1:]
        target[:, -1:] = 0
    else:
        target[:, 1:] = source[:, :-1]
        target[:, :1] = 0


class TemporalShift(nn.Module):
    """[temporal_shift][clipshift.models.shift.temporal_shift] with its settings; has no parameters.

    Input and output: features (B*T, C, H, W).
    """

    def __init__(
        self, segments: int, fold_div: int = 8, order: Order = "future_first", rounding: Rounding = "each"
    ) -> None:
        super().__init__()
        self.segments = segments
        self.fold_div = fold_div
        self.order: Order = order
        self.rounding: Rounding = rounding

    def forward(self, x: Tensor) -> Tensor:
        """Shift features (B*T, C, H, W)."""
        return temporal_shift(x, self.segments, self.fold_div, self.order, self.rounding)

    def extra_repr(self) -> str:
        """The settings, as `print(network)` shows them."""
        return f"segments={self.segments}, fold_div={self.fold_div}, order={self.order}, rounding={self.rounding}"


class ShiftedConv2d(nn.Conv2d):
    """A 2D convolution whose input is shifted in time first.

    It takes the place of the convolution that it is made from, with the same parameters under the same names, so a
    network's state dict does not tell whether it shifts.

    Args:
        conv: The convolution to replace; its parameters are taken over, not copied.
        shift: The shift to do before it.
    """

    def __init__(self, conv: nn.Conv2d, shift: TemporalShift) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]  # 2-tuples, which torch's annotations call tuple[int, ...]
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device="meta",  # nothing is drawn for parameters that are replaced at once
        )
        self.weight = conv.weight
        self.bias = conv.bias
        self.shift = shift
        self.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name in nn.Conv2d
        """Shift features (B*T, C, H, W), then convolve them."""
        return super().forward(self.shift(input))
