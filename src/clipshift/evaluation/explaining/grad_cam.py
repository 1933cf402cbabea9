"""Grad-CAM over time: where in each frame a network finds what speaks for a class.

From Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.

Layouts: T frames, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from clipshift.config import InputConfig
from clipshift.device import autocast
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.models.backbones import as_maps, stage_ends
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.transforms import evaluation_views, normalize

_ONE_AT_A_TIME = threading.Lock()
"""The network watches itself, and its weights are exchanged, for a moment: two at once would see each other's."""
_LEAST_CELLS = 5
"""Along a side of a map. A crop of 224 pixels has 7 in most networks' last maps; of a smaller crop these would show no
place, and those of an earlier stage are taken."""


def has_maps(scorer: NetworkScorer) -> bool:
    """Whether the network ends in maps of features, which lie as the picture does, and not in tokens or one vector."""
    network = scorer.network
    if not isinstance(network, Recognizer) or not hasattr(network.backbone, "forward_features"):
        return False
    backbone: Any = network.backbone
    side = scorer.spec.input.crop
    with _ONE_AT_A_TIME, torch.no_grad():
        found: Tensor = backbone.forward_features(torch.zeros(network.segments, 3, side, side, device=scorer.device))
    return found.ndim == 4


def grad_cam(scorer: NetworkScorer, frames_THWC: np.ndarray, label: int) -> Tensor:
    """Heat maps of the center crop of one set of frames.

    Of the maps A of features of each frame t, with y the logit of the class for the whole clip (equations 1 and 2):
    weights alpha_tk = mean over i, j of dy / dA_tkij, and heat ReLU(sum over k of alpha_tk A_tkij). The maps are the
    last ones or, of small crops, those of the last stage with five cells along each side. The gradient goes through
    all that follows: stages, shifts, pooling, the average over the frames, the classifier.

    Args:
        scorer: Of a network that [has maps][clipshift.evaluation.explaining.grad_cam.has_maps].
        frames_THWC: uint8 (T, H, W, 3), RGB.
        label: Number of the class.

    Returns:
        float32 (T, h, w) on the CPU, 0 and above, in logits.
    """
    network = scorer.network
    if not isinstance(network, Recognizer):
        raise TypeError(f"a recognizer is expected, got {type(network).__name__}")
    clip_TCHW = normalized_center(frames_THWC, scorer.spec.input).to(scorer.device)
    with _ONE_AT_A_TIME, torch.inference_mode(mode=False), autocast(scorer.device, scorer.amp):
        with torch.no_grad():
            backbone: Any = network.backbone
            maps, last = _watched(network, clip_TCHW)
        with torch.enable_grad():
            if min(as_maps(network.backbone, last).shape[2:]) >= _LEAST_CELLS or not maps:
                leaf = last.detach().requires_grad_()
                logits = network.classify(backbone.forward_head(leaf)[None])
            else:
                leaf, logits = _from_stage(network, clip_TCHW, maps[-1])
            (gradient,) = torch.autograd.grad(logits[0, label].float(), leaf)
    heat_TCHW, gradient_TCHW = (as_maps(network.backbone, each.detach().float()) for each in (leaf, gradient))
    return F.relu((gradient_TCHW.mean(dim=(2, 3), keepdim=True) * heat_TCHW).sum(dim=1)).cpu()


def normalized_center(frames_THWC: np.ndarray, settings: InputConfig) -> Tensor:
    """The center crop as the network takes it: float32 (T, 3, crop, crop)."""
    return normalize(evaluation_views(frames_THWC, settings, "center")[0], settings.mean, settings.std)


def _watched(network: Recognizer, clip_TCHW: Tensor) -> tuple[list[nn.Module], Tensor]:
    """The ends of stages whose maps have enough cells, in their order, and the last features of the backbone."""
    large: list[nn.Module] = []

    def see(module: nn.Module, _: object, output: object) -> None:
        maps = as_maps(network.backbone, output) if isinstance(output, Tensor) and output.ndim == 4 else None
        if maps is not None and min(maps.shape[2:]) >= _LEAST_CELLS:
            large.append(module)

    backbone: Any = network.backbone
    hooks = [backbone.get_submodule(name).register_forward_hook(see) for name in stage_ends(backbone).values()]
    try:
        last: Tensor = backbone.forward_features(clip_TCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return large, last


def _from_stage(network: Recognizer, clip_TCHW: Tensor, stage: nn.Module) -> tuple[Tensor, Tensor]:
    """The maps at the end of a stage, which gradients are taken of, and the logits (1, K) that come of them."""
    found: list[Tensor] = []

    def cut(_: nn.Module, __: object, output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_())
        return found[-1]

    hook = stage.register_forward_hook(cut)
    try:
        # Weights without gradients: nothing before the stage is kept.
        weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
        logits: Tensor = functional_call(network, weights, (clip_TCHW[None],))
    finally:
        hook.remove()
    return found[-1], logits
