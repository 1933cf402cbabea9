"""Exports for live streams: one frame of each stream and what the streams keep in, answers and the same out.

The file begins with the preprocessing of all exports, here of one frame. What streams keep is explicit: an engine holds
nothing between two calls, so any number of streams can share it, stop, go on elsewhere, and begin anew.

Layouts: B streams, T frames, H height, W width, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from clipshift.config import InputConfig, ModelSpec
from clipshift.errors import ExportError
from clipshift.exporting.comparison import random_frames
from clipshift.inference.engines.streaming import Stepper
from clipshift.inference.export_folder import Checked, InputForm, Precision, Streaming, StreamTensor, Target
from clipshift.inference.network_stepper import check_one_crop
from clipshift.models.folding import fold_norms
from clipshift.models.online import OnlineRecognizer, check_causal
from clipshift.models.recognizer import Recognizer

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST_FRAME_ERROR = 1e-5
"""Of the logits of a frame, relative to the largest logit, that fp32 may have from the trained model."""
PRECISIONS: dict[Target, tuple[Precision, ...]] = {
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
}
"""What streaming exports can be."""
_ANSWERS = ("probabilities", "logits", "frame_logits")


def check_streaming(
    network: Recognizer, spec: ModelSpec, target: Target, precision: Precision, form: InputForm
) -> None:
    """Raise an error unless a model can be exported to take one frame at a time.

    Raises:
        ConfigError: The network takes from later frames, or the model several crops.
        ExportError: The target, precision or input is not one of streaming exports.
    """
    if target not in PRECISIONS:
        raise ExportError("The target has no streaming exports.", where="--to", got=target, allowed=tuple(PRECISIONS))
    if precision not in PRECISIONS[target]:
        raise ExportError(
            "Streaming exports have no such precision.",
            where="--precision",
            got=f"{precision} for {target}",
            allowed=PRECISIONS[target],
        )
    if form != "frames":
        raise ExportError("A streaming export takes frames as decoded.", where="--input", got=form, allowed="frames")
    check_causal(network.model)
    check_one_crop(spec)


def describe_streaming(network: Recognizer, spec: ModelSpec) -> Streaming:
    """What the file of a causal network will keep of streams."""
    online = OnlineRecognizer(network)
    *shifts, recent, seen = online.initial_state(1, spec.side, spec.side)
    named = {f"shift_{number}": tensor for number, tensor in enumerate(shifts)}
    named |= {"recent_logits": recent, "frames_seen": seen}
    states = [
        StreamTensor(name=name, next_name=f"next_{name}", shape=tuple(tensor.shape[1:]))
        for name, tensor in named.items()
    ]
    return Streaming(window=online.window, states=tuple(states))


class StreamingRecognizer(nn.Module):
    """From normalized frames (B, 3, H, W) and the state to probabilities, logits, those of the frame, and the state.

    Args:
        network: Causal, in evaluation mode; a copy in its form for deployment is taken.
        spec: Whether a video has one class or several, and the temperature.
    """

    def __init__(self, network: Recognizer, spec: ModelSpec) -> None:
        super().__init__()
        self.online = OnlineRecognizer(fold_norms(network).cpu().float())
        self.several = spec.labels == "several"
        self.temperature = spec.temperature

    def forward(self, frames_BCHW: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Probabilities and logits of the average, logits of the frame, and what the streams keep."""
        scores, after = self.online.step(frames_BCHW, state)
        scaled = scores.average if self.temperature == 1 else scores.average / self.temperature
        return scaled.sigmoid() if self.several else scaled.softmax(dim=1), scores.average, scores.frame, *after


def streaming_to_onnx(network: Recognizer, spec: ModelSpec, streaming: Streaming) -> ModelProto:
    """From `pixels`, normalized frames (B, 3, side, side), and the states to answers and states.

    Args:
        network: Causal, in evaluation mode; not changed.
        spec: Size of the pixels, and classes.
        streaming: Names and shapes of the states.
    """
    from clipshift.exporting.onnx_graph import module_to_onnx

    # Two streams: an axis of length one would be taken for one that never changes.
    takes = {"pixels": torch.zeros(2, 3, spec.side, spec.side)}
    takes |= {each.name: torch.zeros(2, *each.shape) for each in streaming.states}
    gives = [*_ANSWERS, *(each.next_name for each in streaming.states)]
    return module_to_onnx(StreamingRecognizer(network, spec), takes, gives, first_axis="streams")


def check_frames(expected: Stepper, found: Stepper, spec: ModelSpec, precision: Precision, checked: Checked) -> Checked:
    """Let a model and its export answer to streams of random frames of several sizes, frame by frame.

    Args:
        expected: The trained model.
        found: The export.
        spec: The model's description.
        precision: Of the export; only fp32 is held to `LARGEST_FRAME_ERROR`.
        checked: What was found of clips.

    Returns:
        That, with what was found of frames.

    Raises:
        ExportError: They differ by more than fp32 allows, or one of them answers with NaN.
    """
    largest, frames = 0.0, 0
    for clips_BTHWC in random_frames(spec.model_copy(update={"input": _few_frames(spec)})):
        one, other = (_answers(stepper, clips_BTHWC) for stepper in (expected, found))
        errors = [np.abs(a - b).max() / np.abs(a).max() for a, b in zip(one, other, strict=True)]
        largest = float(np.max([largest, *errors]))  # unlike the `max` of Python, it keeps NaN
        frames += clips_BTHWC.shape[0] * clips_BTHWC.shape[1]
    if not np.isfinite(largest) or (precision == "fp32" and largest > LARGEST_FRAME_ERROR):
        raise ExportError(
            "The exported file does not give the numbers of the model, frame by frame; nothing was written.",
            got=f"logits that differ by {largest:.1e} of the largest",
            allowed=f"{LARGEST_FRAME_ERROR:.0e}" if precision == "fp32" else "numbers",
        )
    return checked.model_copy(update={"frames": frames, "largest_frame_error": largest})


def _answers(stepper: Stepper, clips_BTHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the frames and of the averages, (T, B, K) both."""
    state = stepper.initial_state(len(clips_BTHWC))
    answers = []
    for number in range(clips_BTHWC.shape[1]):
        logits, state = stepper.step(np.ascontiguousarray(clips_BTHWC[:, number]), state)
        answers.append(logits)
    return np.stack([each.frame for each in answers]), np.stack([each.average for each in answers])


def _few_frames(spec: ModelSpec) -> InputConfig:
    """Two frames more than the window has: the average slides at the end."""
    return spec.input.model_copy(update={"segments": spec.input.segments + 2})
