from __future__ import annotations

import pytest
import torch
from torch import nn

from clipshift.models import Recognizer
from clipshift.models.engine_form import ConvolvedShift, engine_form
from clipshift.models.shift import Order, Rounding, TemporalShift
from clipshift.models.zoo import ZOO


@pytest.mark.parametrize("order", ["future_first", "past_first", "past_only"])
@pytest.mark.parametrize(
    ("channels", "fold_div", "rounding"), [(16, 8, "each"), (13, 4, "total"), (13, 4, "each"), (3, 8, "each")]
)
@pytest.mark.parametrize("segments", [1, 2, 5])
def test_convolved_shift_equals_the_shift(
    order: Order, channels: int, fold_div: int, rounding: Rounding, segments: int
) -> None:
    shift = TemporalShift(segments, fold_div, order, rounding)
    x = torch.randn(3 * segments, channels, 4, 5, generator=torch.Generator().manual_seed(0))
    for layout in (torch.contiguous_format, torch.channels_last):
        assert torch.equal(ConvolvedShift(shift, channels)(x.contiguous(memory_format=layout)), shift(x))


def _network(name: str) -> Recognizer:
    network = Recognizer(ZOO[name].model, segments=4, classes=5, generator=torch.Generator().manual_seed(1)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
            module.running_var.uniform_(0.7, 1.3, generator=torch.Generator().manual_seed(3))
    return network


@pytest.mark.parametrize(
    "name", ["tsn-r50", "tsm-r18", "tsm-mobilenetv2-online", "pptsm-mobilenetv3", "pptsmv2-16f-attention"]
)
@pytest.mark.slow
def test_deployment_form_gives_the_networks_logits(name: str) -> None:
    network = _network(name)
    shifts = sum(isinstance(module, TemporalShift) for module in network.modules())
    clips = torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    deployed = engine_form(network)
    with torch.no_grad():
        expected, got = network(clips), deployed(clips)
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-5
    assert not any(isinstance(module, TemporalShift | nn.BatchNorm2d) for module in deployed.modules())
    assert sum(isinstance(module, ConvolvedShift) for module in deployed.modules()) == shifts
    assert any(isinstance(module, TemporalShift) for module in network.modules()) == (shifts > 0)


def test_deployment_form_shifts() -> None:
    network = _network("tsm-r18")
    clips = torch.randn(1, 4, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    deployed = engine_form(network)
    with torch.no_grad():
        assert not torch.allclose(deployed(clips), deployed(clips.flip(1)), rtol=1e-3)
