from __future__ import annotations

import pytest
import torch

from clipshift.errors import ConfigError
from clipshift.models.zoo import ZOO, describe_model, describe_models


@pytest.mark.parametrize("name", ZOO)
def test_every_entry_can_be_built(name: str) -> None:
    described = describe_model(name)
    assert described.backbone == ZOO[name].backbone
    assert described.segments == ZOO[name].segments
    assert bool(described.shift_points) == (ZOO[name].architecture == "tsm")


# Counted by MIT's and mmaction2's own code for 400 classes.
@pytest.mark.parametrize(
    ("name", "parameters"), [("tsm-r50", 24_327_632), ("tsm-r101", 43_319_760), ("tsm-mobilenetv2", 2_736_272)]
)
def test_parameters_are_the_published_count(name: str, parameters: int) -> None:
    assert describe_model(name).parameters == parameters


def test_operations() -> None:
    # mmaction2 counts 32.875 G for TSM R50 with 8 frames, which includes batch norms and poolings.
    assert describe_model("tsm-r50").gmacs == pytest.approx(32.875, rel=0.01)
    assert describe_model("tsm-r50-16f").gmacs == pytest.approx(2 * describe_model("tsm-r50").gmacs, rel=1e-3)
    assert describe_model("tsm-r50", crop=112).gmacs == pytest.approx(describe_model("tsm-r50").gmacs / 4, rel=0.1)


def test_networks_outside_the_zoo() -> None:
    described = describe_model("test_resnet", segments=4, classes=7)
    assert (described.architecture, described.entry, described.segments) == ("tsm", None, 4)
    assert describe_model("vit_tiny_patch16_224", crop=64).architecture == "tsn"
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
