"""Events of a source while they happen: those of the time line, none across what is missing, all closed at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest

import clipshift
from clipshift.cli.stream import stream as cli_stream
from clipshift.config import InputConfig, ModelConfig, ModelSpec
from clipshift.datasets.motion_streams import write_motion_streams
from clipshift.errors import ConfigError, OutputError, UserError, VideoError
from clipshift.inference.engines.streaming import Logits
from clipshift.inference.predictor import Model
from clipshift.temporal.segments import sort_segments
from clipshift.timelines.watching import StreamEvent, StreamStatus, write_events
from clipshift.video.live import Stop
from tests.exporting.making import CAUSAL, save_model
from tests.video.live.servers import BRIGHT, DARK, encode, is_mute, plays, server
from tests.video.live.test_source import children, forget_children

RULES = tuple(f"events.default.{each}" for each in ("enter=0.64", "leave=0.615", "shortest=0.1", "merge_gap=0"))
SECRET = "geheim"  # noqa: S105 - no password


class Brightness:
    """A scorer whose class is how bright a frame is; it takes one frame after the other, and nothing else."""

    spec = ModelSpec(
        clipshift="0", model=ModelConfig(), input=InputConfig(segments=4), classes=("background", "bright")
    )
    window = 4

    @property
    def stepper(self) -> Brightness:
        return self

    def initial_state(self, streams: int) -> tuple[Any, ...]:
        return (np.zeros((streams, 1)),)

    def step(self, frames_BHWC: np.ndarray, state: tuple[Any, ...]) -> tuple[Logits, tuple[Any, ...]]:
        brightness = frames_BHWC.mean(axis=(1, 2, 3)) / 255
        logits = np.stack([np.zeros_like(brightness), 20 * (brightness - 0.5)], axis=1)
        return Logits(logits, logits), state


def model_of_brightness() -> Model:
    return Model(cast("Any", Brightness()))


def gist(events: list[StreamEvent]) -> list[tuple[int, str, str | None]]:
    return [(event.id, event.kind, event.reason) for event in events if event.kind != "update"]


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("causal") / "model", model=CAUSAL)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_motion_streams(tmp_path_factory.mktemp("watching") / "streams", streams=2, seconds=10, size=32)
    return folder / "0000.mp4"


@pytest.mark.parametrize("window", [False, True])
def test_a_stream_of_a_file_has_the_events_of_its_time_line(
    causal: Path, video: Path, tmp_path: Path, *, window: bool
) -> None:
    [line] = clipshift.timeline(causal, video, out=tmp_path / "line", rate=6.0, window=window, settings=RULES)
    assert isinstance(line, clipshift.Timeline)
    events = list(clipshift.stream(causal, video, rate=6.0, window=window, settings=RULES))
    assert len(line.segments) > 1
    assert sort_segments(event.segment() for event in events if event.kind == "end") == list(line.segments)
    assert {event.start_clock for event in events} == {None}


def test_labels_are_drawn_into_a_video_and_change_nothing(causal: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "annotated.mp4"
    plain = list(clipshift.stream(causal, video, rate=6.0, settings=RULES))
    assert list(clipshift.stream(causal, video, rate=6.0, settings=RULES, annotated=out)) == plain
    with av.open(str(out)) as drawn, av.open(str(video)) as original:
        times = [frame.time for frame in drawn.decode(video=0)]
        assert times == pytest.approx([frame.time for frame in original.decode(video=0)], abs=1e-4)
    with pytest.raises(OutputError, match="there already"):
        clipshift.stream(causal, video, rate=6.0, annotated=out)


def test_an_outage_ends_what_is_open_and_begins_nothing() -> None:
    """It is bright, the server freezes, and then it is dark; however slow the machine is."""
    forget_children()
    lines: list[str] = []
    statuses: list[StreamStatus] = []
    before = plays(encode([DARK] * 20 + [BRIGHT] * 40, 60), at_once=1, then=is_mute)
    after = plays(encode([DARK] * 40 + [BRIGHT] * 160, 200), at_once=20)
    with server(before, after) as port:
        events = clipshift.stream(
            model_of_brightness(),
            f"tcp://me:{SECRET}@127.0.0.1:{port}",
            rate=10.0,
            timeout=3.0,
            every_frame=True,
            report=statuses.append,
            log=lines.append,
        )
        found = []
        with closing(events):
            for event in events:
                found.append(event)
                if event.id == 2:
                    break
    assert gist(found) == [(1, "new", None), (1, "end", "gap"), (2, "new", None)]
    first, second = (event for event in found if event.kind == "new")
    end = next(event for event in found if event.kind == "end")
    # Nothing is said of the time in which nothing was seen.
    last_seen = max(status.time for status in statuses if status.time < second.start - 1.5)
    assert end.end <= last_seen
    assert end.end - first.start == pytest.approx(2.0, abs=0.35)
    assert end.start_clock is not None
    assert end.end_clock is not None
    assert (end.end_clock - end.start_clock).total_seconds() == pytest.approx(end.end - end.start, abs=0.01)
    assert abs((datetime.now(UTC) - end.end_clock).total_seconds()) < 120
    assert len(lines) == 2
    assert SECRET not in "".join(lines)
    assert statuses[-1].breaks == 1
    assert statuses[-1].label == "bright"
    assert children() == set()


def test_a_stream_that_is_stopped_closes_its_events() -> None:
    stop = Stop()
    with server(plays(encode(BRIGHT, 200), at_once=40, then=is_mute)) as port:
        events = clipshift.stream(model_of_brightness(), f"tcp://127.0.0.1:{port}", rate=10.0, stop=stop)
        found = [next(events)]
        threading.Timer(0.2, stop.ask).start()
        found += list(events)
    assert gist(found) == [(1, "new", None), (1, "end", "finished")]


def test_a_source_that_fails_for_good_closes_its_events_first() -> None:
    with server(plays(encode(BRIGHT, 40), at_once=40)) as port:
        events = clipshift.stream(
            model_of_brightness(), f"tcp://127.0.0.1:{port}", rate=10.0, timeout=5.0, tries=1, every_frame=True
        )
        found: list[StreamEvent] = []

        def watch() -> None:
            for event in events:
                found.append(event)  # noqa: PERF402 - those before the error count

        with pytest.raises(VideoError, match="source ended"):
            watch()
    assert gist(found) == [(1, "new", None), (1, "end", "gap")]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout": 0.0}, "no such time-out"),
        ({"tries": 0}, "no such number of tries"),
        ({"rate": None}, "spread over whole clips"),
        ({"rate": -1.0}, "no such rate"),
        ({"settings": ["data.max_pixels=5"]}, "settings that it was loaded with"),
        ({"settings": ["events.default.enter=7"]}, "enter"),
        ({"settings": ["events.classes.dog.enter=0.7"]}, "dog"),
        ({"source": "nothing.mp4"}, "no such source"),
        ({"source": "rtsp:///gate"}, "no host"),
    ],
)
def test_what_cannot_be_is_told_before_anything_begins(options: dict[str, Any], text: str, video: Path) -> None:
    arguments: dict[str, Any] = {"source": video, "rate": 5.0, **options}
    source = arguments.pop("source")
    with pytest.raises(UserError, match=text):
        clipshift.stream(model_of_brightness(), source, **arguments)


def test_events_are_added_to_no_other_file(small_model: Path, video: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not to be lost")
    for file, text in ((notes, "something else"), (video, "is an input")):
        before = file.read_bytes()
        with pytest.raises(OutputError, match=text):
            cli_stream(str(small_model), str(video), json_file=str(file), rate=5.0)
        assert file.read_bytes() == before


def test_a_network_that_looks_ahead_needs_a_window(small_model: Path, video: Path) -> None:
    with pytest.raises(ConfigError, match=r"later frames(.|\n)*--window"):
        clipshift.stream(small_model, video, rate=5.0)


def test_the_page_does_what_it_says(
    causal: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "streaming.md").read_text(encoding="utf-8")
    block = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "live").symlink_to(causal)
    (tmp_path / "match.mp4").symlink_to(video)
    monkeypatch.chdir(tmp_path)
    exec(block, {})  # noqa: S102 - the page of this repository
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("new ")
    assert lines[-1].startswith("end ")
    told = json.loads(re.findall(r"^```json\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)[0])
    assert list(told) == [field.name for field in fields(StreamEvent)]


def test_lines_are_added_to_a_file(tmp_path: Path) -> None:
    clock = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
    event = StreamEvent(1, "new", "fäll", 0.1, 0.3, 0.9, 0.8, 0.3, None, clock, clock)
    out = tmp_path / "events.jsonl"
    out.write_text("{}\n")
    write_events([event], str(out), say=lambda _: None)
    lines = out.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1])["start_clock"] == "2026-01-02T03:04:05.600+00:00"
    assert json.loads(lines[1])["label"] == "fäll"
    with pytest.raises(OutputError):
        write_events([event], str(tmp_path / "no" / "events.jsonl"), say=lambda _: None)


def command_line(process: Path) -> str:
    """What everybody can see of a process; nothing of one that has ended."""
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_command_ends_within_a_second_of_a_signal(causal: Path, tmp_path: Path, number: int, code: int) -> None:
    """All classes are always open by these rules, so that there is something to close."""
    url = tmp_path / "url"
    rules = ["events.default.enter=0", "events.default.leave=0"]
    with server(plays(encode(BRIGHT, 2000), at_once=40)) as port:
        url.write_text(f"tcp://me:{SECRET}@127.0.0.1:{port}")
        words = ["stream", str(causal), f"@{url}", "--rate", "5", "--timeout", "30", *rules]
        with subprocess.Popen(
            # Without buffers: `communicate` does not see what came with the first line.
            [sys.executable, "-m", "clipshift", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            shown = "".join(map(command_line, Path("/proc").glob("[0-9]*")))
            os.kill(process.pid, number)
            began = time.monotonic()
            out, err = process.communicate(timeout=60)
            took = time.monotonic() - began
    found = [json.loads(line) for line in [first, *out.splitlines()]]
    assert process.returncode == code, err
    assert took < 30  # on a machine that is busy
    opened = {event["id"] for event in found if event["kind"] == "new"}
    assert opened
    assert {event["id"]: event["reason"] for event in found if event["kind"] == "end"} == dict.fromkeys(
        opened, "finished"
    )
    assert SECRET not in (first + out + err).decode() + shown
