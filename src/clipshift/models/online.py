"""A causal network, one frame at a time: what a stream needs of its past is a tuple of tensors, passed in and out.

With `model.shift.order=past_only` (Lin et al., "TSM", ICCV 2019, section 4.2) no frame takes from a later one. So of
the past a shifted block needs no more than the channels that it moves, of the frame before: that is its state. The
frames of a clip that come first take zeros from before it, and so does a stream: all of a state begins as zeros.

What is answered at a frame: its own logits, and the average of the logits of the last W frames (of those that there
were, if fewer), W the network's `segments` unless another window is asked for. Over a clip, the network averages the
logits of its T frames; so W = T steps from a fresh state end with the average that it gives for a clip of these frames.
Later averages are not those of any clip: their first frames, too, know what was before them.

Layouts: B streams, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from contextvars import ContextVar
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clipshift.config.schema import ModelConfig
from clipshift.errors import ConfigError
from clipshift.models.recognizer import Recognizer
from clipshift.models.shift import TemporalShift, fold_ends

State = tuple[Tensor, ...]
"""All that streams keep: for each shift (B, C moved, H, W), then the logits of the last frames (B, window, K), then how
many of these there are (B, 1). Row b belongs to stream b alone; zeros are the start of a stream."""


class OnlineScores(NamedTuple):
    """What is answered at a frame.

    Attributes:
        frame: Logits of the frame (B, K).
        average: Logits averaged over the window (B, K), in float32 or better.
    """

    frame: Tensor
    average: Tensor


def check_causal(model: ModelConfig) -> None:
    """Raise an error unless a network can answer at a frame without the frames that come after it.

    Raises:
        ConfigError: It takes from later frames.
    """
    window = "or classify a sliding window of the last frames with `predict`"
    if model.motion:
        raise ConfigError(
            "The classifier of this network reads the changes between all frames of a clip: such a network cannot take "
            "one frame at a time.",
            where="model.motion",
            got="true",
            allowed="false, with model.shift.order=past_only",
            remedy=f"train one that can: --recipe finetune-online; {window}",
        )
    if model.architecture == "tsn":
        return
    if model.temporal_attention:
        raise ConfigError(
            "Temporal attention weighs every frame by all others of its clip: such a network cannot take one frame at "
            "a time.",
            where="model.temporal_attention",
            got="true",
            allowed="false, with model.shift.order=past_only",
            remedy=f"train without it: --recipe pptsmv2 model.shift.order=past_only; {window}",
        )
    if model.shift.order != "past_only":
        raise ConfigError(
            "The shift of this network takes from later frames: such a network cannot take one frame at a time.",
            where="model.shift.order",
            got=model.shift.order,
            allowed="past_only, and any TSN",
            remedy=f"train one that can: --recipe finetune-online, or model.shift.order=past_only; {window}",
        )


class OnlineRecognizer(nn.Module):
    """A causal recognizer that takes one frame of each stream at a time.

    It holds nothing of its streams: what they keep goes in and comes out at every step. It shares its weights with the
    network that it is made from.

    Args:
        network: Causal; as trained, or in its inference form; not changed.
        window: Frames that the average is over. Default: the network's `segments`.

    Raises:
        ConfigError: The network takes from later frames.
    """

    def __init__(self, network: Recognizer, window: int | None = None) -> None:
        super().__init__()
        check_causal(network.model)
        self.window = network.segments if window is None else window
        tensors = (*network.parameters(), *network.buffers())
        one_frame = deepcopy(network, {id(tensor): tensor for tensor in tensors}).eval()
        one_frame.segments = 1
        for name, module in list(one_frame.named_modules()):
            if isinstance(module, TemporalShift):
                one_frame.set_submodule(name, _StreamShift(module))
        self.network = one_frame

    def initial_state(self, streams: int, height: int, width: int) -> State:
        """The state before the first frame: zeros.

        Args:
            streams: Streams in a batch, B.
            height: Of the frames that the network will see, in pixels.
            width: Of these frames, in pixels.
        """
        where = next(self.network.backbone.parameters())
        frame_BCHW = torch.zeros(1, 3, height, width, device=where.device, dtype=self.network.classifier.weight.dtype)
        with torch.no_grad():
            _, first = self.step(frame_BCHW, None)
        return tuple(tensor.new_zeros(streams, *tensor.shape[1:]) for tensor in first)

    def step(self, frames_BCHW: Tensor, state: State | None) -> tuple[OnlineScores, State]:
        """Take in one frame of each stream.

        Args:
            frames_BCHW: Normalized frames, floating point (B, 3, H, W), of one size for the whole life of a stream.
            state: What the step before gave, or `initial_state`; it is not changed. None: all streams begin.

        Returns:
            The logits, and the state for the next frames.

        Raises:
            ValueError: The state is not one of this network and so many streams.
        """
        carried = _Carried(None if state is None else state[:-2])
        token = _CARRIED.set(carried)
        try:
            logits_BK = self.network(frames_BCHW[:, None])
        finally:
            _CARRIED.reset(token)
        carried.check_all_taken()
        average_BK, recent_BWK, seen_B1 = self._average(logits_BK, None if state is None else state[-2:])
        return OnlineScores(logits_BK, average_BK), (*carried.after, recent_BWK, seen_B1)

    def forward(self, frames_BCHW: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The same with everything in a row: the logits of the frames, their averages, and the state."""
        scores, after = self.step(frames_BCHW, state)
        return (*scores, *after)

    def _average(self, logits_BK: Tensor, kept: State | None) -> tuple[Tensor, Tensor, Tensor]:
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        streams, classes = logits_BK.shape
        if kept is None:
            recent_BWK = logits_BK.new_zeros(streams, self.window, classes)
            seen_B1 = logits_BK.new_zeros(streams, 1)
        else:
            recent_BWK, seen_B1 = kept
        recent_BWK = torch.cat([recent_BWK[:, 1:], logits_BK[:, None]], dim=1)
        seen_B1 = (seen_B1 + 1).clamp(max=self.window)
        # Where there was no frame yet, the window holds zeros.
        return recent_BWK.sum(dim=1) / seen_B1, recent_BWK, seen_B1


def reset_streams(state: State, *streams: int) -> State:
    """A state in which some streams begin anew; the others, and the state that is given, stay as they are.

    Args:
        state: Of any causal network.
        streams: Numbers of the streams, rows of the state.
    """
    fresh = tuple(tensor.clone() for tensor in state)
    for tensor in fresh:
        tensor[list(streams)] = 0
    return fresh


class _Carried:
    """The state on its way through one step: the shifts take and give their parts in the order in which they run."""

    def __init__(self, before: State | None) -> None:
        self.before = before
        self.after: list[Tensor] = []

    def exchange(self, moved_BCHW: Tensor) -> Tensor:
        """Give the moved channels of this frame, take those of the frame before."""
        number = len(self.after)
        # A copy: a view would keep all the channels in memory, and change with them.
        self.after.append(moved_BCHW.clone())
        if self.before is None:
            return torch.zeros_like(moved_BCHW)
        if number >= len(self.before) or self.before[number].shape != moved_BCHW.shape:
            got = tuple(self.before[number].shape) if number < len(self.before) else "nothing"
            raise ValueError(f"the state is not of these streams: shift {number} keeps {moved_BCHW.shape}, got {got}")
        return self.before[number]

    def check_all_taken(self) -> None:
        if self.before is not None and len(self.before) != len(self.after):
            raise ValueError(f"the state is of {len(self.before)} shifts, the network has {len(self.after)}")


# The code of the backbones hands on features alone; a variable of the context is seen by no other thread.
_CARRIED: ContextVar[_Carried] = ContextVar("carried")


class _StreamShift(nn.Module):
    """The shift of the past for one frame: its first channels are those of the frame before."""

    def __init__(self, shift: TemporalShift) -> None:
        super().__init__()
        self.fold_div, self.rounding = shift.fold_div, shift.rounding

    def forward(self, x: Tensor) -> Tensor:
        """Shift features (B, C, H, W)."""
        moved, _ = fold_ends(x.shape[1], self.fold_div, self.rounding)
        if not moved:
            return x
        moving, still = torch.split(x, [moved, x.shape[1] - moved], dim=1)
        return torch.cat([_CARRIED.get().exchange(moving), still], dim=1)
