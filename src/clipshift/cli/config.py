"""`clipshift config`."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from clipshift.cli.arguments import Text
from clipshift.console import say


def config(
    recipe: str | None = None,
    *settings: str,
    file: Annotated[Text | None, Parameter(name="--config")] = None,
    schema: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show every setting: its value, where that came from, and what it means.

    Args:
        recipe: Name or file of a recipe.
        settings: key=value.
        file: YAML file with settings.
        schema: Print the JSON schema instead.
    """
    from clipshift.config import Config, describe, resolve
    from clipshift.config.recipes import DEFAULT_RECIPE

    if schema:
        say(json.dumps(Config.model_json_schema(), indent=1))
        return
    if recipe is not None and "=" in recipe:  # only settings were given
        recipe, settings = DEFAULT_RECIPE, (recipe, *settings)
    resolved = resolve(recipe or DEFAULT_RECIPE, file=file, settings=settings)
    say(describe(resolved.config, resolved.origin).removesuffix("\n"))
