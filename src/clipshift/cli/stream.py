"""`clipshift stream`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from clipshift.cli.arguments import STANDARD_INPUT, Amp, Text, Threads
from clipshift.console import LiveLine, progress_bar, say
from clipshift.files import check_replaceable

if TYPE_CHECKING:
    from clipshift.video.live import Stop


def stream(  # noqa: PLR0913
    model: str,
    source: str,
    *settings: str,
    json_file: Annotated[Text | None, Parameter(name="--json")] = None,
    rate: float | None = None,
    window: Annotated[bool, Parameter(negative=())] = False,
    every_frame: bool | None = None,
    transport: Literal["tcp", "udp"] = "tcp",
    timeout: float = 10.0,
    tries: int | None = None,
    annotated: Text | None = None,
    device: Text = "auto",
    amp: Amp = "fp32",
    threads: Threads = 0,
) -> None:
    """Tell what happens in a source while it happens, one JSON object a line; Ctrl-C ends it.

    Args:
        model: Run folder, model folder, exported model, or published weights by name.
        source: A video file; a folder, whose newest recording is followed while it grows, and those after it; a camera
            (/dev/video0); rtsp://, rtsps://, http://, https://, udp:// or tcp://; '-' for standard input; or @FILE with
            one of these in its first line, so that no password stands in a command.
        settings: Of events, such as events.default.enter=0.6, and of reading, such as data.max_pixels=4000000.
        json_file: File to which events are added; by default, and with '-', they go to standard output.
        rate: Frames a second that the network sees, as in its training; by default as the model says.
        window: Let the network answer for a sliding window of its last frames, which any network can. Costs as many
            times more as it has frames.
        every_frame: Leave no frame out, however late it comes; by default of files, folders and pipes. Else what waits
            for longer than the model's window is left out, all but the newest frame.
        transport: Of RTSP: tcp or udp.
        timeout: Seconds of silence after which a live source is opened again, and the longest wait before that.
        tries: How often in a row a live source is opened before that is an error; by default once at first, and
            without end when it has shown something.
        annotated: File for the video with labels drawn, MP4; must not be there.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        threads: Of the network on the CPU; 0: one a core.
    """
    import clipshift
    from clipshift.timelines.watching import MARKS, write_events
    from clipshift.video.live import Stop

    if json_file is not None and json_file != "-":
        check_replaceable(json_file, inputs=[model, source], marks=MARKS)
    stop, line = Stop(), LiveLine()
    with progress_bar("fetching") as progress:
        events = clipshift.stream(
            model,
            "-" if source == STANDARD_INPUT else source,
            rate=rate,
            window=window,
            settings=settings,
            every_frame=every_frame,
            transport=transport,
            timeout=timeout,
            tries=tries,
            annotated=annotated,
            device=device,
            amp=amp,
            threads=threads,
            stop=stop,
            report=lambda status: line.show(status.to_text()),
            log=line.log,
            progress=progress,
        )
    with line, _stopped_by_signals(stop) as signals, closing(events):
        write_events(events, json_file, say=say)
    if signal.SIGINT in signals:
        sys.exit(130)


@contextmanager
def _stopped_by_signals(stop: Stop) -> Iterator[list[int]]:
    """Turn SIGTERM and the first Ctrl-C into the end of a stream; a second Ctrl-C interrupts at once."""
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if number in came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)
        stop.ask()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
