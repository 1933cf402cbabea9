"""Streams through a PyTorch network, with its preprocessing.

Layouts: B streams, H height, W width, K classes.
"""

from __future__ import annotations

import numpy as np
import torch

from clipshift.config import ModelSpec
from clipshift.device import Amp, autocast
from clipshift.errors import ConfigError
from clipshift.inference.engines.streaming import Logits
from clipshift.inference.engines.torch_program import begin_answer
from clipshift.models.online import OnlineRecognizer, State
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.transforms import evaluation_views, normalize


def check_one_crop(spec: ModelSpec) -> None:
    """Raise an error for a model that looks at several crops of a frame, or at what moves in a clip.

    Each crop would be a stream of its own; what moves is known once all frames are there.

    Raises:
        ConfigError: It does.
    """
    if spec.input.region == "motion":
        raise ConfigError(
            "A stream is seen one frame at a time, and this model looks at what moves in a whole clip.",
            where="input.region",
            got="motion",
            allowed="a fixed region, or none",
            remedy="let it answer for a sliding window of the last frames, or train without input.region=motion",
        )
    if spec.crops != "center":
        raise ConfigError(
            "A stream sees one crop of each frame, and this model takes several.",
            where="crops",
            got=spec.crops,
            allowed="center",
            remedy="clipshift export MODEL --to onnx --streaming --crops center --out FOLDER",
        )


class NetworkStepper:
    """A causal network as a [Stepper][clipshift.inference.engines.streaming.Stepper]; states are tensors on its device.

    Args:
        network: Causal, on `device`; in its inference form, or as trained.
        spec: How frames become its input.
        device: Where it is.
        amp: Precision of the forward pass.

    Raises:
        ConfigError: The network takes from later frames, or the model takes several crops.
    """

    def __init__(self, network: Recognizer, spec: ModelSpec, device: torch.device, amp: Amp = "fp32") -> None:
        check_one_crop(spec)
        self._online = OnlineRecognizer(network)
        self._spec, self._device, self._amp = spec, device, amp

    @property
    def window(self) -> int:
        """Frames that the average is over."""
        return self._online.window

    def initial_state(self, streams: int) -> State:
        """Zeros."""
        with autocast(self._device, self._amp):
            return self._online.initial_state(streams, self._spec.side, self._spec.side)

    def step(self, frames_BHWC: np.ndarray, state: State) -> tuple[Logits, State]:
        """Answer to one frame of each stream, uint8 (B, H, W, 3).

        Raises:
            ConfigError: The state is not of this model, or not of so many streams.
            UserError: PyTorch has answered in the process that this one was forked from.
        """
        begin_answer()
        settings = self._spec.input
        # One crop of B frames, which here are of B streams.
        frames_BCHW = evaluation_views(frames_BHWC, settings, "center")[0].to(self._device)
        with torch.no_grad(), autocast(self._device, self._amp):
            try:
                scores, after = self._online.step(normalize(frames_BCHW, settings.mean, settings.std), state)
            except ValueError as error:
                raise ConfigError(
                    "The state is not of this model, or not of so many streams.", got=str(error)
                ) from error
        return Logits(*(each.float().cpu().numpy() for each in scores)), after
