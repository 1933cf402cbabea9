"""Servers that others write, for `benchmarks/serving.py`: FastAPI or Starlette, and LitServe, with one ONNX file.

python benchmarks/serving_rivals.py {plain|plain-clipshift|litserve} MODEL PORT
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PATH = "/v1/models/gate/predict"
Classify = Callable[[bytes, str], dict[str, Any]]


def by_clipshift(model: str) -> Classify:
    """A file, and clipshift's own prediction."""
    import clipshift

    loaded = clipshift.load(model, device="cpu")

    def classify(data: bytes, name: str) -> dict[str, Any]:
        with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
            file.write(data)
            file.flush()
            return loaded.predict(file.name).to_json()

    return classify


def by_hand(model: str) -> Classify:
    """A file, all its frames by PyAV, the middle ones of equal parts, and ONNX Runtime as it comes."""
    import av
    import numpy as np
    import onnxruntime

    from clipshift.inference.export_folder import read_export

    spec = read_export(Path(model)).spec
    session = onnxruntime.InferenceSession(str(Path(model) / "model.onnx"), providers=["CPUExecutionProvider"])

    def classify(data: bytes, name: str) -> dict[str, Any]:
        with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
            file.write(data)
            file.flush()
            with av.open(file.name) as container:
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        segments = spec.input.segments
        chosen = [frames[(2 * i + 1) * len(frames) // (2 * segments)] for i in range(segments)]
        (chances,) = session.run(["probabilities"], {session.get_inputs()[0].name: np.stack(chosen)[None]})
        ranked = sorted(zip(spec.classes, chances[0].tolist(), strict=True), key=lambda each: -each[1])
        return {"path": name, "label": ranked[0][0], "probabilities": dict(ranked)}

    return classify


def serve_plain(classify: Classify, port: int) -> None:
    """FastAPI, whose handlers of this kind run in its pool of threads; Starlette where that is not installed."""
    import uvicorn

    try:
        from fastapi import FastAPI, UploadFile
    except ModuleNotFoundError:
        app = _starlette(classify)
    else:
        app = FastAPI()

        def predict(video: UploadFile) -> dict[str, Any]:
            return classify(video.file.read(), video.filename or "clip")

        predict.__annotations__["video"] = UploadFile
        app.post(_PATH)(predict)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def _starlette(classify: Classify) -> Any:  # noqa: ANN401 - an application
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.datastructures import UploadFile
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def predict(request: Request) -> JSONResponse:
        async with request.form() as form:
            video = form["video"]
            assert isinstance(video, UploadFile)
            return JSONResponse(await run_in_threadpool(classify, await video.read(), video.filename or "clip"))

    return Starlette(routes=[Route(_PATH, predict, methods=["POST"])])


def serve_litserve(model: str, port: int) -> None:
    """LitServe as its manual has it, with two workers."""
    import litserve
    from serving_litserve import Api

    server = litserve.LitServer(Api(model, api_path=_PATH), accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


def main() -> None:
    kind, model, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "litserve":
        serve_litserve(model, port)
    else:
        serve_plain({"plain": by_hand, "plain-clipshift": by_clipshift}[kind](model), port)


if __name__ == "__main__":
    main()
