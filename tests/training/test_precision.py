"""Mixed precision in training on a CPU: which convolutions are computed in float32, and what comes out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from clipshift.training.precision import training_autocast

CPU = torch.device("cpu")


def answers(conv: nn.Conv2d, x: Tensor, *, plain: bool) -> list[Tensor]:
    """Output, gradient to the input, gradient to the weights."""
    conv.zero_grad()
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16) if plain else training_autocast(CPU, "bf16"):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert x.grad is not None
    assert conv.weight.grad is not None
    return [y.detach(), x.grad, conv.weight.grad]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1), (5, 2)])
def test_slow_depthwise_convolutions_are_exact(kernel: int, stride: int, *, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, kernel, stride, padding=kernel // 2, groups=16, bias=bias)
    x = torch.randn(2, 16, 9, 9).to(memory_format=torch.channels_last)
    y, to_input, to_weight = answers(conv, x, plain=False)
    x.requires_grad_()
    exact = conv(x)
    assert torch.equal(y, exact.to(torch.bfloat16))  # rounded once, at the end
    gradients = torch.autograd.grad(exact.sum(), [x, conv.weight])
    torch.testing.assert_close([to_input, to_weight], list(gradients))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(y, answers(conv, x, plain=True)[0])


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(16, 8, 3, stride=2, padding="valid"),
        nn.Conv2d(16, 8, 5),
    ],
)
def test_other_convolutions_are_as_autocast_makes_them(conv: nn.Conv2d) -> None:
    x = torch.randn(2, 16, 9, 9, generator=torch.Generator().manual_seed(0))
    assert all(map(torch.equal, answers(conv, x, plain=False), answers(conv, x, plain=True)))


def test_without_a_gradient_and_in_float32_nothing_changes() -> None:
    conv = nn.Conv2d(16, 16, 3, stride=2, groups=16)
    x = torch.randn(2, 16, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        expected = conv(x)
    with training_autocast(CPU, "bf16"):
        assert torch.equal(conv(x), expected)
    with training_autocast(CPU, "fp32"):
        assert torch.equal(conv(x.requires_grad_()), conv(x))
