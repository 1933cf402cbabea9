"""`clipshift export`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from clipshift.cli.arguments import Crops, Precision, Target, Text
from clipshift.console import progress_bar, say


def export(  # noqa: PLR0913
    model: str,
    *settings: str,
    to: Target,
    out: Text,
    precision: Precision = "fp32",
    input: Literal["frames", "clips"] = "frames",  # noqa: A002
    data: Text | None = None,
    calibrate: Text | None = None,
    crops: Crops | None = None,
    streaming: Annotated[bool, Parameter(negative=())] = False,
    license: Annotated[Text | None, Parameter(name=("--license", "--licence"))] = None,  # noqa: A002
) -> None:
    """Write a model as a file that runs without PyTorch, once it is proven to give the model's numbers.

    Args:
        model: Run folder, model folder, or published weights by name.
        settings: data.KEY=VALUE of reading clips: frame_pattern, max_pixels, max_frames, max_seconds; by default those
            of the model's training.
        to: onnx (ONNX Runtime, TensorRT, browsers), openvino, or torch.
        out: Folder for the export; new or empty.
        precision: fp32, fp16, bf16 (OpenVINO only) or int8 (not torch).
        input: What the file takes: frames as decoded, or clips, normalized frames.
        data: Clips to check on, with labels or without; by default the run's validation clips.
        calibrate: Data set for int8.
        crops: Crops of every frame inside the file; by default the model's own.
        streaming: The file takes one frame of a live stream at a time; of causal networks (onnx, openvino).
        license: Of the model, for its card; by default that of the published weights.
    """
    import clipshift

    with progress_bar("checking") as progress:
        exported = clipshift.export(
            model,
            to=to,
            out=out,
            precision=precision,
            input=input,
            data=data,
            calibrate=calibrate,
            crops=crops,
            streaming=streaming,
            license=license,
            settings=settings,
            progress=progress,
        )
    say("\n".join(exported.lines()))
