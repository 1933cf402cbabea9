"""YAML as people mean it: version 1.2's numbers and booleans, no double keys, and nothing that runs code."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

YamlError = yaml.YAMLError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader follows version 1.1, where `off` is false and `1e-4` a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        double = sorted({str(key) for key in keys if keys.count(key) > 1})
        if double:
            raise yaml.MarkedYAMLError(None, None, f"key {double[0]!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$", re.IGNORECASE), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)


def read_yaml(text: str) -> Any:  # noqa: ANN401 - whatever the text says
    """The value that a YAML text stands for.

    Raises:
        YamlError: It is not valid, has a key twice, or asks for a Python object.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - derives from SafeLoader
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a day that there is not, brackets
        raise YamlError(f"a value that cannot be made: {error}") from error


def write_yaml(value: object) -> str:
    """A value as YAML text, keys in their order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
