"""`clipshift.stream`: what a model sees in a source that goes on, told as events while they happen."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipshift.config import EventRules, Settings, with_events
from clipshift.console import flush_stdout
from clipshift.errors import ConfigError, OutputError, VideoError
from clipshift.files import append_line, to_json
from clipshift.inference.observing import Observation, observe_ticks, rate_of, rules_of
from clipshift.inference.predictor import Model, load
from clipshift.inference.video_scores import check_way
from clipshift.temporal.events import DetectorState, Event, advance, finish, interrupt, start
from clipshift.timelines.making import split_settings
from clipshift.video.annotated import AnnotatedVideo, check_absent
from clipshift.video.limits import Limits
from clipshift.video.live import Address, Break, LiveSource, SourceOptions, Stop, Transport, UntilBreak, read_address
from clipshift.video.timed import TimedFrame, frames_at_rate

if TYPE_CHECKING:
    from clipshift.device import Amp
    from clipshift.progress import DownloadProgress

MARKS = (b'"kind"',)
"""What lines of events hold; to a file without none are added."""
_LOG = logging.getLogger("clipshift.stream")
_LONGEST_STILL = 1.0
"""Seconds for which the last frame of a live source stands for what happens now."""
_RATE_OVER = 20
"""Answers over which their rate is measured."""


@dataclass(frozen=True)
class StreamEvent(Event):
    """A message about an event while it happens: an [Event][clipshift.temporal.events.Event] with clock times.

    Attributes:
        start_clock: When it started by this machine's clock, in UTC; None where the source is not live.
        end_clock: The same for its end, before the message `end` for how far it is known.
    """

    start_clock: datetime | None = None
    end_clock: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """For JSON: clocks as in ISO 8601, all else as it is."""
        values = asdict(self)
        for name in ("start_clock", "end_clock"):
            values[name] = values[name] and values[name].isoformat(timespec="milliseconds")
        return values


@dataclass(frozen=True)
class StreamStatus:
    """Where a stream stands.

    Attributes:
        time: Of the last answer, in seconds of the stream.
        label: The most probable class.
        score: Its probability.
        open_labels: Classes with an event that goes on.
        answers_per_second: Measured over the last ones.
        lag: Seconds from when the frame was made to its answer; None where the source is not live.
        dropped: Frames that were left out so far, as they would have come too late.
        breaks: How often something was missing in the source so far.
    """

    time: float
    label: str
    score: float
    open_labels: tuple[str, ...]
    answers_per_second: float
    lag: float | None
    dropped: int
    breaks: int

    def to_text(self) -> str:
        """One line."""
        lag = "" if self.lag is None else f"  lag {self.lag:.2f} s"
        going_on = f"  [{', '.join(self.open_labels)}]" if self.open_labels else ""
        rates = f"{self.answers_per_second:.1f} frames/s{lag}  dropped {self.dropped}  breaks {self.breaks}"
        return f"{self.time:9.1f} s  {self.label} {self.score:.2f}  {rates}{going_on}"


def stream(  # noqa: PLR0913 - every one is a choice
    model: str | Path | Model,
    source: str | Path,
    *,
    rate: float | None = None,
    window: bool = False,
    every_frame: bool | None = None,
    transport: Transport = "tcp",
    timeout: float = 10.0,
    tries: int | None = None,
    annotated: str | Path | None = None,
    device: str = "auto",
    amp: Amp = "fp32",
    threads: int = 0,
    settings: Settings | Sequence[Settings] = (),
    stop: Stop | None = None,
    report: Callable[[StreamStatus], object] | None = None,
    log: Callable[[str], object] | None = None,
    progress: DownloadProgress | None = None,
) -> Generator[StreamEvent]:
    """Tell what happens in a source while it happens.

    The source is read in a process of its own, which ends when the iteration ends or is left, and is killed and started
    again where the source hangs or fails. What is open then ends, as nobody saw how it went on.

    Args:
        model: Run folder, model folder, exported model, or published weights by name. Also what `load` returned.
        source: A video file; a folder, whose newest recording is followed while it grows, and those after it; a camera
            (/dev/video0); rtsp://, rtsps://, http://, https://, udp:// or tcp://; '-' for standard input; or @FILE with
            one of these in its first line, so that no password stands in a command.
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
        settings: Of events, in place of the model's own, such as `"events.default.enter=0.6"`
            ([EventRules][clipshift.config.event_rules.EventRules]), and of reading: `"data.max_pixels=9000000"`.
        stop: Ends the stream from another thread or in a signal's handler, with all events closed.
        report: Called after each answer.
        log: Called with a line for everything that goes wrong with the source; by default a warning of `logging`.
        progress: As of [load][clipshift.inference.predictor.load].

    Returns:
        An iterator of events.

    Raises:
        ConfigError: An option or rule is not valid, or the model cannot take one frame at a time.
        OutputError: The annotated video is there already, or cannot be written.
        VideoError: There is no such source, it cannot be opened, or not any more.
    """
    if annotated is not None:
        check_absent(annotated)
    address = read_address(source)
    _check_options(timeout, tries)
    events, reading = split_settings(settings)
    loaded = _loaded(model, reading, device=device, amp=amp, threads=threads, progress=progress)
    check_way(loaded, window=window)
    seen = rate_of(loaded, rate)
    rules = with_events(rules_of(loaded, seen), loaded.classes, events)
    options = SourceOptions(
        # In a video that is written, all frames are wanted.
        rate=seen if annotated is None else None,
        longest_display=_longest_display(address, seen, rules),
        most_lag=loaded.spec.input.segments / seen,
        every_frame=every_frame,
        transport=transport,
        timeout=timeout,
        tries=tries,
        limits=Limits.of(loaded.spec.reading),
        square_pixels=loaded.spec.input.pixel_aspect == "apply",
    )
    watch = _Watch(
        loaded,
        LiveSource(address, options, stop=stop, log=log or _LOG.warning),
        start(rules, loaded.classes),
        rate=seen,
        window=window,
        longest_display=options.longest_display,
        report=report or (lambda _: None),
    )
    return watch.events(annotated)


def _check_options(timeout: float, tries: int | None) -> None:
    if not (math.isfinite(timeout) and timeout > 0):
        raise ConfigError("There is no such time-out.", where="timeout", got=timeout, allowed="seconds, above 0")
    if tries is not None and tries < 1:
        raise ConfigError("There is no such number of tries.", where="tries", got=tries, allowed="1 or more")


def _loaded(
    model: str | Path | Model,
    settings: Sequence[Settings],
    *,
    device: str,
    amp: Amp,
    threads: int,
    progress: DownloadProgress | None,
) -> Model:
    if not isinstance(model, Model):
        return load(model, device=device, amp=amp, threads=threads, settings=settings, progress=progress)
    if settings:
        raise ConfigError("A loaded model has the settings that it was loaded with.", where="settings", got=settings)
    return model


def _longest_display(address: Address, rate: float, rules: EventRules) -> float:
    """Of a live source that stands still nobody knows what happens; a file may show a picture for long."""
    return max(_LONGEST_STILL, 2 / rate) if address.live else rules.most_gap


def write_events(events: Iterable[StreamEvent], json_file: str | None, *, say: Callable[[str], object]) -> None:
    """Write each event as it comes, as one JSON object a line.

    Args:
        events: Messages about events.
        json_file: File to which lines are added; None or `-`: standard output.
        say: Prints a line on standard output.

    Raises:
        OutputError: The file or standard output cannot be written.
    """
    for event in events:
        if json_file is None or json_file == "-":
            # Standard output may have any encoding.
            say(json.dumps(event.to_json()))
            flush_stdout()  # who reads a pipe waits for it
            continue
        try:
            append_line(Path(json_file), to_json(event.to_json()))
        except OSError as error:
            raise OutputError.of(error, json_file) from error


class _Watch:
    """A stream from its source to its events."""

    def __init__(
        self,
        model: Model,
        source: LiveSource,
        detector: DetectorState,
        *,
        rate: float,
        window: bool,
        longest_display: float,
        report: Callable[[StreamStatus], object],
    ) -> None:
        self._model, self._source, self._detector = model, source, detector
        self._rate, self._window, self._longest_display, self._report = rate, window, longest_display, report
        self._answered: deque[float] = deque(maxlen=_RATE_OVER)
        self._status: StreamStatus | None = None

    def events(self, annotated: str | Path | None) -> Generator[StreamEvent]:
        """Yields events until the source ends; what is then open ends, too."""
        with ExitStack() as stack:
            items = stack.enter_context(closing(self._source.frames()))
            video = None if annotated is None else stack.enter_context(AnnotatedVideo(annotated))
            try:
                yield from self._along(items, video)
            except VideoError:
                ended, self._detector = interrupt(self._detector)
                yield from map(self._told, ended)
                raise
            ended, self._detector = finish(self._detector, self._source.end)
            yield from map(self._told, ended)

    def _along(self, items: Iterator[TimedFrame | Break], video: AnnotatedVideo | None) -> Generator[StreamEvent]:
        """Yields the events of all parts of the source."""
        while True:
            part = UntilBreak(items)
            if video is None:
                ticks: Iterator[TimedFrame] = iter(part)
            else:
                drawn = self._drawn(part, video)
                ticks = frames_at_rate(drawn, self._rate, longest_display=self._longest_display)
            for observation in observe_ticks(self._model, ticks, self._rate, window=self._window):
                events, self._detector = advance(self._detector, observation.time, observation.probabilities)
                self._note(observation)
                yield from map(self._told, events)
            if part.ended_by is None:
                return
            ended, self._detector = interrupt(self._detector, part.ended_by.reason)
            yield from map(self._told, ended)

    def _drawn(self, frames: UntilBreak[TimedFrame], video: AnnotatedVideo) -> Iterator[TimedFrame]:
        """Hands frames on, and writes each with what is known when it comes."""
        for frame in frames:
            status = self._status
            lines = [] if status is None else [f"{status.label} {status.score:.2f}"]
            going_on = self._detector.open_labels
            video.write(frame, [*going_on, *lines], marked=bool(going_on))
            yield frame

    def _note(self, observation: Observation) -> None:
        self._answered.append(time.monotonic())
        best = int(observation.probabilities.argmax())
        passed = self._answered[-1] - self._answered[0]
        state = self._source.state
        self._status = StreamStatus(
            time=observation.time,
            label=self._model.classes[best],
            score=float(observation.probabilities[best]),
            open_labels=self._detector.open_labels,
            answers_per_second=(len(self._answered) - 1) / passed if passed > 0 else 0.0,
            lag=state.lag_now(),
            dropped=state.dropped,
            breaks=state.breaks,
        )
        self._report(self._status)

    def _told(self, event: Event) -> StreamEvent:
        clocks = (self._source.state.made_at(moment) for moment in (event.start, event.end))
        start_clock, end_clock = (None if clock is None else datetime.fromtimestamp(clock, UTC) for clock in clocks)
        return StreamEvent(**vars(event), start_clock=start_clock, end_clock=end_clock)
