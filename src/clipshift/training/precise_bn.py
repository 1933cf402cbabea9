"""Precise batch norm: statistics of many clips for the weights as they are, in place of the moving average.

The moving average mixes the statistics of many updates' weights. Before a validation it can be replaced by what the
present weights give on some training batches (Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from clipshift.training.distributed import Ranks

Variance = Literal["pooled", "mean"]


@dataclass
class _Sums:
    """Of one batch norm's input, for C channels; double precision.

    Attributes:
        values: Number of values a channel had.
        mean: Their mean `(C,)`.
        squares: Sum of their squared distances from it `(C,)`.
        batches: Number of batches.
        means: Sum of the batches' means `(C,)`.
        variances: Sum of the batches' variances `(C,)`, without Bessel's correction.
    """

    values: Tensor
    mean: Tensor
    squares: Tensor
    batches: Tensor
    means: Tensor
    variances: Tensor

    @classmethod
    def of(cls, norm: _BatchNorm) -> _Sums:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=norm.running_mean.device)  # type: ignore[union-attr]

        width = norm.num_features
        return cls(zeros(1), zeros(width), zeros(width), zeros(1), zeros(width), zeros(width))

    def add(self, x: Tensor) -> None:
        """Take in a batch `(N, C, ...)`."""
        every = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = (each.double() for each in torch.var_mean(x.detach().float(), dim=every, correction=0))
        self.merge(x.numel() // x.shape[1], mean, variance * (x.numel() // x.shape[1]))
        self.batches += 1
        self.means += mean
        self.variances += variance

    def merge(self, values: Tensor | int, mean: Tensor, squares: Tensor) -> None:
        """Pool with other values (Chan, Golub and LeVeque 1983, equation 2.1), without cancellation."""
        total = self.values + values
        apart = mean - self.mean
        self.mean = self.mean + apart * (values / total)
        self.squares = self.squares + squares + apart.square() * (self.values * values / total)
        self.values = total

    def gather(self, ranks: Ranks) -> None:
        """Pool with the other ranks', in the order of the ranks, so that all get the same bits."""
        if ranks.count == 1:
            return
        width = len(self.mean)
        own = torch.cat([self.values, self.mean, self.squares, self.batches, self.means, self.variances])
        parts = [torch.empty_like(own) for _ in range(ranks.count)]
        torch.distributed.all_gather(parts, own)
        sizes = [1, width, width, 1, width, width]
        split = [torch.split(part, sizes) for part in parts]
        self.values, self.mean, self.squares = (each.clone() for each in split[0][:3])
        for values, mean, squares, *_ in split[1:]:
            self.merge(values, mean, squares)
        self.batches, self.means, self.variances = (
            torch.stack([part[place] for part in split]).sum(0) for place in (3, 4, 5)
        )

    def statistics(self, variance: Variance) -> tuple[Tensor, Tensor]:
        """Mean and variance `(C,)`."""
        if variance == "mean":
            return self.means / self.batches, self.variances / self.batches
        return self.mean, self.squares / self.values


def set_precise_statistics(
    network: nn.Module, norms: Sequence[str], batches: Iterable[Tensor], *, ranks: Ranks, variance: Variance = "pooled"
) -> None:
    """Give batch norms the statistics of their inputs over some batches, all of them computed with the same weights.

    As in training, every batch norm in question normalizes with its batch's own statistics meanwhile; the rest of the
    network is in evaluation mode. Nothing is set if `batches` raises.

    Args:
        network: On the ranks' device; its modules' modes are left as they were.
        norms: Names of the batch norms; the others keep their statistics.
        batches: This rank's batches, at least one, the same number on every rank.
        ranks: Those who share the batches.
        variance: `pooled`: of all values of all batches of all ranks, about their common mean. `mean`: PaddleVideo's
            average of the batches' variances, which leaves out that the batches' means differ. Both without Bessel's
            correction.
    """
    chosen = {name: network.get_submodule(name) for name in norms}
    sums = {name: _Sums.of(norm) for name, norm in chosen.items() if isinstance(norm, _BatchNorm)}
    with _measuring(network, chosen, sums), torch.no_grad():
        for batch in batches:
            network(batch)
    for name, found in sums.items():
        found.gather(ranks)
        mean, spread = found.statistics(variance)
        norm = network.get_submodule(name)
        norm.get_buffer("running_mean").copy_(mean)
        norm.get_buffer("running_var").copy_(spread)


@contextmanager
def _measuring(network: nn.Module, norms: dict[str, nn.Module], sums: dict[str, _Sums]) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    buffers = {name: {key: value.clone() for key, value in norm.named_buffers()} for name, norm in norms.items()}
    hooks: list[RemovableHandle] = []
    network.eval()
    for name, norm in norms.items():
        norm.train()
        hooks.append(norm.register_forward_pre_hook(_adder(sums[name])))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
        # The moving averages went on meanwhile, and the count of batches with them.
        for name, norm in norms.items():
            for key, value in buffers[name].items():
                norm.get_buffer(key).copy_(value)


def _adder(sums: _Sums) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda _, inputs: sums.add(inputs[0])
