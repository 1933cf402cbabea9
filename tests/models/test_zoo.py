from __future__ import annotations

import pytest
import torch

from clipshift.config.schema import ModelConfig, ShiftConfig
from clipshift.errors import ConfigError
from clipshift.models.description import describe_model
from clipshift.models.zoo import ZOO, describe_models, zoo_entry, zoo_name


@pytest.mark.parametrize("name", ZOO)
def test_every_entry_can_be_built(name: str) -> None:
    described = describe_model(name)
    assert described.model == ZOO[name].model
    assert described.segments == ZOO[name].segments
    assert bool(described.shift_points) == (ZOO[name].model.architecture == "tsm")
    assert f"--recipe {ZOO[name].recipe}" in described.to_text()


# Counted by the source projects' own code for 400 classes; PP-TSMv2 in its folded form.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("tsm-r50", 24_327_632),
        ("tsm-r101", 43_319_760),
        ("tsm-mobilenetv2", 2_736_272),
        ("pptsm-r50", 24_346_864),
        ("pptsmv2-16f", 5_855_632),
    ],
)
def test_parameters_are_the_published_count(name: str, parameters: int) -> None:
    assert describe_model(name).folded_parameters == parameters


@pytest.mark.parametrize(("name", "gmacs"), [("tsm-r50", 32.70), ("pptsm-r50", 34.61), ("pptsmv2-16f", 9.48)])
def test_operations_are_the_published(name: str, gmacs: float) -> None:
    assert describe_model(name).gmacs == pytest.approx(gmacs, abs=0.0051)


def test_attention_has_the_published_parameters() -> None:
    plain, attention = describe_model("pptsmv2-16f"), describe_model("pptsmv2-16f-attention")
    assert attention.parameters - plain.parameters == 272
    assert plain.parameters > plain.folded_parameters
    assert "when folded" in plain.to_text()


def test_operations() -> None:
    # mmaction2 counts 32.875 G for TSM R50 with 8 frames, which includes batch norms and poolings.
    assert describe_model("tsm-r50").gmacs == pytest.approx(32.875, rel=0.01)
    assert describe_model("tsm-r50-16f").gmacs == pytest.approx(2 * describe_model("tsm-r50").gmacs, rel=1e-3)
    assert describe_model("tsm-r50", crop=112).gmacs == pytest.approx(describe_model("tsm-r50").gmacs / 4, rel=0.1)


def test_networks_outside_the_zoo() -> None:
    described = describe_model("test_resnet", segments=4, classes=7)
    assert (described.model.architecture, described.entry, described.segments) == ("tsm", None, 4)
    assert describe_model("vit_tiny_patch16_224", crop=64).model.architecture == "tsn"
    assert describe_model("test_resnet", architecture="tsn").shift_points == ()
    with pytest.raises(ConfigError, match="no rule where to shift"):
        describe_model("vit_tiny_patch16_224", architecture="tsm")
    with pytest.raises(ConfigError, match="no network of this name"):
        describe_model("tsm-r5O")


def test_device_is_left_as_it_was() -> None:
    describe_model("test_resnet")
    assert torch.ones(1).device.type == "cpu"


def test_list_names_every_entry() -> None:
    assert [name for name, _ in describe_models()] == list(ZOO)


def test_names_of_networks() -> None:
    for name, entry in ZOO.items():
        assert zoo_name(entry.model, entry.segments) == name
    other = ZOO["tsm-r50"].model.model_copy(update={"shift": ShiftConfig(order="past_first"), "dropout": 0.1})
    assert zoo_name(other, None) == "tsm-r50"
    assert zoo_name(ModelConfig(architecture="tsm", backbone="resnet26"), 8) == "TSM over resnet26"
    assert zoo_name(ModelConfig(architecture="tsn", backbone="resnet26"), 8) == "resnet26"
    with pytest.raises(ConfigError, match="no model of this name") as caught:
        zoo_entry("pptsm-r5O")
    assert "pptsm-r50" in str(caught.value.allowed)
