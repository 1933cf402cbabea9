"""Every recipe that comes with clipshift makes a network that trains."""

from __future__ import annotations

import math

import pytest
import torch

from clipshift.config import recipe_names, resolve
from clipshift.config.recipes import DEFAULT_RECIPE
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO
from clipshift.training.distill import find_partner
from clipshift.training.distributed import Ranks
from clipshift.training.loader import Batch
from clipshift.training.loop import Trainer
from tests.shallow import shallow
from tests.training.objectives import objective_for

# The rates of one device's share would be lost in the rounding of scales near 1.
_SETTINGS = ["model.pretrained=false", "input.crop=32", "input.resize=32", "optim.lr=0.1", "optim.lr_batch_size=1"]


@pytest.mark.parametrize("recipe", recipe_names())
def test_one_update(recipe: str) -> None:
    config = resolve(recipe, settings=_SETTINGS).config
    # That the networks themselves can be built, and learn in every parameter, is tried in tests/conformance.
    network = Recognizer(shallow(config.model), segments=config.input.segments, classes=3)
    partner = None
    if config.distill.method == "mutual":
        partner = Recognizer(shallow(find_partner(config).config.model), segments=config.input.segments, classes=3)
    ranks = Ranks(0, 1, 1, torch.device("cpu"))
    trainer = Trainer(network, config, ranks, updates_per_epoch=10, objective=objective_for(config, partner))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trainer.train_mode()
    clips = torch.randint(0, 256, (2, config.input.segments, 3, 32, 32), dtype=torch.uint8)
    updated = trainer.update([Batch(clips=clips, labels=torch.tensor([0, 2]), indices=torch.arange(2), bad=[])])
    assert math.isfinite(updated.loss)
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning <= moved
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert not frozen & moved
    assert bool(frozen) == (config.train.frozen_stages > 0)


def test_the_zoo_names_recipes_that_exist() -> None:
    assert {entry.recipe for entry in ZOO.values() if entry.recipe} <= set(recipe_names())


@pytest.mark.parametrize("recipe", sorted({entry.recipe for entry in ZOO.values() if entry.recipe}))
def test_recipes_for_own_clips_are_the_default_with_another_network(recipe: str) -> None:
    config, default = resolve(recipe).config, resolve(DEFAULT_RECIPE).config
    # Streams need a rhythm, which spans can tell, and most of their windows hold a part of an event only.
    stream = {"rate_from_spans": True, "windows": "middle"} if config.model.shift.order == "past_only" else {}
    data = default.data.model_copy(update=stream)
    assert config == default.model_copy(update={"model": config.model, "data": data})
    assert config.model != default.model or recipe == "tsm-mobilenetv2"
