"""Forms of a network with the same numbers and less to do: branches and batch norms folded into convolutions."""

from __future__ import annotations

from typing import cast

import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.models import reparameterize_model
from torch import Tensor, nn

from clipshift.errors import WeightsError
from clipshift.models.backbones import fixed_size
from clipshift.models.recognizer import Recognizer

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


def inference_form(network: Recognizer) -> Recognizer:
    """A copy of a recognizer in the form that PyTorch runs fastest: branches and batch norms folded, channels-last.

    A batch norm in evaluation mode is a factor and an offset of each channel, which the convolution before it can have
    in its weights (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018, section 3.2).

    Args:
        network: Any recognizer; not changed.

    Returns:
        The copy, in evaluation mode, with other names in its state dict. It cannot be trained on.

    Raises:
        WeightsError: See [fold_branches][clipshift.models.folding.fold_branches].
    """
    folded = _fold_branches(network)
    for norm_name, conv in _convolutions_of_norms(folded).items():
        norm = cast("nn.BatchNorm2d", folded.get_submodule(norm_name))
        _fold_norm(conv, norm)
        # timm's batch norms have the activation in them.
        after = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        folded.set_submodule(norm_name, after.eval())
    _check_same(network, folded)
    return folded.to(memory_format=torch.channels_last)


def _convolutions_of_norms(network: Recognizer) -> dict[str, nn.Conv2d]:
    """The batch norms, by name, that read what a convolution gives, and nothing else reads, with that convolution.

    Which module reads what stands in the networks' code alone, so it is watched in a forward pass.
    """
    given: dict[int, tuple[Tensor, nn.Conv2d]] = {}  # keeps the tensors, so that no other gets their identity
    pairs: dict[str, nn.Conv2d] = {}

    def remember(module: nn.Module, _: object, output: Tensor) -> None:
        given[id(output)] = output, cast("nn.Conv2d", module)

    def find(name: str, inputs: tuple[Tensor, ...]) -> None:
        tensor, conv = given.get(id(inputs[0]), (None, None))
        if tensor is not None and conv is not None:
            pairs[name] = conv

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(remember))
        elif isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            hooks.append(module.register_forward_pre_hook(lambda _, inputs, name=name: find(name, inputs)))
    try:
        with torch.no_grad():
            network(_random_clips(network))
    finally:
        for hook in hooks:
            hook.remove()
    return pairs


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
    clips_BTCHW = _random_clips(network)
    training = network.training
    with torch.no_grad():
        expected, got = network.eval()(clips_BTCHW), folded(clips_BTCHW)
    network.train(training)
    if not expected.isfinite().all():
        raise WeightsError(
            "The network answers with infinity or not-a-number: its weights are broken.", where=network.model.backbone
        )
    error = float((got - expected).abs().max() / expected.abs().max())
    if not error <= TOLERANCE:
        raise WeightsError(
            "The folded network does not give the numbers of the trained one.",
            where=network.model.backbone,
            got=f"a relative difference of {error:.1e} in the logits",
            allowed=f"{TOLERANCE:.0e}",
        )
