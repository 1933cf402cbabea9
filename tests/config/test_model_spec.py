"""What `model.json` says of a model: older forms, what does not fit, and how reading may be changed afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from clipshift.config import InputConfig, ModelConfig, ModelSpec, with_reading
from clipshift.config.event_rules import EventRule, EventRules
from clipshift.config.schema import ReadingConfig
from clipshift.errors import ConfigError


def spec(**changes: Any) -> ModelSpec:  # noqa: ANN401
    fields = {"clipshift": "0", "model": ModelConfig(), "input": InputConfig(), "classes": ("a", "b")}
    return ModelSpec.model_validate({**fields, **changes})


def test_it_is_read_back_equal() -> None:
    rules = EventRules(default=EventRule(enter=0.7, leave=0.3), classes={"a": EventRule(shortest=2.0)})
    whole = spec(events=rules, provenance={"data": "gym", "epoch": 3, "top1": 0.5}, average="probabilities", clips=2)
    assert ModelSpec.model_validate_json(whole.model_dump_json()) == whole
    assert whole.events is not None
    assert whole.events.of("a").shortest == 2.0
    assert whole.events.of("b") == rules.default


def test_a_description_of_the_first_format_reads_with_the_defaults() -> None:
    old = json.loads(spec().model_dump_json(exclude={"reading", "events"})) | {"format": 1}
    assert ModelSpec.model_validate_json(json.dumps(old)).reading == ReadingConfig()


def test_the_source_project_of_earlier_versions() -> None:
    assert spec(provenance={"home": "paddlevideo", "file": "x"}).provenance == {"project": "paddlevideo", "file": "x"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"clips": 2, "input": InputConfig(sampling="ends")}, "clips \\(2\\) are more than input.sampling=ends knows"),
        ({"labels": "many"}, "'one' or 'several'"),
        ({"color": "red"}, "color"),
        ({"events": {"default": {"enter": 0.3, "leave": 0.4}}}, "leave must be at most enter"),
        ({"clips": 0}, "clips"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        spec(**changes)


def test_the_side_of_what_the_network_sees() -> None:
    settings = InputConfig(resize=256, crop=224)
    assert spec(input=settings).side == 224
    assert spec(input=settings, crops="three").side == 256
    assert spec(input=settings, crops="ten").side == 224


def test_only_reading_can_be_changed_and_the_last_setting_wins() -> None:
    model = spec(reading=ReadingConfig(max_seconds=50.0))
    assert with_reading(model, []) is model
    changed = with_reading(model, ["data.max_seconds=70", {"data": {"max_seconds": 80}}])
    assert changed == model.model_copy(update={"reading": model.reading.model_copy(update={"max_seconds": 80.0})})
    assert model.reading.max_seconds == 50.0
    with pytest.raises(ConfigError, match="only the settings of reading clips can be changed") as caught:
        with_reading(model, "input.crop=112")
    assert caught.value.got == "input.crop"
    assert "data.max_seconds" in str(caught.value)
    with pytest.raises(ConfigError, match=r"data\.max_seconds"):
        with_reading(model, "data.max_seconds=soon")
