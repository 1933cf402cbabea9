from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from clipshift.config.schema import ModelConfig
from clipshift.errors import WeightsError
from clipshift.models import Recognizer, folding
from clipshift.models.folding import fold_norms, inference_form
from clipshift.models.shift import TemporalShift
from clipshift.models.zoo import ZOO


def _with_statistics(network: Recognizer) -> Recognizer:
    """Batch norms that do something, and differently in every channel."""
    random = torch.Generator().manual_seed(2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(std=0.1, generator=random)
            module.running_var.uniform_(0.7, 1.3, generator=random)
            with torch.no_grad():
                module.weight.uniform_(0.8, 1.2, generator=random)
                module.bias.normal_(std=0.1, generator=random)
    return network.eval()


def _clips(segments: int) -> torch.Tensor:
    return torch.randn(2, segments, 3, 64, 64, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(
    "name", ["tsn-r50", "tsm-r18", "tsm-mobilenetv2", "pptsm-r50", "pptsm-mobilenetv3", "pptsmv2-16f-attention"]
)
def test_inference_form_gives_the_networks_logits_without_batch_norms(name: str) -> None:
    network = _with_statistics(Recognizer(ZOO[name].model, segments=4, classes=5))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    form = inference_form(network)
    with torch.no_grad():
        expected, got = network(_clips(4)), form(_clips(4))
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-5
    assert not any(isinstance(module, nn.BatchNorm2d) for module in form.modules())
    shifts = [sum(isinstance(module, TemporalShift) for module in each.modules()) for each in (network, form)]
    assert shifts[0] == shifts[1]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_inference_form_keeps_the_norms_that_are_not_behind_a_convolution() -> None:
    network = _with_statistics(
        Recognizer(ModelConfig(architecture="tsn", backbone="densenet121"), segments=2, classes=3)
    )
    form = inference_form(network)
    with torch.no_grad():
        expected, got = network(_clips(2)), form(_clips(2))
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-5
    left, all_of_them = (sum(isinstance(m, nn.BatchNorm2d) for m in each.modules()) for each in (form, network))
    assert 0 < left < all_of_them


def test_inference_form_of_a_broken_network() -> None:
    network = _with_statistics(Recognizer(ZOO["tsm-r18"].model, segments=2, classes=3))
    with torch.no_grad():
        next(network.parameters())[0] = float("nan")
    with pytest.raises(WeightsError, match="infinity or NaN"):
        inference_form(network)


class _Beside(nn.Module):
    """A batch norm whose input something else reads, too."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.add(self.norm(x), x, alpha=0.5)


def test_inference_form_keeps_the_norm_of_a_convolution_that_something_else_reads() -> None:
    network = _with_statistics(Recognizer(ZOO["tsm-r18"].model, segments=2, classes=3))
    network.backbone.set_submodule("bn1", _Beside(network.backbone.get_submodule("bn1")))
    form = inference_form(network)
    assert [name for name, m in form.named_modules() if isinstance(m, nn.BatchNorm2d)] == ["backbone.bn1.norm"]
    with torch.no_grad():
        expected, got = network(_clips(2)), form(_clips(2))
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-5


def test_inference_form_is_the_trained_form_where_folding_is_not_exact_enough(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = _with_statistics(Recognizer(ZOO["tsm-r18"].model, segments=2, classes=3))
    monkeypatch.setattr(folding, "TOLERANCE", 1e-12)
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        form = inference_form(network)
    assert [record.name for record in caplog.records] == ["clipshift.models.folding"]
    assert "trained form" in caplog.text
    assert form.state_dict().keys() == network.state_dict().keys()
    assert form is not network
    with torch.no_grad():
        torch.testing.assert_close(form(_clips(2)), network(_clips(2)))


def test_norms_stay_where_folding_is_not_exact_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _with_statistics(Recognizer(ZOO["tsm-r18"].model, segments=2, classes=3))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fold_norms(network).modules())
    monkeypatch.setattr(folding, "TOLERANCE", 1e-12)
    kept = fold_norms(network)
    assert kept.state_dict().keys() == network.state_dict().keys()
    assert kept is not network


def test_inference_form_is_folded_in_inference_mode_too() -> None:
    network = _with_statistics(Recognizer(ZOO["tsm-r18"].model, segments=2, classes=3))
    with torch.inference_mode():
        form = inference_form(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in form.modules())
