"""Settings as people read and type them: what is printed is taken, by the shell and by YAML."""

from __future__ import annotations

import shlex

import pytest

from clipshift.config import resolve
from clipshift.config.schema import Config
from clipshift.config.text import flatten, setting, valid_keys, yaml_value
from clipshift.config.yaml import read_yaml


def test_flattening() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d.e": 2}, "f": (1, 2), "g": {}}) == {"a.b.c": 1, "a.d.e": 2, "f": (1, 2)}


def test_every_key_is_one_that_can_be_set() -> None:
    keys = list(valid_keys())
    assert len(keys) == len(set(keys)) > 60
    values = flatten(Config().model_dump())
    assert set(values) <= set(keys)
    # Each default, printed as a setting, is taken as it is; as the shell gives it, one word.
    words = [shlex.split(setting(key, value)) for key, value in values.items()]
    assert all(len(word) == 1 for word in words)
    assert resolve(settings=[word[0] for word in words]).config == Config()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        (1e-5, "1e-05"),
        ("plain", "plain"),
        ("on", "on"),
        ("1e-4", '"1e-4"'),
        ("true", '"true"'),
        ("a, b", '"a, b"'),
        (("x", 2, (0.5, None)), "[x, 2, [0.5, null]]"),
        ("é", "é"),
    ],
)
def test_values_in_yaml(value: object, text: str) -> None:
    assert yaml_value(value) == text


@pytest.mark.parametrize(
    "pattern",
    [
        "frame_{:05d}.jpg", "a b.jpg", "$HOME.jpg", "it's", '"', "a,b", "x..y", "[1]", "{a}", "#no", "*", "~", "!",
        "1e-4", "é", "a\\b", "",
    ],
)  # fmt: skip
def test_any_text_survives_the_shell_and_yaml(pattern: str) -> None:
    (word,) = shlex.split(setting("data.frame_pattern", pattern))
    key, _, value = word.partition("=")
    assert (key, read_yaml(value)) == ("data.frame_pattern", pattern)
