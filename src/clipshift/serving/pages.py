"""The page to try the server with, and the one that shows its interface: nothing in them is from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from clipshift.serving.limits import Refusal

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_FOLDER = files("clipshift.serving") / "page"
_FILES = {each.name: each.read_bytes() for each in _FOLDER.iterdir() if each.is_file()}


async def show_page(request: Request) -> Response:  # noqa: ARG001 - as Starlette calls it
    """`GET /`."""
    return _file("index.html")


async def show_docs(request: Request) -> Response:  # noqa: ARG001 - as Starlette calls it
    """`GET /docs`."""
    return _file("docs.html")


async def show_file(request: Request) -> Response:
    """`GET /page/{file}`."""
    return _file(request.path_params["file"])


def _file(name: str) -> Response:
    if name not in _FILES:
        raise Refusal(404, "There is nothing at this address.")
    headers = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer", "cache-control": "no-cache"}
    kind = _TYPES[name[name.rindex(".") :]]
    return Response(_FILES[name], media_type=f"{kind}; charset=utf-8", headers=headers)
