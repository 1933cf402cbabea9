"""The Open Inference Protocol, version 2, over HTTP: what clients of KServe and Triton speak.

A model takes `frames`, UINT8 (B, T, H, W, 3): exactly the frames that it looks at of B clips, RGB as decoded; and gives
`probabilities` and `logits`, FP32 (B, K). Tensors are lists in JSON, or bytes behind it (the extension
`binary_tensor_data` of Triton).

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md; Triton's extension_binary_data.md.
"""

from __future__ import annotations

import math
import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from clipshift._version import __version__
from clipshift.files import from_json, to_json
from clipshift.serving.exchange import exchange_of
from clipshift.serving.limits import MEBIBYTE, Refusal
from clipshift.serving.models import ServedModel
from clipshift.serving.predicting import announced_length, json_response
from clipshift.serving.service import Service, Times, timed
from clipshift.serving.uploads import Upload, receive_body

VERSION = "1"
"""Of every model: the one that is served."""
_INPUT = "frames"
_OUTPUTS = ("probabilities", "logits")
_LENGTH = "inference-header-content-length"
_MOST_JSON = 16 * MEBIBYTE


@dataclass(frozen=True, eq=False)
class Inference:
    """A request.

    Attributes:
        id: As the client named it.
        frames_BTHWC: Frames of B clips, uint8.
        outputs: What is asked for: each name, and whether its bytes go behind the JSON.
    """

    id: str | None
    frames_BTHWC: np.ndarray  # noqa: N815
    outputs: dict[str, bool]


class OpenInference:
    """Handlers of `/v2`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def server(self, request: Request) -> Response:  # noqa: ARG002 - as Starlette calls it
        """`GET /v2`."""
        return json_response({"name": "clipshift", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, request: Request) -> Response:  # noqa: ARG002
        """`GET /v2/health/live`."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        """`GET /v2/health/ready`: 200 while requests are taken."""
        ready = self._service.ready
        return json_response({"ready": ready}, status_code=200 if ready else 503)

    async def index(self, request: Request) -> Response:  # noqa: ARG002
        """`POST /v2/repository/index`."""
        models = [each.name for each in self._service.models]
        return json_response([{"name": name, "version": VERSION, "state": "READY", "reason": ""} for name in models])

    async def model(self, request: Request) -> Response:
        """`GET /v2/models/{name}`."""
        served = self._model(request)
        return json_response(
            {
                "name": served.name,
                "versions": [VERSION],
                "platform": served.model.engine.partition(" (")[0].partition(",")[0],
                "inputs": [{"name": _INPUT, "datatype": "UINT8", "shape": _frames_shape(served)}],
                "outputs": [
                    {"name": name, "datatype": "FP32", "shape": [-1, len(served.model.classes)]} for name in _OUTPUTS
                ],
                "parameters": {"classes": list(served.model.classes), "sha256": served.sha256},
            }
        )

    async def config(self, request: Request) -> Response:
        """`GET /v2/models/{name}/config`: what Triton's own clients ask for."""
        served = self._model(request)
        classes = len(served.model.classes)
        return json_response(
            {
                "name": served.name,
                "platform": "clipshift",
                "max_batch_size": 0,
                "input": [{"name": _INPUT, "data_type": "TYPE_UINT8", "dims": _frames_shape(served)}],
                "output": [{"name": name, "data_type": "TYPE_FP32", "dims": [-1, classes]} for name in _OUTPUTS],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """`GET /v2/models/{name}/ready`."""
        return json_response({"name": self._model(request).name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """`POST /v2/models/{name}/infer`."""
        service, exchange = self._service, exchange_of(request)
        served = self._model(request)
        exchange.model = served.name
        service.admission.check()
        with closing(Upload(service.held)) as upload:
            with service.uploading, timed(exchange.times, "upload"):
                most = service.limits.body_bytes
                await receive_body(request.receive, most, announced_length(request), upload.write)
            work = self._infer(served, upload, request.headers.get(_LENGTH), exchange.times)
            inference, logits_BK = await service.while_wanted(request.receive, work)
        probabilities_BK = np.stack([served.model.probabilities(logits) for logits in logits_BK])
        return _respond(served, inference, {"probabilities": probabilities_BK, "logits": logits_BK})

    async def _infer(
        self, served: ServedModel, upload: Upload, length: str | None, times: Times
    ) -> tuple[Inference, np.ndarray]:
        async with self._service.place(times):
            body = os.pread(upload.descriptor, upload.size, 0)
            inference = await served.batcher.run(partial(read_inference, body, length, served))
            _check_size(inference.frames_BTHWC, served)
            score = served.model.scorer.one_set
            with timed(times, "network"):
                logits = [await served.batcher.run(partial(score, frames)) for frames in inference.frames_BTHWC]
            return inference, np.stack(logits)

    def _model(self, request: Request) -> ServedModel:
        served = self._service.model(request.path_params["name"])
        version = request.path_params.get("version", VERSION)
        if version != VERSION:
            raise Refusal(404, f"There is no such version of the model; there is {VERSION}.")
        return served


def _frames_shape(served: ServedModel) -> list[int]:
    return [-1, served.model.spec.input.segments, -1, -1, 3]


def _check_size(frames_BTHWC: np.ndarray, served: ServedModel) -> None:
    height, width = frames_BTHWC.shape[2:4]
    most = served.model.spec.reading.max_pixels
    if height * width > most:
        raise Refusal(422, f"The frames are larger than the server allows: {width}x{height}, at most {most} pixels.")


def read_inference(body: bytes, length: str | None, served: ServedModel) -> Inference:
    """A request from its body.

    Args:
        body: JSON, perhaps with bytes behind it.
        length: Of the JSON, where there are.
        served: The model.

    Raises:
        Refusal: It is not one that the model can answer (400), or too long for JSON (413).
    """
    if length is not None and not (length.isdecimal() and len(length) < 12 and int(length) <= len(body)):
        raise Refusal(400, f"The header {_LENGTH} is not the length of the JSON.")
    end = len(body) if length is None else int(length)
    if end > _MOST_JSON:
        raise Refusal(413, f"JSON may have {_MOST_JSON} bytes: send tensors as bytes behind it (binary_tensor_data).")
    try:
        request = from_json(body[:end])
    except (ValueError, UnicodeError) as error:
        raise Refusal(400, f"The body is not JSON: {str(error)[:200]}") from error
    if not isinstance(request, dict) or not isinstance(inputs := request.get("inputs"), list):
        raise Refusal(400, "The body has no list 'inputs'.")
    if len(inputs) != 1 or not isinstance(tensor := inputs[0], dict) or tensor.get("name") != _INPUT:
        raise Refusal(400, f"The model takes one input, {_INPUT!r}.")
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        raise Refusal(400, "The id is not a text.")
    frames = _read_tensor(tensor, memoryview(body)[end:], served)
    return Inference(identity, frames, _read_outputs(request))


def _read_tensor(tensor: dict[str, Any], behind: memoryview, served: ServedModel) -> np.ndarray:
    """The frames, uint8 (B, T, H, W, 3)."""
    expected = _frames_shape(served)
    if tensor.get("datatype") != "UINT8":
        raise Refusal(400, f"The input {_INPUT!r} is UINT8.")
    shape = tensor.get("shape")
    fits = (
        isinstance(shape, list)
        and len(shape) == len(expected)
        and all(type(size) is int and size > 0 for size in shape)
        and all(wanted in {-1, size} for wanted, size in zip(expected, shape, strict=True))
    )
    if not fits or not isinstance(shape, list):
        raise Refusal(400, f"The input {_INPUT!r} has the shape {expected}, where -1 is any size.")
    count, size = math.prod(shape), _parameters(tensor).get("binary_data_size")
    if size is not None:
        if size != count or len(behind) != count:
            raise Refusal(400, f"The bytes behind the JSON are not the {count} of {_INPUT!r}.")
        return np.frombuffer(behind, dtype=np.uint8).reshape(shape)
    try:
        values = np.asarray(tensor.get("data"))
    except ValueError as error:
        raise Refusal(400, f"The data of {_INPUT!r} are not a tensor.") from error
    if values.size != count or values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise Refusal(400, f"The data of {_INPUT!r} are not {count} whole numbers from 0 to 255.")
    return values.astype(np.uint8).reshape(shape)


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _read_outputs(request: dict[str, Any]) -> dict[str, bool]:
    usual = _parameters(request).get("binary_data_output") is True
    asked = request.get("outputs")
    if not asked:
        return dict.fromkeys(_OUTPUTS, usual)
    outputs: dict[str, bool] = {}
    for each in asked if isinstance(asked, list) else [asked]:
        name = each.get("name") if isinstance(each, dict) else None
        if name not in _OUTPUTS:
            raise Refusal(400, f"The model has the outputs {', '.join(_OUTPUTS)}.")
        parameters = _parameters(each)
        if "classification" in parameters:
            raise Refusal(400, "Outputs are tensors: 'classification' is not known.")
        outputs[name] = parameters.get("binary_data", usual) is True
    return outputs


def _respond(served: ServedModel, inference: Inference, tensors: dict[str, np.ndarray]) -> Response:
    outputs, behind = [], b""
    for name, binary in inference.outputs.items():
        tensor = np.ascontiguousarray(tensors[name], dtype="<f4")
        described: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(tensor.shape)}
        if binary:
            described["parameters"] = {"binary_data_size": tensor.nbytes}
            behind += tensor.tobytes()
        else:
            described["data"] = tensor.ravel().tolist()
        outputs.append(described)
    value = {"model_name": served.name, "model_version": VERSION, "outputs": outputs}
    if inference.id is not None:
        value["id"] = inference.id
    if not behind:
        return json_response(value)
    head = to_json(value).encode()
    return Response(head + behind, media_type="application/octet-stream", headers={_LENGTH: str(len(head))})
