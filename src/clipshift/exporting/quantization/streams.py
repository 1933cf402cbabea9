"""What int8 of a streaming export is measured and judged on: steps of a stream that goes on, and streams of clips.

Layouts: B streams, T frames of a clip, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipshift.exporting.quantization.accuracy_control import Outputs
from clipshift.inference.export_folder import Streaming
from clipshift.models.online import OnlineRecognizer
from clipshift.models.recognizer import Recognizer

PIXELS = "pixels"
"""The input of a streaming network that its preprocessing gives: normalized frames (B, 3, side, side)."""
Step = dict[str, NDArray[Any]]
"""Inputs of a streaming network by name: pixels and states."""
_STEPS_A_CLIP = 2


def real_steps(network: Recognizer, streaming: Streaming, clips: Sequence[NDArray[Any]]) -> list[Step]:
    """Steps of one stream through all clips, whose states are those of a stream that has been going on.

    A state of zeros, the start of a stream, is in any range; so no clip begins anew, as if the source had cut to it.

    Args:
        network: Causal, in evaluation mode.
        streaming: Names of the states.
        clips: Normalized, float32 (1, T, 3, side, side) each.

    Returns:
        Two steps a clip, each time others of its T frames.
    """
    online = OnlineRecognizer(network)
    names = [each.name for each in streaming.states]
    steps: list[Step] = []
    state = None
    with torch.inference_mode():
        for number, clip in enumerate(clips):
            frames = torch.from_numpy(clip)
            length = frames.shape[1]
            wanted = {(number + place * length // _STEPS_A_CLIP) % length for place in range(_STEPS_A_CLIP)}
            for place in range(length):
                if state is None:
                    state = online.initial_state(1, *frames.shape[-2:])
                if place in wanted:
                    kept = {name: tensor.numpy() for name, tensor in zip(names, state, strict=True)}
                    steps.append({PIXELS: clip[:, place], **kept})
                _, state = online.step(frames[:, place], state)
    return steps


def along_clips(step: Callable[[Step], Mapping[str, NDArray[Any]]], streaming: Streaming) -> Callable[[Any], Outputs]:
    """What answers to a clip as a streaming export does: the average at the end of a stream of its frames.

    Args:
        step: A network: from its inputs to its outputs, by name.
        streaming: Names and shapes of the states.

    Returns:
        From a clip (1, T, 3, side, side) to logits (1, K).
    """

    def run(clip: NDArray[Any]) -> Outputs:
        kept: Step = {each.name: np.zeros((1, *each.shape), np.float32) for each in streaming.states}
        for place in range(clip.shape[1]):
            answers = step({PIXELS: clip[:, place], **kept})
            kept = {each.name: answers[each.next_name] for each in streaming.states}
        return answers["logits"]

    return run
