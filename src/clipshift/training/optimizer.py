"""The optimizer, its parameter groups, and the learning rate as a function of the epoch."""

from __future__ import annotations

import math

import torch
from torch import nn

from clipshift.config import OptimConfig
from clipshift.models.backbones import stages_from_the_end
from clipshift.models.recognizer import Recognizer
from clipshift.models.temporal_attention import TemporalAttention


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


def build_optimizer(network: Recognizer, optim: OptimConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over groups of parameters, each with its own decay and, as `lr_scale`, factor on the rate.

    | parameters | factor | decay |
    |---|---|---|
    | weights of convolutions and linear layers | 1 | `weight_decay` |
    | scales and offsets of norms | 1 | none, or `weight_decay` with `decay_norms` |
    | biases | 1 | none, or `weight_decay` with `decay_biases` |
    | the classifier's weight | `head_lr` | `head_weight_decay`, or `weight_decay` |
    | the classifier's bias | `head_bias_lr` | as of other biases |
    | the temporal attention's weight | `attention_lr` | `weight_decay` |
    | the temporal attention's bias | `attention_bias_lr` | none |

    With `layer_decay` d, a parameter of the backbone with n stages behind its own has d^n times this factor.

    Args:
        network: The network; parameters that need no gradient are left out.
        optim: Rates, momentum and decay.
    """
    behind = {} if optim.layer_decay == 1 else stages_from_the_end(network.backbone)
    attention = {module.fc for module in network.modules() if isinstance(module, TemporalAttention)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            is_weight = parameter.ndim > 1
            if module is network.classifier:
                rules = _of_classifier(optim, is_weight=is_weight)
            elif module in attention:
                rules = (optim.attention_lr, optim.weight_decay) if is_weight else (optim.attention_bias_lr, 0.0)
            elif is_weight:
                rules = 1.0, optim.weight_decay
            else:
                decays = optim.decay_biases if isinstance(module, _WITH_BIAS) else optim.decay_norms
                rules = 1.0, optim.weight_decay * decays
            scale, decay = rules
            rules = (scale * optim.layer_decay ** behind.get(parameter, 0), decay)
            groups.setdefault(rules, []).append(parameter)
    settings = [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        for (scale, decay), parameters in groups.items()
    ]
    if optim.optimizer == "adamw":
        return torch.optim.AdamW(settings, lr=optim.lr, betas=(optim.momentum, 0.999))
    return torch.optim.SGD(settings, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov)


def _of_classifier(optim: OptimConfig, *, is_weight: bool) -> tuple[float, float]:
    if is_weight:
        return optim.head_lr, optim.weight_decay if optim.head_weight_decay is None else optim.head_weight_decay
    return optim.head_bias_lr, optim.weight_decay * optim.decay_biases


# All other vectors among the parameters are scales and offsets.
_WITH_BIAS = (nn.Linear, nn.modules.conv._ConvNd)


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
