"""The server's own interface: models, and clips to them."""

from __future__ import annotations

import asyncio
import base64
import io
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from clipshift.errors import ConfigError, UserError
from clipshift.files import to_json
from clipshift.inference.predictions import Prediction
from clipshift.inference.probabilities import classes_of_set, set_threshold
from clipshift.serving.asking import asked_model, flag, name_of, options_of
from clipshift.serving.decoded import Decoded
from clipshift.serving.exchange import exchange_of
from clipshift.serving.fetching import MOST_REQUEST
from clipshift.serving.limits import Refusal
from clipshift.serving.models import ServedModel
from clipshift.serving.openapi import describe
from clipshift.serving.service import Service, Times, timed
from clipshift.serving.uploads import FormReader, Upload, receive_body

_PICTURE_SIDE = 144
_MOST_PICTURES = 64


def json_response(value: Any, **options: Any) -> Response:  # noqa: ANN401 - whatever JSON can hold
    """JSON as `clipshift predict --json` writes it: in Unicode, with a line feed at the end."""
    return Response((to_json(value) + "\n").encode(), media_type="application/json", **options)


@dataclass(frozen=True)
class PredictOptions:
    """What the query of a prediction asks for."""

    top: int | None
    coverage: float | None
    frames: bool
    name: str

    @classmethod
    def of(cls, request: Request, classes: int, most: int) -> PredictOptions:
        """The options, once they are checked.

        Raises:
            Refusal: One is unknown, or has a value that is not allowed (400).
        """
        given = options_of(request, "top", "coverage", "frames", "name")
        top = given.get("top")
        if top is not None and not (top.isdecimal() and len(top) < 10 and 1 <= int(top) <= most):
            raise Refusal(400, f"The option 'top' is a number from 1 to {most}.")
        frames = flag(given, "frames")
        coverage = given.get("coverage")
        if coverage is not None and not re.fullmatch(r"0\.\d{1,9}", coverage):
            raise Refusal(400, "The option 'coverage' is a number between 0 and 1.")
        return cls(
            top=None if top is None else min(int(top), classes),
            coverage=None if coverage is None else float(coverage),
            frames=frames,
            name=name_of(given),
        )


class Predicting:
    """Handlers of `/v1`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list_models(self, request: Request) -> Response:  # noqa: ARG002 - as Starlette calls it
        """`GET /v1/models`."""
        return json_response({"models": [served.to_json() for served in self._service.models]})

    async def describe_model(self, request: Request) -> Response:
        """`GET /v1/models/{name}`."""
        return json_response(self._service.model(request.path_params["name"]).to_json())

    async def describe(self, request: Request) -> Response:  # noqa: ARG002
        """`GET /openapi.json`."""
        return json_response(describe([served.name for served in self._service.models], self._service.limits))

    async def reload(self, request: Request) -> Response:
        """`POST /v1/models/{name}/reload`."""
        served = asked_model(self._service, request)
        try:
            return json_response((await self._service.reload(served.name)).to_json())
        except UserError as error:
            raise Refusal(409, f"The model stays as it was. {' '.join(str(error).split())}") from error

    async def predict(self, request: Request) -> Response:
        """`POST /v1/models/{name}/predict`: a clip as a form or as the body itself, and its answer."""
        service, exchange = self._service, exchange_of(request)
        served = asked_model(service, request)
        options = PredictOptions.of(request, len(served.model.classes), service.limits.max_classes)
        cut = _class_set(served, options.coverage)
        service.admission.check()  # before anything of the body is read
        with closing(Upload(service.held, options.name)) as upload:
            await self.receive_clip(request, upload, exchange.times)
            answer = await service.while_wanted(request.receive, service.predict(served, upload, exchange.times))
        value = cut(answer.prediction).to_json()
        if options.top is not None:
            value["probabilities"] = dict(list(value["probabilities"].items())[: options.top])
        if options.frames:
            loop = asyncio.get_running_loop()
            value["frames"] = await loop.run_in_executor(service.threads, describe_frames, answer.decoded)
        return json_response(value, headers={"server-timing": exchange.times.header()})

    async def receive_clip(self, request: Request, upload: Upload, times: Times) -> None:
        """Take in the clip.

        Raises:
            Refusal: There is none, or it is too large or too slow.
        """
        kind = request.headers.get("content-type", "")
        if kind.lower().startswith("application/json"):
            await self._fetch(request, upload, times)
            return
        form = FormReader(kind, upload) if kind.lower().startswith("multipart/form-data") else None
        with self._service.uploading, timed(times, "upload"):
            take = upload.write if form is None else form.take
            most = self._service.limits.body_bytes
            await receive_body(request.receive, most, announced_length(request), take)
        if form is not None:
            form.finish()
        if not upload.size:
            raise Refusal(400, "The body is empty: it must hold a clip.", path=upload.name)
        upload.seal()

    async def _fetch(self, request: Request, upload: Upload, times: Times) -> None:
        service, body = self._service, bytearray()
        with service.uploading, timed(times, "upload"):
            await receive_body(request.receive, MOST_REQUEST, announced_length(request), body.extend)
            work = service.fetcher.fetch(bytes(body), upload, service.limits.body_bytes)
            await service.while_wanted(request.receive, work)
        upload.seal()


def _class_set(served: ServedModel, coverage: float | None) -> Callable[[Prediction], Prediction]:
    """What adds the set of classes that holds the right one at a rate, where one is asked for.

    Raises:
        Refusal: The model cannot give it (400).
    """
    if coverage is None:
        return lambda prediction: prediction
    try:
        threshold = set_threshold(served.model.spec, coverage)
    except ConfigError as error:
        raise Refusal(400, f"{error.what} ({error.got})" if error.got else error.what) from error

    def cut(prediction: Prediction) -> Prediction:
        inside = classes_of_set(prediction.probabilities, threshold)
        names = tuple(prediction.classes[index] for index in inside)
        return replace(prediction, coverage=coverage, class_set=names)

    return cut


def announced_length(request: Request) -> int | None:
    """The length of the body, where the head says it."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 19 else None


def describe_frames(decoded: Decoded) -> list[dict[str, Any]]:
    """The frames that a model takes of a clip: number, seconds from the start, and a small picture (JPEG, base64)."""
    described = []
    for index, seconds, frame_HWC in list(zip(decoded.indices, decoded.times, decoded.frames_THWC, strict=True))[
        :_MOST_PICTURES
    ]:
        picture = Image.fromarray(frame_HWC)
        picture.thumbnail((2 * _PICTURE_SIDE, _PICTURE_SIDE))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=80)
        described.append({"index": index, "seconds": seconds, "jpeg": base64.b64encode(file.getvalue()).decode()})
    return described
