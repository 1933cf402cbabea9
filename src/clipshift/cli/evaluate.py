"""`clipshift evaluate`: a model on labeled clips, or stored scores fused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from clipshift.cli.arguments import Amp, Crops, Protocol, Text
from clipshift.console import progress_bar, say
from clipshift.errors import UserError

_ANNOTATIONS = {".json", ".eaf", ".vtt", ".srt"}


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
    events: bool | None = None,
    videos: Text | None = None,
    subset: Text | None = None,
    rate: float | None = None,
    window: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Measure a model on labeled clips or annotated long videos, or the average of stored scores.

    Args:
        model: Run folder, model folder, exported model, published weights by name, or hf://OWNER/NAME.
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml; or annotations: what
            happens from when to when in long videos.
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
        out: Folder for metrics.json and predictions.jsonl; of events metrics.json, report.html, time lines.
        fuse: In place of a model and data: run folders or folders of --out, whose probabilities are averaged.
        weights: A number for each of them; by default all count the same.
        events: Measure what is found in whole videos, from when to when, in place of the classes of given spans; by
            default of annotations (.json, .eaf, .vtt, .srt) and not of lists.
        videos: Of events: folder of the videos; by default that of the file of annotations.
        subset: Of events: the part of the data; by default of several parts the validation part, else the test part.
        rate: Of events: frames a second that the network sees; by default as the model says.
        window: Of events: let the network answer for a sliding window of its last frames, which any network can.
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
    long = {"videos": videos, "subset": subset, "rate": rate, "window": window or None}
    if Path(data).suffix.lower() in _ANNOTATIONS if events is None else events:
        clip = {"protocol": protocol, "crops": crops, "clips": clips, "batch_size": batch_size, "bad": bad}
        _refuse(clip, "This option is of the classes of clips, and here events of long videos are measured.")
        with progress_bar("looking") as progress:
            found = clipshift.evaluate_events(
                reference,
                data,
                videos=videos,
                subset=subset,
                rate=rate,
                window=window,
                device=device,
                amp=amp,
                settings=settings,
                out=out,
                progress=progress,
            )
        say(found.to_text())
        return
    _refuse(long, "This option is of events in long videos, and here the classes of clips are measured.")
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


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raise an error for an option that was given and has no meaning here."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UserError(why, where=f"--{given[0].replace('_', '-')}")
