"""`clipshift fit-events`: rules of events for a model, from annotated videos."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from clipshift.cli.arguments import Amp, Processes, Text
from clipshift.console import progress_bar, say


def fit_events(  # noqa: PLR0913
    model: str,
    annotations: str,
    *settings: str,
    videos: Text | None = None,
    subset: Text | None = None,
    measure: Literal["f1", "false_events"] = "f1",
    recall: float = 0.8,
    rate: float | None = None,
    window: Annotated[bool, Parameter(negative=())] = False,
    device: Text = "auto",
    amp: Amp = "fp32",
    workers: Processes = None,
) -> None:
    """Fit a model's rules of events to annotated long videos, and store them in the model.

    Args:
        model: Run folder, model folder or exported model; its 'model.json' gets the rules.
        annotations: File of what is true, in any form that is read.
        settings: events.KEY=VALUE: where the search begins; data.KEY=VALUE of reading.
        videos: Folder of the videos; by default that of the file of annotations.
        subset: The part of the data to fit to; by default of several parts the validation part, else the test part.
        measure: What is made best for each class: f1, or false_events: the fewest that leave a recall.
        recall: Share of the events that false_events leaves found, above 0 and at most 1.
        rate: Frames a second that the network sees, as in its training; by default as the model says.
        window: Let the network answer for a sliding window of its last frames, which any network can. Costs as many
            times more as it has frames.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        workers: Processes, each with a video of its own; by default one a core.
    """
    import clipshift

    with progress_bar("looking") as progress:
        fitted = clipshift.fit_events(
            model,
            annotations,
            videos=videos,
            subset=subset,
            measure=measure,
            recall=recall,
            rate=rate,
            window=window,
            device=device,
            amp=amp,
            settings=settings,
            workers="auto" if workers is None else workers,
            progress=progress,
        )
    say(fitted.to_text())
