"""From recipe, file, command line and keywords to one checked configuration.

Later sources win: schema defaults < recipe < configuration file < `key=value` < Python keywords.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from clipshift.config.recipes import recipe_names, recipe_path
from clipshift.config.schema import Config
from clipshift.config.text import flatten, valid_keys
from clipshift.config.yaml import YamlError, read_yaml, write_yaml
from clipshift.errors import ConfigError
from clipshift.files import write_whole

Settings = str | Mapping[str, Any]
"""One `"key=value"`, or a mapping with dotted or nested keys."""

_ERRORS_SHOWN = 6  # an error message has at most eight lines


@dataclass(frozen=True)
class Resolved:
    """A configuration and, for each dotted key that is not a default, where its value came from."""

    config: Config
    origin: Mapping[str, str]


def resolve(
    recipe: str | Path | None = None,
    *,
    file: str | Path | None = None,
    settings: Sequence[Settings] = (),
    extra: Mapping[str, Mapping[str, Any]] | None = None,
) -> Resolved:
    """Merge all sources into one checked configuration.

    Args:
        recipe: Name or YAML file of a recipe; without one, the schema's defaults.
        file: A YAML file with any part of the configuration.
        settings: `"key=value"` strings (the value is YAML) or mappings, the last one wins.
        extra: Named options of a command that stand for settings, `{"--amp": {"train.amp": "bf16"}}`; they win.

    Returns:
        The configuration and the origin of its values.

    Raises:
        ConfigError: Any source cannot be read, or values are not valid; all errors are listed at once.
    """
    sources: list[tuple[str, Mapping[str, Any]]] = []
    if recipe is not None:
        sources += _recipe_sources(recipe)
    if file is not None:
        sources.append((str(file), _read_yaml(Path(file))))
    sources += [("setting", parse_setting(item) if isinstance(item, str) else item) for item in settings]
    sources += (extra or {}).items()

    tree: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, values in sources:
        for key, value in flatten(values).items():
            _put(tree, key, value, source)
            origin[key] = source
    return Resolved(_validate(tree, origin), origin)


def load_config(path: Path) -> Config:
    """A configuration that [save_config][clipshift.config.save_config] wrote.

    Raises:
        ConfigError: The file cannot be read or is not valid.
    """
    return resolve(file=path).config


def save_config(config: Config, path: Path) -> None:
    """Write a configuration as plain YAML."""
    write_whole(path, write_yaml(json.loads(config.model_dump_json())))


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("The configuration file cannot be read.", where=path, got=error) from error
    except YamlError as error:
        raise ConfigError("The configuration file is not valid YAML.", where=path, got=_one_line(error)) from error
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(
            "The configuration file must hold sections with keys.",
            where=path,
            got=type(values).__name__,
            allowed="for example 'train:' and below it, indented, 'epochs: 10'",
        )
    return values


def _recipe_sources(recipe: str | Path, above: tuple[Path, ...] = ()) -> list[tuple[str, Mapping[str, Any]]]:
    """The settings of a recipe, after those of the recipe that its key `base` names."""
    path = recipe_path(recipe)
    if path in above:
        raise ConfigError(
            "A recipe is its own base.", where=path, got=" -> ".join(str(step) for step in (*above, path))
        )
    values = dict(_read_yaml(path))
    base = values.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise ConfigError("The base of a recipe is the name of another.", where=path, got=base, allowed=recipe_names())
    sources = [] if base is None else _recipe_sources(base, (*above, path))
    return [*sources, (f"recipe {recipe}", values)]


def parse_setting(text: str) -> Mapping[str, Any]:
    """`key=value` as a mapping; the value is YAML.

    Raises:
        ConfigError: It has another form, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError("A setting has the form key=value.", got=text, allowed="for example train.epochs=10")
    try:
        return {key.strip(): read_yaml(value)}
    except YamlError as error:
        raise ConfigError("The value of a setting is not valid YAML.", where=key, got=_one_line(error)) from error


def _put(tree: dict[str, Any], key: str, value: object, source: str) -> None:
    *parents, leaf = str(key).split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{parent!r} is given a value and used as a section.", where=f"{source}: {key}")
    tree[leaf] = value


def _validate(tree: Mapping[str, Any], origin: Mapping[str, str]) -> Config:
    # Through JSON, because strict types there still admit lists for tuples.
    try:
        return Config.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        details = [leaf for detail in error.errors() for leaf in _leaves(detail)]
    except (ValueError, RecursionError) as error:  # keywords may hold values that no file can
        raise ConfigError("A setting has a value that cannot be written down.", got=error) from error
    # A union reports each member's refusal: the first one is enough for a key.
    lines = list({_key_of(detail): _explain(detail, origin) for detail in reversed(details)}.values())[::-1]
    count = f"{len(lines)} settings are" if len(lines) > 1 else "A setting is"
    hidden = len(lines) - _ERRORS_SHOWN
    if hidden > 0:
        lines = [*lines[:_ERRORS_SHOWN], f"... and {hidden} more"]
    raise ConfigError("\n".join([f"{count} not valid:", *(f"  {line}" for line in lines)]))


def _leaves(detail: ErrorDetails) -> list[ErrorDetails]:
    # Of an unknown section, the keys in it are what somebody wrote and looks for.
    if detail["type"] != "extra_forbidden" or not isinstance(detail["input"], dict):
        return [detail]
    return [
        {**detail, "loc": (*detail["loc"], *key.split(".")), "input": value}
        for key, value in flatten(detail["input"]).items()
    ]


def _key_of(detail: ErrorDetails) -> str:
    # Behind the key stand, at times, a position in a tuple or the tried member of a union.
    parts = [str(part) for part in detail["loc"]]
    known = set(valid_keys())
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in known:
            return ".".join(parts[:length])
    return ".".join(parts)


def _explain(detail: ErrorDetails, origin: Mapping[str, str]) -> str:
    key = _key_of(detail)
    source = f" [{origin[key]}]" if key in origin else ""
    if detail["type"] == "extra_forbidden":
        near = _nearest(key)
        return f"unknown key {key!r}{source}" + (f"; did you mean {near!r}?" if near else "")
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if detail["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}"
    return f"{key}: {message}, got {detail['input']!r}{source}"


def _nearest(key: str) -> str | None:
    keys = list(valid_keys())
    near = get_close_matches(key, keys, n=1, cutoff=0.6)
    if near:
        return near[0]
    # `epochs` alone, or in a wrong section, still has one obvious meaning.
    leaf = key.rpartition(".")[2]
    by_leaf = {candidate.rpartition(".")[2]: candidate for candidate in keys}
    near = get_close_matches(leaf, by_leaf, n=1, cutoff=0.7)
    return by_leaf[near[0]] if near else None


def _one_line(error: YamlError) -> str:
    return " ".join(str(error).split())
