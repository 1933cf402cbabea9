"""`clipshift predict`."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from clipshift.cli.arguments import STANDARD_INPUT, Amp, Count, Crops, Text, Threads, names_and_settings
from clipshift.console import complain, progress_bar, say
from clipshift.errors import UserError


def predict(  # noqa: PLR0913
    model: str,
    *sources: str,
    json_file: Annotated[Text | None, Parameter(name="--json")] = None,
    top: Count = 5,
    crops: Crops | None = None,
    clips: int | None = None,
    batch_size: int = 1,
    device: Text = "auto",
    amp: Amp = "fp32",
    threads: Threads = 0,
    mode: Literal["auto", "latency", "throughput"] = "auto",
) -> None:
    """Classify videos; exit code 1 if one could not be read, or a source is not there.

    Args:
        model: Run folder, model folder, exported model, or published weights by name.
        sources: Videos, folders, globs and lists; '-' for standard input, with a path a line; and settings
            data.KEY=VALUE of reading them: frame_pattern, max_pixels, max_frames, max_seconds; by default those of the
            model's training.
        json_file: File for one JSON line per video; '-' for standard output.
        top: Classes to show.
        crops: Crops per frame: center, three, three_small or ten; by default the model's own.
        clips: Sets of frames per video; by default the model's own.
        batch_size: Views per forward pass.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        threads: Of the network on the CPU; 0: one a core.
        mode: Of an exported model: latency (all threads on one answer), throughput (each on one of its own), or auto:
            latency for one video, throughput for more.
    """
    import clipshift
    from clipshift.inference.predictor import pick_mode
    from clipshift.inference.writing import write_predictions

    names, settings = names_and_settings(sources)
    if not names:
        raise UserError("Nothing was named to predict.", allowed="videos, folders, globs and lists")
    names = ["-" if name == STANDARD_INPUT else name for name in names]
    chosen = pick_mode(names) if mode == "auto" else mode
    with progress_bar("fetching") as progress:
        loaded = clipshift.load(
            model, device=device, amp=amp, threads=threads, mode=chosen, settings=settings, progress=progress
        )
    answers = clipshift.predict(loaded, *names, crops=crops, clips=clips, batch_size=batch_size)
    failed = write_predictions(answers, json_file, top=top, say=say)
    if failed:
        complain(f"{failed} of the videos could not be read.")
        sys.exit(1)
