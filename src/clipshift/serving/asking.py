"""What requests about a clip have in common: the model that is asked, and how options stand in the query."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.requests import Request

from clipshift.serving.exchange import exchange_of
from clipshift.serving.limits import Refusal
from clipshift.serving.models import ServedModel
from clipshift.serving.service import Service
from clipshift.serving.uploads import clip_name


def asked_model(service: Service, request: Request) -> ServedModel:
    """The model of a request, which its log and metrics name from here on.

    Raises:
        Refusal: There is no such model (404).
    """
    served = service.model(request.path_params["name"])
    exchange_of(request).model = served.name
    return served


def options_of(request: Request, *names: str) -> QueryParams:
    """The options that stand in the query, by their names.

    Raises:
        Refusal: One has another name than these (400).
    """
    unknown = sorted(set(request.query_params) - set(names))
    if unknown:
        raise Refusal(400, f"There is no option {unknown[0][:100]!r}; there are: {', '.join(names)}.")
    return request.query_params


def flag(given: QueryParams, name: str) -> bool:
    """Whether an option is switched on; it is not where it is left out.

    Raises:
        Refusal: It is neither 0 nor 1 (400).
    """
    value = given.get(name, "0")
    if value not in {"0", "1"}:
        raise Refusal(400, f"The option {name!r} is 0 or 1.")
    return value == "1"


def name_of(given: QueryParams) -> str:
    """The name of a clip that is the body, as the option `name` tells it."""
    return clip_name(given.get("name", "").encode(errors="surrogateescape"))
