"""The recipes that come with clipshift: one YAML file each, its first comment lines say what it is."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from clipshift.errors import ConfigError

DEFAULT_RECIPE = "finetune"


def recipe_names() -> list[str]:
    """Names of the recipes that come with clipshift, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def recipe_path(recipe: str | Path) -> Path:
    """The file of a recipe.

    Args:
        recipe: A name from [recipe_names][clipshift.config.recipe_names], or the path of a YAML file.

    Raises:
        ConfigError: There is no such recipe.
    """
    if str(recipe).endswith((".yaml", ".yml")):
        if not _is_file(Path(recipe)):
            raise ConfigError("There is no such recipe file.", where=recipe)
        return Path(recipe)
    path = _folder() / f"{recipe}.yaml"
    if not _is_file(path):
        near = get_close_matches(str(recipe), recipe_names(), n=1, cutoff=0.4)
        raise ConfigError(
            f"There is no recipe {str(recipe)!r}." + (f" Did you mean {near[0]!r}?" if near else ""),
            allowed=[*recipe_names(), "or a path that ends in .yaml"],
        )
    return path


def recipe_summary(recipe: str) -> str:
    """The first line of a recipe's opening comment: what it is."""
    return recipe_path(recipe).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").strip()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is longer than any
        return False


def _folder() -> Path:
    return Path(str(files(__package__)))
