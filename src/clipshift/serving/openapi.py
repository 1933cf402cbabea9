"""The description of the server's interface for programs: OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from clipshift._version import __version__
from clipshift.serving.limits import ServerLimits

_JSON = "application/json"
WHERE = ("auto", "grad-cam", "occlusion", "none")
"""Ways in which an explanation finds places."""
Object = dict[str, Any]


def describe(models: list[str], limits: ServerLimits) -> Object:
    """The description.

    Args:
        models: Names of the models that are served now.
        limits: Of requests.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clipshift",
            "version": __version__,
            "description": "Video classification. Everything else is refused with a reason, in JSON.",
        },
        "paths": {
            "/v1/models": _get("The models", "ModelList"),
            "/v1/models/{name}": _get("One model", "Model", _name(models)),
            "/v1/models/{name}/predict": {"post": _predict(models, limits)},
            "/v1/models/{name}/timeline": {"post": _timeline(models, limits)},
            "/v1/models/{name}/explain": {"post": _explain(models, limits)},
            "/v1/models/{name}/reload": {
                "post": _operation("Load a model anew (with a token only)", "Model", _name(models), {403, 404, 409})
            },
            "/metrics": {
                "get": {
                    "summary": "Numbers for Prometheus",
                    "responses": {"200": {"description": "Prometheus' text", "content": {"text/plain": {}}}},
                }
            },
            "/v2": _get("Open Inference Protocol: the server", "Any"),
            "/v2/health/live": _get("Open Inference Protocol: there is a server", "Any"),
            "/v2/health/ready": _get("Open Inference Protocol: it takes requests", "Any", failures={503}),
            "/v2/repository/index": {"post": _operation("Triton: the models", "Any", [], set())},
            "/v2/models/{name}": _get("Open Inference Protocol: a model", "Any", _name(models)),
            "/v2/models/{name}/config": _get("Triton: a model", "Any", _name(models)),
            "/v2/models/{name}/ready": _get("Open Inference Protocol: a model is there", "Any", _name(models)),
            "/v2/models/{name}/infer": {"post": _infer(models)},
        },
        "components": {"schemas": _SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }


def _name(models: list[str]) -> list[Object]:
    return [{"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": models}}]


def _get(summary: str, schema: str, parameters: list[Object] | None = None, failures: set[int] | None = None) -> Object:
    failures = (failures or set()) | ({404} if parameters else set())
    return {"get": _operation(summary, schema, parameters or [], failures)}


def _operation(summary: str, schema: str, parameters: list[Object], failures: set[int]) -> Object:
    responses = {"200": {"description": "The answer", "content": {_JSON: {"schema": _ref(schema)}}}}
    for status in sorted(failures):
        responses[str(status)] = {"description": _REASONS[status], "content": {_JSON: {"schema": _ref("Refusal")}}}
    return {"summary": summary, "parameters": parameters, "responses": responses}


def _predict(models: list[str], limits: ServerLimits) -> Object:
    parameters = [
        *_name(models),
        _query("top", {"type": "integer", "minimum": 1, "maximum": limits.max_classes}, "Only so many classes"),
        _query("coverage", {"type": "number"}, "With the set of classes that holds the right one at this rate"),
        _query("frames", {"type": "integer", "enum": [0, 1]}, "With the frames that the network saw"),
        _query("name", {"type": "string"}, "Of a clip that is the body itself"),
    ]
    operation = _operation(
        "Classify a clip", "Prediction", parameters, {400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503}
    )
    operation["requestBody"] = _clip(limits)
    return operation


def _timeline(models: list[str], limits: ServerLimits) -> Object:
    parameters = [
        *_name(models),
        _query("rate", {"type": "number"}, "Frames a second that the network sees; by default as the model says"),
        _query("window", {"type": "integer", "enum": [0, 1]}, "Let the network answer for a sliding window"),
        _query("name", {"type": "string"}, "Of a video that is the body itself"),
    ]
    failures = {400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503}
    operation = _operation("Tell what happens when in a video, while it is found", "Any", parameters, failures)
    operation["responses"]["200"] = {
        "description": "Server-sent events: 'progress', 'event', and at the end 'result' or 'error'",
        "content": {"text/event-stream": {"schema": _TEXT}},
    }
    operation["requestBody"] = _clip(limits)
    return operation


def _explain(models: list[str], limits: ServerLimits) -> Object:
    parameters = [
        *_name(models),
        _query("label", _TEXT, "The class to explain; by default the most probable one"),
        _query("where", {"type": "string", "enum": list(WHERE)}, "How places are found; by default auto"),
        _query("pictures", {"type": "integer", "enum": [0, 1]}, "With the frames, and their heat as a layer"),
        _query("name", {"type": "string"}, "Of a clip that is the body itself"),
    ]
    failures = {400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503}
    operation = _operation("Tell which frames, and what in them, speak for a class", "Any", parameters, failures)
    operation["requestBody"] = _clip(limits)
    return operation


def _clip(limits: ServerLimits) -> Object:
    video = {"type": "string", "contentMediaType": "application/octet-stream"}
    address = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}
    form = {"type": "object", "properties": {"video": video}, "required": ["video"]}
    return {
        "required": True,
        "description": f"A video, at most {limits.max_megabytes} MiB.",
        "content": {
            "multipart/form-data": {"schema": form},
            "application/octet-stream": {},
            _JSON: {"schema": address},
        },
    }


def _infer(models: list[str]) -> Object:
    operation = _operation(
        "Open Inference Protocol: classify frames",
        "Any",
        _name(models),
        {400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503},
    )
    operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": _ref("Any")}}}
    return operation


def _query(name: str, schema: Object, description: str) -> Object:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _ref(schema: str) -> Object:
    return {"$ref": f"#/components/schemas/{schema}"}


_REASONS = {
    400: "An option or a form that is none",
    401: "A token is needed",
    403: "Not allowed",
    404: "No such model",
    408: "The body came too slowly",
    409: "The model cannot be loaded; the old one stays",
    413: "The body is too long",
    415: "A body of a kind that is not taken",
    422: "The clip cannot be read, or is beyond a limit",
    429: "The queue is full; Retry-After says when to come again",
    500: "An error of the server's own",
    503: "No answer within the time",
}
_TEXT = {"type": "string"}
_SCHEMAS: Object = {
    "Any": {"type": ["object", "array"]},
    "Refusal": {"type": "object", "properties": {"error": _TEXT, "path": _TEXT}, "required": ["error"]},
    "Model": {
        "type": "object",
        "properties": {
            "name": _TEXT,
            "sha256": _TEXT,
            "engine": _TEXT,
            "frames": {"type": "integer"},
            "labels": {"enum": ["one", "several"]},
            "classes": {"type": "array", "items": _TEXT},
            "rate": {"type": ["number", "null"]},
            "causal": {"type": "boolean"},
        },
    },
    "ModelList": {
        "type": "object",
        "properties": {"models": {"type": "array", "items": _ref("Model")}},
        "required": ["models"],
    },
    "Prediction": {
        "type": "object",
        "properties": {
            "path": _TEXT,
            "label": _TEXT,
            "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
            "unknown": {"type": "boolean"},
            "familiarity": {"type": "number"},
            "coverage": {"type": "number"},
            "class_set": {"type": "array", "items": _TEXT},
            "frames": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "index": {"type": "integer"},
                        "seconds": {"type": ["number", "null"]},
                        "jpeg": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/jpeg"},
                    },
                },
            },
        },
        "required": ["path", "label", "probabilities"],
    },
}
