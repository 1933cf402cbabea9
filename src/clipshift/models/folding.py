"""Forms of a network with the same numbers and less to do: branches and batch norms folded into convolutions."""

from __future__ import annotations

import logging
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.models import reparameterize_model
from torch import Tensor, nn
from torch.autograd.graph import Node

from clipshift.errors import WeightsError
from clipshift.models.backbones import fixed_size
from clipshift.models.pieces import first_layers_in_pieces
from clipshift.models.recognizer import Recognizer

_LOG = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest allowed difference of the logits before and after folding, relative to the largest logit."""


def fold_branches(network: Recognizer) -> Recognizer:
    """A copy of a recognizer in its folded form; of networks without parallel branches, a plain copy.

    PP-LCNetV2 and others of timm (RepVGG, FastViT ...) train several convolutions with batch norms side by side, whose
    sum is one convolution in evaluation mode (Ding et al., "RepVGG", CVPR 2021, section 3.3).

    Args:
        network: Any recognizer; not changed.

    Returns:
        The copy, in evaluation mode. It cannot be trained on as the original can.

    Raises:
        WeightsError: The network gives no finite numbers, or the copy gives others: weights or batch norms are out of
            any sensible range.
    """
    folded = _fold_branches(network)
    if next(network.parameters()).device.type != "meta":
        _check_same(network, folded)
    return folded


def _fold_branches(network: Recognizer) -> Recognizer:
    return cast("Recognizer", reparameterize_model(network).eval())


def fold_norms(network: Recognizer) -> Recognizer:
    """A copy of a recognizer in its folded form, with batch norms folded, too.

    A batch norm in evaluation mode is a factor and an offset of each channel, which the convolution before it can have
    in its weights (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018, section 3.2). Where rounding makes the logits of that differ by more than `TOLERANCE`, as it
    can in the deepest networks, batch norms stay.

    Args:
        network: Any recognizer; not changed.

    Returns:
        The copy, in evaluation mode, with other names in its state dict. It cannot be trained on.

    Raises:
        WeightsError: As for [fold_branches][clipshift.models.folding.fold_branches].
    """
    folded = _fold_norms(network)
    return folded if _difference(network, folded) <= TOLERANCE else fold_branches(network)


def _fold_norms(network: Recognizer) -> Recognizer:
    with torch.inference_mode(mode=False):  # whose tensors tell nothing of where they come from
        folded = _fold_branches(network)
        for norm_name, conv in _convolutions_of_norms(folded).items():
            norm = cast("nn.BatchNorm2d", folded.get_submodule(norm_name))
            _fold_norm(conv, norm)
            # timm's batch norms have the activation in them.
            after = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
            folded.set_submodule(norm_name, after.eval())
    return folded


def inference_form(network: Recognizer) -> Recognizer:
    """A copy of a recognizer in the form that PyTorch runs fastest: branches and batch norms folded, channels-last.

    They are folded as by [fold_norms][clipshift.models.folding.fold_norms]. On a CPU the first layers of some networks
    work on a few frames at a time ([pieces][clipshift.models.pieces]).

    Where rounding makes the logits of that differ by more than `TOLERANCE`, as it can in the deepest networks, the copy
    has the trained form, which is slower, and a warning is logged.

    Args:
        network: Any recognizer; not changed.

    Returns:
        The copy, in evaluation mode, with other names in its state dict. It cannot be trained on.

    Raises:
        WeightsError: The network gives no finite numbers.
    """
    with torch.inference_mode(mode=False):
        folded = _fold_norms(network)
        first_layers_in_pieces(folded)
        error = _difference(network, folded)
        if not error <= TOLERANCE:
            _LOG.warning(
                "%s runs in its trained form, which is slower: folded, its logits differ by %.1e (allowed: %.0e).",
                network.model.backbone,
                error,
                TOLERANCE,
            )
            folded = deepcopy(network).eval()
    return folded.to(memory_format=torch.channels_last)


@dataclass
class _Watched:
    """What a forward pass showed; its steps are the nodes of the graph that PyTorch keeps for gradients."""

    convolutions: dict[Node, nn.Conv2d] = field(default_factory=dict)
    """By the step that made their output."""
    norms: dict[str, Node | None] = field(default_factory=dict)
    """The step that made what each batch norm reads, by the batch norm's name."""
    calls: Counter[nn.Module] = field(default_factory=Counter)
    readers: Counter[Node] = field(default_factory=Counter)
    """How many steps on the way to the logits read the result of each step."""

    def after_convolution(self, module: nn.Module, _: object, output: Tensor) -> None:
        self.calls[module] += 1
        if output.grad_fn is not None:
            self.convolutions[output.grad_fn] = cast("nn.Conv2d", module)

    def before_norm(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.calls[module] += 1
        self.norms[name] = inputs[0].grad_fn


def _convolutions_of_norms(network: Recognizer) -> dict[str, nn.Conv2d]:
    """The batch norms, by name, that read what a convolution gives, and nothing else reads, with that convolution."""
    watched = _watch(network)
    pairs = {}
    for name, node in watched.norms.items():
        conv = None if node is None else watched.convolutions.get(node)
        if node is None or conv is None or watched.readers[node] != 1:
            continue
        # What is called twice has no one partner.
        if watched.calls[conv] == watched.calls[network.get_submodule(name)] == 1:
            pairs[name] = conv
    return pairs


def _watch(network: Recognizer) -> _Watched:
    """Which module reads what stands in the networks' code alone, so one clip is sent through."""
    watched = _Watched()
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(watched.after_convolution))
        elif isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            hooks.append(module.register_forward_pre_hook(partial(watched.before_norm, name)))
    try:
        with torch.enable_grad():
            logits = network(_random_clips(network).requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    watched.readers = _count_readers(logits)
    return watched


def _count_readers(output: Tensor) -> Counter[Node]:
    """How many steps read the result of each step on the way to a tensor."""
    readers: Counter[Node] = Counter()
    waiting = [] if output.grad_fn is None else [output.grad_fn]
    seen = set(waiting)
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is None:
                continue
            readers[node] += 1
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return readers


def _fold_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give a convolution the weights and bias with which it answers what the batch norm behind it would."""
    mean, variance = cast("Tensor", norm.running_mean).double(), cast("Tensor", norm.running_var).double()
    scale = (variance + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    bias = -mean if conv.bias is None else conv.bias.double() - mean
    bias = bias * scale + (norm.bias.double() if norm.affine else 0)
    weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
    dtype = conv.weight.dtype
    conv.weight, conv.bias = nn.Parameter(weight.to(dtype)), nn.Parameter(bias.to(dtype))


def _random_clips(network: Recognizer) -> Tensor:
    """One small clip (1, T, 3, H, W), the same at every call."""
    where = next(network.parameters())
    random = torch.Generator().manual_seed(0)
    height, width = fixed_size(network.backbone) or (64, 64)
    clips_BTCHW = torch.randn(1, network.segments, 3, height, width, generator=random)
    return clips_BTCHW.to(where.device, where.dtype)


def _check_same(network: Recognizer, folded: Recognizer) -> None:
    error = _difference(network, folded)
    if not error <= TOLERANCE:
        raise WeightsError(
            "The folded network does not give the numbers of the trained one.",
            where=network.model.backbone,
            got=f"a relative difference of {error:.1e} in the logits",
            allowed=f"{TOLERANCE:.0e}",
        )


def _difference(network: Recognizer, folded: Recognizer) -> float:
    """The largest difference of two networks' logits for one clip, relative to the largest logit of the first.

    Raises:
        WeightsError: The first one's logits are not finite.
    """
    clips_BTCHW = _random_clips(network)
    training = network.training
    with torch.no_grad():
        expected, got = network.eval()(clips_BTCHW), folded(clips_BTCHW)
    network.train(training)
    if not expected.isfinite().all():
        raise WeightsError(
            "The network answers with infinity or NaN: its weights are broken.", where=network.model.backbone
        )
    return float((got - expected).abs().max() / expected.abs().max())
