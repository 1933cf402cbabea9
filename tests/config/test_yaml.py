"""YAML as people mean it: what a text stands for, what is refused, and that what is written is read back."""

from __future__ import annotations

import math

import pytest

from clipshift.config.yaml import YamlError, read_yaml, write_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),  # a string in YAML 1.1
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("-.inf", -math.inf),
        ("on", "on"),  # true in YAML 1.1
        ("no", "no"),
        ("off", "off"),
        ("True", True),
        ("false", False),
        ("'1e-4'", "1e-4"),
        ("1.2.3", "1.2.3"),
        ("e4", "e4"),
        (".", "."),
        ("", None),
        ("~", None),
        ("[1, 2.5, a b]", [1, 2.5, "a b"]),
        ("{a: {b: [yes]}}", {"a": {"b": ["yes"]}}),
    ],
)
def test_values(text: str, value: object) -> None:
    found = read_yaml(text)
    assert found == value
    assert type(found) is type(value)


def test_references_are_followed_as_far_as_they_end() -> None:
    assert read_yaml("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}
    billion = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in (billion, "a: &a [*a]\n", "a: &a {b: *a}\n"):
        with pytest.raises(YamlError, match="without an end"):
            read_yaml(text)


@pytest.mark.parametrize("text", ["{a: 1, a: 2}", "a: {b: 1, b: 2}", "? [1]\n: 2\n? [1]\n: 3\n", "{1: a, 1.0: b}"])
def test_a_key_that_is_there_twice_is_refused(text: str) -> None:
    with pytest.raises(YamlError):
        read_yaml(text)


def test_what_is_written_is_read_back() -> None:
    value = {"b": [1e-4, 1e30, True, None, "on", "1e-4", "é: x", ""], "a": {"nested": [[], {}]}}
    text = write_yaml(value)
    assert read_yaml(text) == value
    assert text.index("b:") < text.index("a:")  # keys in their order
