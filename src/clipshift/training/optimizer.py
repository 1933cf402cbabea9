"""The optimizer, its parameter groups, and the learning rate as a function of the epoch."""

from __future__ import annotations

import math

import torch
from torch import nn

from clipshift.config import OptimConfig


def learning_rate_factor(epoch: float, optim: OptimConfig, epochs: int) -> float:
    """The share of the peak learning rate at a point of the training.

    The warm-up is linear from `optim.warmup_start` to the value that the schedule has at its end, as PaddleVideo's
    `CustomWarmupCosineDecay` does it: the cosine runs over all epochs, the warm-up ones included.

    Args:
        epoch: Epochs done, with fraction: update / updates per epoch.
        optim: The schedule.
        epochs: Epochs of the whole training.

    Returns:
        A factor in [0, 1].
    """
    if epoch < optim.warmup_epochs:
        end = _scheduled(optim.warmup_epochs, optim, epochs)
        return optim.warmup_start + (end - optim.warmup_start) * epoch / optim.warmup_epochs
    return _scheduled(epoch, optim, epochs)


def _scheduled(epoch: float, optim: OptimConfig, epochs: int) -> float:
    if optim.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1)))
    if optim.schedule == "step":
        return float(optim.gamma ** sum(epoch >= step for step in optim.steps))
    return 1.0


def build_optimizer(network: nn.Module, classifier: nn.Module, optim: OptimConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over four groups: weights, biases and norms, the classifier's weight, and its bias.

    Only weights decay. The classifier's weight learns `optim.head_lr` times faster, its bias `optim.head_bias_lr`
    times. Each group carries its factor as `lr_scale`.

    Args:
        network: The network; parameters that need no gradient are left out.
        classifier: The part of it that is the classifier.
        optim: Rates, momentum and decay.
    """
    head = {id(parameter) for parameter in classifier.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in head, parameter.ndim > 1), []).append(parameter)
    settings = []
    for (is_head, is_weight), parameters in groups.items():
        scale = (optim.head_lr if is_weight else optim.head_bias_lr) if is_head else 1.0
        decay = optim.weight_decay if is_weight else 0.0
        settings.append({"params": parameters, "weight_decay": decay, "lr_scale": scale})
    if optim.optimizer == "adamw":
        return torch.optim.AdamW(settings, lr=optim.lr, betas=(optim.momentum, 0.999))
    return torch.optim.SGD(settings, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the rate, times its own `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def optimizer_tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as `PARAMETER/KEY`, so that a checkpoint does not depend on the order of groups."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        f"{names[id(parameter)]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def restore_optimizer(network: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what [optimizer_tensors][clipshift.training.optimizer.optimizer_tensors] returned."""
    parameters = dict(network.named_parameters())
    for name, value in tensors.items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name]
        # A buffer has its parameter's memory layout; AdamW's step counter is a number, kept where it was.
        kept = torch.empty_like(parameter).detach().copy_(value) if value.shape == parameter.shape else value.clone()
        optimizer.state[parameter][key] = kept
