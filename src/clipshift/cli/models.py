"""`clipshift models`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from clipshift.console import progress_bar, say
from clipshift.errors import ConfigError


def models(name: str | None = None, *, fetch: Annotated[bool, Parameter(negative=())] = False) -> None:
    """List what can be trained and the published weights, or describe one of them.

    Args:
        name: A model, any timm network, or published weights.
        fetch: Fetch the published weights into the cache.
    """
    from clipshift.models.zoo import describe_models
    from clipshift.weights import published

    if fetch:
        from clipshift.weights import cache

        with progress_bar("fetching") as progress:
            say(str(cache.fetch(name or "", progress=progress)))
    elif name is not None:
        say(_described(name))
    else:
        for model, description in describe_models():
            say(f"{model:24}{description}")
        say("Any other network of timm works too: clipshift models NAME shows where TSM shifts in it.")
        say("\nPublished weights (clipshift models NAME shows where they come from, --fetch fetches them):")
        for weights, description in published.list_published():
            say(f"{weights:42}{description}")


def _described(name: str) -> str:
    """Published weights, or a network with the published accuracies of its weights."""
    from clipshift.weights import published

    if name in published.published_weights():
        from clipshift.weights.cache import describe_published

        return describe_published(name)
    from clipshift.models.description import describe_model

    try:
        described = describe_model(name).to_text()
    except ConfigError as error:
        raise published.with_nearest_names(error, name) from error
    return "\n".join([described, *(f"  {'published':12}{result}" for result in published.results_of(name))])
