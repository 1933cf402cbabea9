"""`clipshift calibrate`."""

from __future__ import annotations

from clipshift.cli.arguments import Text
from clipshift.console import progress_bar, say


def calibrate(model: str, data: str, *settings: str, out: Text | None = None, device: Text = "auto") -> None:
    """Fit how sure a trained model may be on labeled clips that it has not learnt from.

    Args:
        model: Run folder, model folder, or published weights by name.
        data: Labeled clips that the model has not learnt from: a folder with a folder per class (also in train/ and
            val/), a list, or a data.yaml.
        settings: data.KEY=VALUE of reading clips: frame_pattern, max_pixels, max_frames, max_seconds; by default those
            of the model's training.
        out: Model folder to write; by default the model's own is changed.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
    """
    import clipshift
    from clipshift.inference.reference import resolve_model

    with progress_bar("fetching") as progress:
        reference = resolve_model(model, progress=progress)
    with progress_bar("evaluating") as progress:
        found = clipshift.calibrate(reference, data, out=out, device=device, settings=settings, progress=progress)
    for line in found.lines():
        say(line)
