"""`clipshift evaluate`: a model on labeled clips, or stored scores fused."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from clipshift.cli.arguments import Amp, Crops, Protocol, Text
from clipshift.console import progress_bar, say
from clipshift.errors import UserError


def evaluate(  # noqa: PLR0913
    model: str | None = None,
    data: str | None = None,
    *settings: str,
    protocol: Protocol | None = None,
    crops: Crops | None = None,
    clips: int | None = None,
    batch_size: int | None = None,
    bad: Literal["wrong", "exclude"] | None = None,
    device: Text = "auto",
    amp: Amp = "fp32",
    out: Text | None = None,
    fuse: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    weights: Annotated[list[float] | None, Parameter(consume_multiple=True, negative=())] = None,
) -> None:
    """Measure a model on labeled clips, or the average of stored scores.

    Args:
        model: Run folder, model folder, exported model, published weights by name, or hf://OWNER/NAME.
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        settings: data.KEY=VALUE of reading clips: frame_pattern, max_pixels, max_frames, max_seconds; by default those
            of the model's training.
        protocol: A published test in one word, clips x crops: the model's own frames (uniform), 25 frames of a TSN
            (tsn), middles and first frames of the parts (twice), windows of 64 frames (dense).
        crops: Crops per frame: center, three, three_small or ten; by default the model's own.
        clips: Sets of frames per video; by default the model's own.
        batch_size: Views per forward pass; changes memory and speed, not the result; by default 8.
        bad: How unreadable videos count: wrong, or exclude; by default wrong, in a fusion as stored.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        out: Folder for metrics.json and predictions.jsonl.
        fuse: In place of a model and data: run folders or folders of --out, whose probabilities are averaged.
        weights: A number for each of them; by default all count the same.
    """
    import clipshift
    from clipshift.inference.reference import resolve_model

    if fuse:
        if model or protocol or crops or clips or amp != "fp32":
            raise UserError(
                "A fusion reads stored scores: it takes no model, data, settings, views or precision.", where="--fuse"
            )
        say(clipshift.fuse(fuse, weights=weights, bad=bad, out=out).to_text())
        return
    if model is None or data is None:
        raise UserError("A model and data are needed.", allowed="MODEL DATA, or --fuse RUN RUN ...")
    if weights:
        raise UserError("Weights are those of a fusion.", where="--weights", allowed="only with --fuse")
    with progress_bar("fetching") as progress:
        reference = resolve_model(model, progress=progress)
    with progress_bar("evaluating") as progress:
        evaluation = clipshift.evaluate(
            reference,
            data,
            protocol=protocol,
            crops=crops,
            clips=clips,
            batch_size=batch_size,
            bad=bad,
            device=device,
            amp=amp,
            out=out,
            settings=settings,
            progress=progress,
        )
    say(evaluation.to_text())
