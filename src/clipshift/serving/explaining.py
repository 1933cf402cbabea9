"""Explanations: which frames of an upload, and what in them, speak for a class."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from clipshift.datasets.clip import Clip
from clipshift.errors import UserError, VideoError
from clipshift.evaluation.explaining.explanation import Explanation
from clipshift.evaluation.explaining.heat import heat_layer
from clipshift.evaluation.explaining.making import Where, explain_with
from clipshift.inference.scorer import one_line
from clipshift.serving.asking import asked_model, flag, name_of, options_of
from clipshift.serving.decoded import DecodedClip
from clipshift.serving.exchange import exchange_of
from clipshift.serving.limits import Refusal
from clipshift.serving.models import ServedModel
from clipshift.serving.openapi import WHERE
from clipshift.serving.predicting import json_response
from clipshift.serving.service import Service, Times, timed
from clipshift.serving.uploads import Upload

_MOST_PICTURES = 64


@dataclass(frozen=True)
class ExplainOptions:
    """What the query of an explanation asks for."""

    index: int | None
    where: Where
    pictures: bool
    name: str

    @classmethod
    def of(cls, request: Request, classes: tuple[str, ...]) -> ExplainOptions:
        """The options, once they are checked.

        Raises:
            Refusal: One is unknown, or has a value that is not allowed (400).
        """
        given = options_of(request, "label", "where", "pictures", "name")
        label, where = given.get("label"), given.get("where", "auto")
        if label is not None and label not in classes:
            raise Refusal(400, f"The model has no class {label[:100]!r}.")
        if where not in WHERE:
            raise Refusal(400, f"The option 'where' is one of: {', '.join(WHERE)}.")
        return cls(
            index=None if label is None else classes.index(label),
            where=cast("Where", where),
            pictures=flag(given, "pictures"),
            name=name_of(given),
        )


class _Unwanted(Exception):  # noqa: N818 - not a fault
    """Nobody waits for the explanation any more."""


class Explaining:
    """The handler of `/v1/models/{name}/explain`.

    Args:
        service: Of the server.
        receive_clip: Takes the upload of a request in.
    """

    def __init__(self, service: Service, receive_clip: Callable[..., Awaitable[None]]) -> None:
        self._service = service
        self._receive_clip = receive_clip

    async def explain(self, request: Request) -> Response:
        """`POST /v1/models/{name}/explain`: a clip as for a prediction, and why it is answered as it is."""
        service, exchange = self._service, exchange_of(request)
        served = asked_model(service, request)
        options = ExplainOptions.of(request, served.model.classes)
        service.explanations.check()  # before anything of the body is read
        with closing(Upload(service.held, options.name)) as upload:
            await self._receive_clip(request, upload, exchange.times)
            with service.explanations:
                work = self._make(served, upload, options, exchange.times)
                value = await service.while_wanted(request.receive, work, seconds=service.limits.explain_seconds)
        return json_response(value, headers={"server-timing": exchange.times.header()})

    async def _make(self, served: ServedModel, upload: Upload, options: ExplainOptions, times: Times) -> dict[str, Any]:
        service, loop = self._service, asyncio.get_running_loop()
        async with service.place(times):
            with timed(times, "decode"):
                decoded = await service.decoders.decode(upload, replace(served.wish, times=True))
        upload.close()
        unwanted = threading.Event()
        clip = DecodedClip.named(upload.name, decoded)
        work = partial(_explain, served, clip, options, loop, unwanted)
        try:
            with timed(times, "network"):
                return await loop.run_in_executor(service.explain_threads, work)
        except VideoError as error:
            raise Refusal(422, one_line(error) or "", path=upload.name) from error
        except UserError as error:
            raise Refusal(400, error.what) from error
        finally:
            unwanted.set()


def _explain(
    served: ServedModel,
    clip: Clip,
    options: ExplainOptions,
    loop: asyncio.AbstractEventLoop,
    unwanted: threading.Event,
) -> dict[str, Any]:
    """In a thread: each answer of the network has a place among the forward passes, and others come between them.

    Raises:
        VideoError: The clip cannot be read.
        UserError: The model cannot be explained so.
    """
    with ExitStack() as place:

        def between_answers(done: int, total: int) -> None:  # noqa: ARG001 - as it is called
            place.close()
            if unwanted.is_set():
                raise _Unwanted
            place.enter_context(served.batcher.place_in(loop))

        place.enter_context(served.batcher.place_in(loop))
        found = explain_with(
            served.model.scorer,
            clip,
            clips=served.protocol.clips,
            index=options.index,
            where=options.where,
            identity={"name": served.name, "sha256": served.sha256},
            progress=between_answers,
        )
    return found.to_json() | ({"pictures": _pictures(found)} if options.pictures else {})


def _pictures(found: Explanation) -> list[dict[str, Any]]:
    """The frames as small pictures, and the heat of each as a layer over it; base64."""
    pictures = []
    for place, picture_HWC in enumerate(found.pictures[:_MOST_PICTURES]):
        height, width = picture_HWC.shape[:2]
        layer = None
        if found.heat is not None:  # half of the size: heat is smooth
            layer_HW4 = heat_layer(found.heat, place, max(1, width // 2), max(1, height // 2))
            layer = _encoded(Image.fromarray(layer_HW4, "RGBA"), "PNG", optimize=True)
        pictures.append({"jpeg": _encoded(Image.fromarray(picture_HWC), "JPEG", quality=80), "heat_png": layer})
    return pictures


def _encoded(picture: Image.Image, kind: str, **options: Any) -> str:  # noqa: ANN401 - Pillow's
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()
