"""Servers that others write, for `benchmarks/serving.py`: FastAPI or Starlette, and LitServe, with one ONNX file.

python benchmarks/serving_rivals.py {fastapi|litserve} {clipshift|pyav|opencv|decord|torchcodec} MODEL PORT
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_PATH = "/v1/models/gate/predict"
Classify = Callable[[bytes, str], dict[str, Any]]
Read = Callable[[str, int], np.ndarray]
"""From a file and a number to so many frames, uint8 (T, H, W, 3), RGB."""


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


def by_hand(model: str, read: Read, threads: int) -> Classify:
    """A file, the middle frames of its equal parts, and ONNX Runtime: as it comes, or in so many threads."""
    import onnxruntime

    from clipshift.inference.export_folder import read_export

    spec = read_export(Path(model)).spec
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(Path(model) / "model.onnx"), settings, providers=["CPUExecutionProvider"]
    )

    def classify(data: bytes, name: str) -> dict[str, Any]:
        with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
            file.write(data)
            file.flush()
            frames_THWC = read(file.name, spec.input.segments)
        (chances,) = session.run(["probabilities"], {session.get_inputs()[0].name: frames_THWC[None]})
        ranked = sorted(zip(spec.classes, chances[0].tolist(), strict=True), key=lambda each: -each[1])
        return {"path": name, "label": ranked[0][0], "probabilities": dict(ranked)}

    return classify


def _middles(frames: int, segments: int) -> list[int]:
    return [(2 * i + 1) * frames // (2 * segments) for i in range(segments)]


def by_pyav(path: str, segments: int) -> np.ndarray:
    """Counted once, and decoded frame after frame; only wanted ones become arrays, or the memory would not do."""
    import av

    with av.open(path) as container:
        count = sum(packet.size > 0 for packet in container.demux(video=0))
    wanted, pictures = _middles(count, segments), {}
    with av.open(path) as container:
        for number, frame in zip(range(max(wanted) + 1), container.decode(video=0), strict=False):
            if number in wanted:
                pictures[number] = frame.to_ndarray(format="rgb24")
    return np.stack([pictures[index] for index in wanted])


def by_opencv(path: str, segments: int) -> np.ndarray:
    """Frames are passed over (`grab`) up to each wanted one; how many there are is what the file says."""
    import cv2

    capture = cv2.VideoCapture(path)
    try:
        wanted = _middles(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), segments)
        pictures: dict[int, np.ndarray] = {}
        for number in range(max(wanted) + 1):
            capture.grab()
            if number in wanted:
                pictures[number] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
    return np.stack([pictures[index] for index in wanted])


def by_decord(path: str, segments: int) -> np.ndarray:
    """As its manual says."""
    from decord import VideoReader

    reader = VideoReader(path)
    return np.asarray(reader.get_batch(_middles(len(reader), segments)).asnumpy())


def by_torchcodec(path: str, segments: int) -> np.ndarray:
    """As its manual says."""
    import av  # noqa: F401 - brings FFmpeg's libraries where the system has none
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC")
    return np.asarray(decoder.get_frames_at(_middles(len(decoder), segments)).data)


READERS: dict[str, Read] = {"pyav": by_pyav, "opencv": by_opencv, "decord": by_decord, "torchcodec": by_torchcodec}


def classifier(model: str, decoder: str, threads: int = 0) -> Classify:
    """What classifies clips: `clipshift` or a decoder of `READERS`.

    Args:
        model: Folder of the export.
        decoder: Which.
        threads: Of ONNX Runtime, for one clip; 0: as it comes.
    """
    return by_clipshift(model) if decoder == "clipshift" else by_hand(model, READERS[decoder], threads)


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


def serve_litserve(model: str, decoder: str, port: int) -> None:
    """LitServe as its manual has it, with a worker for each core."""
    import litserve
    from serving_litserve import Api

    api = Api(model, decoder, api_path=_PATH)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=len(os.sched_getaffinity(0)))
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


def main() -> None:
    kind, decoder, model, port = *sys.argv[1:4], int(sys.argv[4])
    if kind == "litserve":
        serve_litserve(model, decoder, port)
    else:
        serve_plain(classifier(model, decoder), port)


if __name__ == "__main__":
    main()
