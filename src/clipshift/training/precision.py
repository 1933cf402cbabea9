"""The context in which a network trains at a precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clipshift.device import Amp, autocast


@contextmanager
def training_autocast(device: torch.device, amp: Amp) -> Iterator[None]:
    """The context of a forward pass that is to have a gradient; for fp32 it changes nothing.

    It is [autocast][clipshift.device.autocast] but for some depthwise convolutions on a CPU: those
    with a stride or with kernels of over 3 pixels are computed in float32. The gradients that oneDNN has for them in
    bfloat16 were measured to take 10 to 80 times (to the input, with a stride) and 3 times (to the weights, 5 x 5) as
    long, and two such layers took almost a third of an update of MobileNetV2.

    Args:
        device: Where the network is.
        amp: Precision.
    """
    plain = amp == "fp32" or device.type != "cpu"
    with autocast(device, amp), nullcontext() if plain else _DepthwiseInFloat32():
        yield


class _DepthwiseInFloat32(TorchFunctionMode):
    """Sees all calls of PyTorch's functions, also of those deep in a network of timm, and leaves all but some be."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return (_conv2d if func is F.conv2d else func)(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,  # noqa: A002  # the names in F.conv2d
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: str | int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    depthwise = groups > 1 and weight.shape[1] == 1
    slow = max(weight.shape[2:]) > 3 or stride not in {1, (1, 1)}
    if not (depthwise and slow and input.requires_grad):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    with torch.autocast(input.device.type, enabled=False):
        offset = None if bias is None else bias.float()
        answer = F.conv2d(input.float(), weight.float(), offset, stride, padding, dilation, groups)
    return answer.to(torch.get_autocast_dtype(input.device.type))
