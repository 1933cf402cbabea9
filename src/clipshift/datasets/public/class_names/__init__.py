"""Names of the classes of public data sets, in the order of their labels: one text file each, a name a line."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from clipshift.errors import ConfigError


def named_data_sets() -> list[str]:
    """The data sets whose class names are known: `hmdb51`, `jester`, `kinetics400`, `sthv2`, `ucf101`."""
    return sorted(path.stem for path in Path(str(files(__package__))).glob("*.txt"))


def class_names(source: str | Path) -> tuple[str, ...]:
    """The class names of a data set, or of a text file with one name a line.

    Raises:
        ConfigError: There is neither, or a name is empty or comes twice.
    """
    own = Path(str(files(__package__))) / f"{source}.txt"
    path = own if str(source) in named_data_sets() else Path(source)
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "The class names cannot be read.",
            where=source,
            got=error,
            allowed=f"{', '.join(named_data_sets())}, or a text file with one name a line",
        ) from error
    for name in names:
        if not name or names.count(name) > 1:
            raise ConfigError(
                "Every line must name another class.", where=source, got=f"{name!r} {names.count(name)} times"
            )
    return names
