from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clipshift.models import shift
from clipshift.models.shift import Order, ShiftedConv2d, TemporalShift, fold_ends, temporal_shift


def _ramp(clips: int = 2, segments: int = 3, channels: int = 8) -> Tensor:
    """Every value is 100 * clip + 10 * frame + channel / 10 + 1, so that it tells where it came from."""
    clip = torch.arange(clips).view(-1, 1, 1) * 100.0
    frame = torch.arange(segments).view(1, -1, 1) * 10.0
    channel = torch.arange(channels).view(1, 1, -1) / 10.0
    return (clip + frame + channel + 1).flatten(0, 1)[:, :, None, None].repeat(1, 1, 2, 3)


def test_values_move_as_in_the_paper() -> None:
    x = _ramp()
    y = torch.unflatten(temporal_shift(x, segments=3, fold_div=4)[:, :, 0, 0], 0, (2, 3))
    frames = torch.unflatten(x[:, :, 0, 0], 0, (2, 3))
    zeros = torch.zeros(2, 2)
    for t in range(3):
        assert torch.equal(y[:, t, 0:2], frames[:, t + 1, 0:2] if t < 2 else zeros)
        assert torch.equal(y[:, t, 2:4], frames[:, t - 1, 2:4] if t > 0 else zeros)
        assert torch.equal(y[:, t, 4:], frames[:, t, 4:])


def test_clips_do_not_leak_into_each_other() -> None:
    x = _ramp()
    changed = x.clone()
    changed[3:] = -7
    assert torch.equal(temporal_shift(x, 3)[:3], temporal_shift(changed, 3)[:3])


def test_other_order_is_time_reversal() -> None:
    x = torch.randn(8, 16, 3, 3, generator=torch.Generator().manual_seed(1))

    def reverse(y: Tensor) -> Tensor:
        return torch.unflatten(y, 0, (2, 4)).flip(1).flatten(0, 1)

    past = temporal_shift(x, 4, order="past_first")
    assert torch.equal(reverse(temporal_shift(reverse(x), 4, order="future_first")), past)
    assert not torch.equal(temporal_shift(x, 4, order="future_first"), past)


@pytest.mark.parametrize("order", ["future_first", "past_first"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradient_is_the_shift_back(order: Order, layout: torch.memory_format) -> None:
    random = torch.Generator().manual_seed(2)
    x = torch.randn(4, 8, 2, 2, generator=random, dtype=torch.float64).contiguous(memory_format=layout)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: temporal_shift(x, 2, 3, order, "total"), x)


@pytest.mark.parametrize("channels", [1, 3, 8, 20])
def test_memory_format_and_type_are_kept(channels: int) -> None:
    x = torch.randn(4, channels, 5, 6, generator=torch.Generator().manual_seed(3))
    before = x.clone()
    plain = temporal_shift(x, 2)
    last = temporal_shift(x.contiguous(memory_format=torch.channels_last), 2)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)
    assert torch.equal(x, before)
    assert temporal_shift(x.bfloat16(), 2).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("channels", "fold_div", "each", "total"),
    [(64, 8, (8, 16), (8, 16)), (24, 16, (1, 2), (1, 3)), (10, 16, (0, 0), (0, 1)), (3, 8, (0, 0), (0, 0))],
)
def test_fold_ends(channels: int, fold_div: int, each: tuple[int, int], total: tuple[int, int]) -> None:
    assert fold_ends(channels, fold_div, "each") == each
    assert fold_ends(channels, fold_div, "total") == total
    x = torch.ones(4, channels, 1, 1)
    zeroed = (temporal_shift(x, 4, fold_div, rounding="total")[[0, -1], :, 0, 0] == 0).sum()
    assert int(zeroed) == total[1]


def test_single_frame_clips_lose_the_moved_channels() -> None:
    shifted = temporal_shift(torch.ones(2, 8, 1, 1), segments=1, fold_div=4)
    assert shifted[:, :4].abs().sum() == 0
    assert bool((shifted[:, 4:] == 1).all())


@pytest.mark.parametrize("order", ["future_first", "past_first", "past_only"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("segments", "channels", "fold_div"), [(4, 64, 8), (1, 8, 4), (2, 20, 16), (4, 3, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_copies_equal_concatenation(
    order: Order, layout: torch.memory_format, segments: int, channels: int, fold_div: int, dtype: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(5)
    features = torch.randn(2, 8, channels, 5, 6, generator=random).to(dtype)
    x, weight = (each.contiguous(memory_format=layout) for each in features)
    x.requires_grad_()
    first, second = fold_ends(channels, fold_div, "total")
    second = first if order == "past_only" else second
    expected = shift._concatenate(x, segments, first, second, 1 if order == "future_first" else -1)
    shifted = temporal_shift(x, segments, fold_div, order, "total")
    assert torch.equal(shifted, expected)
    assert shifted.stride() == expected.stride()
    (gradient,) = torch.autograd.grad((shifted * weight).sum(), x)
    (plain_gradient,) = torch.autograd.grad((expected * weight).sum(), x)
    assert torch.equal(gradient, plain_gradient)
    assert gradient.stride() == x.stride()


def test_second_gradient() -> None:
    x = torch.randn(4, 8, 2, 2, generator=torch.Generator().manual_seed(6), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: temporal_shift(x, 2, 4) ** 2, x)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_exported_and_traced_alike() -> None:
    module = TemporalShift(2, fold_div=4).eval()
    x = torch.randn(4, 8, 3, 3, generator=torch.Generator().manual_seed(7))
    exported = torch.export.export(module, (x,)).module()
    assert torch.equal(exported(x), module(x))
    operators = {str(node.target) for node in torch.export.export(module, (x,)).graph.nodes}
    assert not any("copy" in name or "scatter" in name for name in operators)
    assert torch.equal(torch.jit.trace(module, x)(x), module(x))  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_compiled_alike() -> None:
    module = TemporalShift(2, fold_div=4)
    x = torch.randn(4, 8, 3, 3, generator=torch.Generator().manual_seed(8), requires_grad=True)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    (gradient,) = torch.autograd.grad(compiled(x).square().sum(), x)
    (expected,) = torch.autograd.grad(module(x).square().sum(), x)
    assert torch.equal(compiled(x), module(x))
    assert torch.equal(gradient, expected)


def test_batch_must_be_whole_clips() -> None:
    with pytest.raises(ValueError, match="7 frames cannot be cut into clips of 4"):
        temporal_shift(torch.zeros(7, 8, 1, 1), 4)


def test_equals_paddlepaddle(shared: Path) -> None:
    arrays = np.load(shared / "reference" / "temporal_shift.npz")
    for case in json.loads((shared / "reference" / "temporal_shift.json").read_text()):
        name, segments = f"T{case['T']}_C{case['C']}", case["T"]
        assert fold_ends(case["C"], segments, "total") == (case["c1"], case["c2"]), name
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.from_numpy(arrays[f"x_{name}"]).contiguous(memory_format=layout)
            y = temporal_shift(x, segments, fold_div=segments, order="past_first", rounding="total")
            assert np.array_equal(y.numpy(), arrays[f"y_{name}"]), name


def test_equals_mit_with_gradient(shared: Path) -> None:
    arrays = np.load(shared / "reference" / "mit_tsm" / "temporal_shift_and_gradient.npz")
    x = torch.from_numpy(arrays["x"]).requires_grad_()
    for fold_div in (3, 4, 8):
        shifted = temporal_shift(x, 8, fold_div)
        assert np.array_equal(shifted.detach().numpy(), arrays[f"shift_div{fold_div}"])
    (gradient,) = torch.autograd.grad((temporal_shift(x, 8, 8) * torch.from_numpy(arrays["w"])).sum(), x)
    assert np.array_equal(gradient.numpy(), arrays["grad_x_div8"])


@pytest.mark.parametrize("bias", [False, True])
def test_shifted_convolution(bias: bool) -> None:
    conv = nn.Conv2d(8, 4, (3, 1), stride=2, padding=(1, 0), groups=2, bias=bias).eval()
    shifted = ShiftedConv2d(conv, TemporalShift(2, fold_div=4))
    x = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(4))
    expected = conv(temporal_shift(x, 2, 4))
    assert torch.equal(shifted(x), expected)
    assert torch.equal(copy.deepcopy(shifted)(x), expected)
    assert list(shifted.state_dict()) == list(conv.state_dict())
    assert shifted.weight is conv.weight
    assert not shifted.training
    assert "segments=2, fold_div=4, order=future_first" in repr(shifted)
