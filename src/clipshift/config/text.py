"""The configuration as text that people read: every value, where it came from, what it means."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from clipshift.config.schema import Config, Section
from clipshift.config.yaml import YamlError, read_yaml

_SAFE = re.compile(r"[\w.:=/@%+{}-]+", re.ASCII)
"""Words that no shell changes: braces count only around a comma, or two dots."""


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def valid_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """All dotted keys of the schema, sections left out."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from valid_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def describe(config: Config, origin: Mapping[str, str]) -> str:
    """The configuration as YAML with a comment at each value: where it came from and what it means.

    Args:
        config: The configuration.
        origin: Dotted key to the source of its value; keys left out are defaults.
    """
    return "\n".join(_section_lines(config, origin, prefix="", indent=0)) + "\n"


def _section_lines(section: BaseModel, origin: Mapping[str, str], prefix: str, indent: int) -> Iterator[str]:
    pad = "  " * indent
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield f"{pad}{name}:"
            yield from _section_lines(value, origin, f"{prefix}{name}.", indent + 1)
            continue
        meaning = " ".join((field.description or "").split())
        source = origin.get(prefix + name, "default")
        yield f"{pad + name + ': ' + yaml_value(value):<40}  # [{source}] {meaning}".rstrip()


def yaml_value(value: object) -> str:
    """A value in YAML's flow style (which JSON is a part of), plain strings without quotes."""
    if isinstance(value, str) and _is_plain(value):
        return value
    if isinstance(value, tuple):
        return "[" + ", ".join(yaml_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def setting(key: str, value: object) -> str:
    """`key=value` as a word of a command line, with quotes where YAML or the shell needs them."""
    text = yaml_value(value)
    if isinstance(value, str) and text != value and _reads_as_itself(value):
        text = value  # as a whole value, what `yaml_value` must quote inside of others is plain
    word = f"{key}={text}"
    return word if _SAFE.fullmatch(word) and ".." not in word else shlex.quote(word)


def _is_plain(text: str) -> bool:
    # Within [ ] and { } these four would end or split it.
    if any(mark in text for mark in ",[]{}"):
        return False
    return _reads_as_itself(text)


def _reads_as_itself(text: str) -> bool:
    try:
        return bool(read_yaml(text) == text)
    except YamlError:
        return False
