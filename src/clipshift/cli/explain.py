"""`clipshift explain`: why a model answers as it does."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from clipshift.cli.arguments import Amp, Crops, Text, names_and_settings
from clipshift.console import progress_bar, say
from clipshift.errors import UserError


def explain(  # noqa: PLR0913
    model: str,
    video: str,
    *settings: str,
    out: Text | None = None,
    label: Text | None = None,
    where: Literal["auto", "grad-cam", "occlusion", "none"] = "auto",
    fill: Literal["mean", "neighbor", "blurred"] = "mean",
    crops: Crops | None = None,
    clips: int | None = None,
    device: Text = "auto",
    amp: Amp = "fp32",
) -> None:
    """Find out which frames of a clip, and what in them, speak for a class.

    Args:
        model: Run folder, model folder, exported model, published weights by name, or hf://OWNER/NAME.
        video: A video file, a frame folder, or a span of a video (a.mp4#t=1.5,4, in seconds).
        settings: data.KEY=VALUE of reading clips: frame_pattern, max_pixels, max_frames, max_seconds; by default those
            of the model's training.
        out: Folder for explanation.json, explanation.png and explanation.html; earlier ones are replaced.
        label: The class to explain; by default the most probable one.
        where: How places are found: grad-cam, which needs a network with maps of features; occlusion, which any model
            can; auto, the first that is possible; or none.
        fill: What takes the place of a hidden frame: mean, the mean of the others; neighbor, the nearest other one; or
            blurred, itself without its details.
        crops: Crops per frame: center, three, three_small or ten; by default the model's own.
        clips: Sets of frames per video; by default the model's own.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
    """
    import clipshift
    from clipshift.inference.reference import resolve_model

    names, others = names_and_settings(settings)
    if names:
        raise UserError("One clip is explained at a time.", got=names[0], allowed="settings data.KEY=VALUE behind it")
    with progress_bar("fetching") as progress:
        reference = resolve_model(model, progress=progress)
    with progress_bar("explaining") as progress:
        found = clipshift.explain(
            reference,
            video,
            out=out,
            label=label,
            where=where,
            fill=fill,
            crops=crops,
            clips=clips,
            device=device,
            amp=amp,
            settings=others,
            progress=progress,
        )
    say(found.to_text())
    if out is not None:
        say(str(Path(out) / "explanation.html"))
