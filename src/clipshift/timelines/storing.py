"""Event rules in `model.json` of a model folder or an export."""

from __future__ import annotations

from pathlib import Path

from clipshift.config import EventRules
from clipshift.errors import ConfigError, OutputError
from clipshift.files import from_json, to_json, write_whole
from clipshift.inference.export_folder import EXPORT_FILE, read_export, write_description
from clipshift.inference.reference import ModelReference

_SPEC_FILE = "model.json"


def check_storable(reference: ModelReference) -> None:
    """Raise an error for a model whose description is not the user's to change.

    Raises:
        ConfigError: It lies in the cache of published weights.
    """
    if reference.published is not None:
        raise ConfigError(
            "Published weights stay as they are: rules are stored in a model of one's own.",
            where="model",
            got=reference.name,
            remedy="export it (clipshift export), or fine-tune it, and fit the rules of that",
        )


def store_events(reference: ModelReference, rules: EventRules) -> Path:
    """Put rules into a model's description; everything else in it stays.

    Args:
        reference: The model.
        rules: Their classes are the model's.

    Returns:
        The file.

    Raises:
        OutputError: It cannot be written.
    """
    path = reference.folder / (EXPORT_FILE if reference.is_export else _SPEC_FILE)
    try:
        if reference.is_export:
            export = read_export(reference.folder)
            spec = export.spec.model_copy(update={"events": rules})
            write_description(reference.folder, export.model_copy(update={"spec": spec}))
        else:
            described = from_json(path.read_text(encoding="utf-8"))
            write_whole(path, to_json({**described, "events": rules.model_dump(mode="json")}, indent=2) + "\n")
    except OSError as error:
        raise OutputError.of(error, path) from error
    return path
