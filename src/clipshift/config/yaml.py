"""YAML as people mean it: version 1.2's numbers and booleans, no double keys, and nothing that runs code."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

YamlError = yaml.YAMLError

_MOST_VALUES = 1_000_000


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader follows version 1.1, where `off` is false and `1e-4` a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key in (self.construct_object(key) for key, _ in node.value):
            if isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError(None, None, f"key {str(key)!r} is there twice", node.start_mark)
            if isinstance(key, Hashable):  # PyYAML itself refuses what is not
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$", re.IGNORECASE), list("tTfF"))
_FLOAT = (
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(*_FLOAT)


class _Dumper(yaml.SafeDumper):
    """Puts quotes around a text that either version would take for something else."""


_Dumper.add_implicit_resolver(*_FLOAT)


def read_yaml(text: str) -> Any:  # noqa: ANN401 - whatever the text says
    """The value that a YAML text stands for.

    Raises:
        YamlError: It is not valid, has a key twice, asks for a Python object, or stands for a value without an end.
    """
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 - derives from SafeLoader
        _count(value, {})
        return value
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a day that there is not, brackets
        raise YamlError(f"a value that cannot be made: {error}") from error


def _count(value: object, counted: dict[int, int]) -> int:
    """How many values a value holds, itself among them, when each part is written out as often as it is referred to.

    References (`*name`) let a short text stand for more than fits into memory, and for a value inside itself.

    Args:
        value: The value.
        counted: The counts of those mappings and lists that are known, by their identity; 0 while one is counted.
    """
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in counted:
        counted[id(value)] = 0
        counted[id(value)] = 1 + sum(
            _count(part, counted) for part in (value.values() if isinstance(value, dict) else value)
        )
    if not 0 < counted[id(value)] <= _MOST_VALUES:
        raise YamlError("references that stand for a value without an end")
    return counted[id(value)]


def write_yaml(value: object) -> str:
    """A value as YAML text, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
