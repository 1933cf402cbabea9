"""`clipshift timeline`: what happens when in long videos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from clipshift.cli.arguments import STANDARD_INPUT, Amp, Processes, Text, names_and_settings
from clipshift.console import complain, progress_bar, say
from clipshift.errors import UserError

if TYPE_CHECKING:
    from clipshift.timelines import Timeline

_MOST_LINES = 20


def timeline(  # noqa: PLR0913
    model: str,
    *videos: str,
    out: Text,
    rate: float | None = None,
    window: Annotated[bool, Parameter(negative=())] = False,
    annotations: Text | None = None,
    annotated: Text | None = None,
    tracks: Text | None = None,
    device: Text = "auto",
    amp: Amp = "fp32",
    workers: Processes = None,
) -> None:
    """Find what happens when in long videos; exit code 1 if one could not be read.

    Args:
        model: Run folder, model folder, exported model, or published weights by name.
        videos: Video files, folders, globs and lists. Of one video the files lie in 'out', of several in a folder each
            with the video's name; and settings: events.default.enter=0.6 and the like, data.max_seconds=50000.
        out: Folder for the results: new, empty, or of the same call.
        rate: Frames a second that the network sees, as in its training; by default as the model says.
        window: Let the network answer for a sliding window of its last frames, which any network can. Costs as many
            times more as it has frames.
        annotations: File of what is true, in any form that is read; drawn above what was found.
        annotated: File for the video, of which there is one then, with labels drawn, MP4; must not be there. The video
            is decoded a second time for it.
        tracks: CSV of boxes over time, path, track, time, x, y, w, h: a time line for each track in the videos, or,
            where none is named, in all that it names, by a sliding window that looks at the track's boxes.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        workers: Processes, each with a video of its own; by default one a core.
    """
    import clipshift
    from clipshift.inference.reference import resolve_model

    names, settings = names_and_settings(videos, ("data", "events"))
    if not names and tracks is None:
        raise UserError("Nothing was named to look at.", allowed="video files, folders, globs and lists")
    names = ["-" if name == STANDARD_INPUT else name for name in names]
    with progress_bar("fetching") as progress:
        reference = resolve_model(model, progress=progress)
    with progress_bar("looking") as progress:
        results = clipshift.timeline(
            reference,
            *names,
            out=out,
            rate=rate,
            window=window,
            annotations=annotations,
            annotated=annotated,
            tracks=tracks,
            device=device,
            amp=amp,
            settings=settings,
            workers="auto" if workers is None else workers,
            progress=progress,
        )
    failed = 0
    for result in results:
        if isinstance(result, clipshift.Failure):
            failed += 1
            complain(f"error: {result.path}: {result.error}")
        else:
            say("\n".join(_lines(result, alone=len(results) == 1)))
    if failed:
        sys.exit(1)


def _lines(line: Timeline, *, alone: bool) -> list[str]:
    from clipshift.evaluation.report.lanes import clock_text

    how = f"{line.took:.1f} s" if line.made else "was there"
    count = f"{len(line.events)} event{'' if len(line.events) == 1 else 's'}"
    lines = [f"{line.video}: {count} in {clock_text(line.seconds)} ({how})"]
    lines += [f"note: {note}" for note in line.notes]
    if line.truth is not None:
        lines.append(_compared(line))
    if alone:
        for one in line.segments[:_MOST_LINES]:
            lines.append(f"  {clock_text(one.start):>10} {clock_text(one.end):>10}  {one.score or 0:.2f}  {one.label}")
        if len(line.segments) > _MOST_LINES:
            lines.append(f"  ... and {len(line.segments) - _MOST_LINES} more")
    return [*lines, str(Path(line.folder) / "timeline.html")]


def _compared(line: Timeline) -> str:
    from clipshift.evaluation.temporal_metrics import segmental_f1

    truth = line.truth or ()
    if not truth and not line.segments:
        return "  nothing is annotated, and nothing was found"
    counts = segmental_f1({"": line.segments}, {"": truth}, 0.5, background=())
    return f"  of {len(truth)} annotated: {counts.hits} found (tIoU 0.5), {counts.misses} missed, {counts.false} false"
