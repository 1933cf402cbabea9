from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from clipshift._version import __version__
from clipshift.cli import arguments
from clipshift.config import MOST_CLIPS, Crops, InputConfig, ModelConfig, ModelSpec
from clipshift.errors import ConfigError
from clipshift.evaluation.evaluator import evaluate
from clipshift.evaluation.protocols import PROTOCOLS, with_protocol
from clipshift.evaluation.results import load_evaluation
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.transforms import VIEWS
from tests.evaluation.synthetic import CLASSES, make_manifest


def spec_of(architecture: str = "tsn", **values: object) -> ModelSpec:
    model = ModelConfig.model_validate(
        {"architecture": architecture, "backbone": "mobilenetv2_035", "pretrained": False}
    )
    settings = InputConfig.model_validate({"segments": 2, "resize": 36, "crop": 32, **values})
    return ModelSpec(clipshift=__version__, model=model, input=settings, classes=CLASSES)


def test_the_command_line_offers_the_protocols_of_the_table() -> None:
    assert get_args(arguments.Protocol) == tuple(PROTOCOLS)
    assert get_args(arguments.Crops) == get_args(Crops) == tuple(VIEWS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_names_say_what_a_protocol_takes(name: str) -> None:
    kind, first, crops = re.fullmatch(r"([a-z]+)-(\d+)x(\d+)(?:-small)?", name).groups()  # type: ignore[union-attr]
    protocol = PROTOCOLS[name]
    assert VIEWS[protocol.crops] == int(crops)
    assert (protocol.crops == "three_small") is name.endswith("-small")
    assert (protocol.segments or protocol.clips) == int(first)
    assert protocol.sampling == {"dense": "dense", "twice": "middle_float"}.get(kind)
    # The model's description with the protocol is one that could be written and read.
    spec = with_protocol(spec_of(), name)
    assert ModelSpec.model_validate(spec.model_dump()) == spec
    assert spec.clips <= MOST_CLIPS.get(spec.input.sampling, 10)


def test_a_protocol_keeps_what_it_does_not_say() -> None:
    own = spec_of(sampling="block_middle", aspect="four_thirds")
    assert with_protocol(own, "uniform-1x3").input == own.input
    assert with_protocol(own, "uniform-1x3").average == "logits"
    frames = with_protocol(own, "tsn-25x10").input
    assert (frames.segments, frames.sampling, frames.aspect) == (25, "block_middle", "four_thirds")
    assert with_protocol(spec_of(sampling="dense"), "uniform-1x1").input.sampling == "middle"
    probabilities = own.model_copy(update={"average": "probabilities"})
    assert with_protocol(probabilities, "dense-10x3").average == "probabilities"
    assert with_protocol(probabilities, "tsn-25x10").average == "logits"


def test_protocols_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="no such protocol") as caught:
        with_protocol(spec_of(), "dense")
    assert "dense-10x3" in str(caught.value)
    with pytest.raises(ConfigError, match="Only a TSN") as caught:
        with_protocol(spec_of("tsm"), "tsn-25x1")
    assert "a tsm of 2 frames" in str(caught.value)
    assert "tsn-25" not in str(caught.value.allowed)
    with pytest.raises(ConfigError, match="says the crops and clips itself"):
        evaluate("run", "data", protocol="uniform-1x1", crops="ten")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dense-10x3-small", "2 frames (dense), 10 clips x 3 crops of 32 px from short side 36 px"),
        ("tsn-25x10", "25 frames, 1 clip x 10 crops of 32 px from short side 36 px"),
        ("twice-2x3", "2 frames (middle_float), 2 clips x 3 crops of 36 px from short side 36 px"),
    ],
)
def test_an_evaluation_says_its_protocol(tmp_path: Path, name: str, text: str) -> None:
    make_manifest(tmp_path / "data", clips=3)
    spec = spec_of()
    model = (Recognizer(spec.model, segments=2, classes=3).eval(), spec)
    found = evaluate(model, tmp_path / "data", protocol=name, device="cpu", workers=0, out=tmp_path / "out")
    assert found.protocol == f"{name}: {text}, logits averaged over them"
    assert load_evaluation(tmp_path / "out").protocol == found.protocol
    assert f"protocol    {name}: " in found.to_text()
