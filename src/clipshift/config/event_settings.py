"""Event rules with some of their numbers replaced, as a command names them: `events.default.enter=0.6`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from clipshift.config.event_rules import EventRule, EventRules
from clipshift.config.resolving import Settings, parse_setting
from clipshift.config.text import flatten
from clipshift.errors import ConfigError


def with_events(rules: EventRules, classes: Sequence[str], settings: Settings | Sequence[Settings]) -> EventRules:
    """Event rules with some of their numbers replaced.

    Args:
        rules: The rules.
        classes: Names of the model's classes.
        settings: `"events.default.enter=0.6"`, `"events.classes.fall.shortest=1"`, `"events.most_gap=5"` or a mapping,
            or several of these, of which the last one wins. What is said of a class without a rule of its own adds to
            the default rule.

    Raises:
        ConfigError: A setting is not valid, or is of another section.
    """
    given = [settings] if isinstance(settings, str | Mapping) else settings
    pairs = [pair for one in given for pair in flatten(parse_setting(one) if isinstance(one, str) else one).items()]
    if not pairs:
        return rules
    tree = json.loads(rules.model_dump_json())
    # A class begins with the default rule as it is in the end.
    for key, value in sorted(pairs, key=lambda pair: pair[0].startswith("events.classes.")):
        section, _, field = key.partition(".")
        if section != "events" or not field:
            raise ConfigError("This is no setting of events.", got=key, allowed="such as events.default.enter=0.6")
        place = tree
        if field.startswith("classes."):
            name, _, field = field.removeprefix("classes.").rpartition(".")
            place = tree["classes"].setdefault(name, dict(tree["default"]))
        elif field.startswith("default."):
            place, field = tree["default"], field.removeprefix("default.")
        place[field] = value
    return _checked(tree, classes)


def _checked(tree: Mapping[str, object], classes: Sequence[str]) -> EventRules:
    try:
        checked = EventRules.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["events", *map(str, first["loc"])])
        text = first["msg"].removeprefix("Value error, ")
        allowed = EventRule.model_fields if first["type"] == "extra_forbidden" else None
        raise ConfigError("The rules for events are not valid.", where=where, got=text, allowed=allowed) from error
    unknown = sorted(set(checked.classes) - set(classes))
    if unknown:
        raise ConfigError(
            "There is an event rule for a class that the model does not have.",
            where="events.classes",
            got=", ".join(unknown),
            allowed=classes,
        )
    return checked
