"""A day of a stream, replayed as fast as it goes: memory of the program and of the process that reads, hour by hour.

    python benchmarks/long_stream.py [--hours 24] [--rate 2] [--size 32 48] [--json figures.json]

A third process writes MPEG-TS to a pipe: gray frames, bright for 5 seconds of every minute. They go the whole way of
`clipshift stream`, from the pipe to the events; only the network is a light one: how bright a frame is. What is printed
is the resident memory at the end of each hour of the stream, and how far the last hour is from the first one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from common import write_json

import clipshift
from clipshift.config import InputConfig, ModelConfig, ModelSpec
from clipshift.inference.engines.streaming import Logits
from clipshift.inference.predictor import Model

_MINUTE, _BRIGHT = 60, 5
_HOUR = 3600.0


class Brightness:
    """A scorer and stepper whose class is how bright a frame is."""

    spec = ModelSpec(
        clipshift="0", model=ModelConfig(), input=InputConfig(segments=8), classes=("background", "bright")
    )
    window = 8

    @property
    def stepper(self) -> Brightness:
        """Itself."""
        return self

    def initial_state(self, streams: int) -> tuple[Any, ...]:
        """Nothing is kept."""
        return (np.zeros((streams, 1)),)

    def step(self, frames_BHWC: np.ndarray, state: tuple[Any, ...]) -> tuple[Logits, tuple[Any, ...]]:
        """An answer that hangs on the frame alone."""
        brightness = frames_BHWC.mean(axis=(1, 2, 3)) / 255
        logits = np.stack([np.zeros_like(brightness), 20 * (brightness - 0.5)], axis=1)
        return Logits(logits, logits), state


def write_stream(path: str, hours: float, rate: int, size: tuple[int, int]) -> None:
    height, width = size
    frames = [
        av.VideoFrame.from_ndarray(np.full((height, width, 3), gray, np.uint8), format="rgb24").reformat(
            format="yuv420p"
        )
        for gray in (40, 220)
    ]
    with open(path, "wb") as pipe, av.open(pipe, "w", format="mpegts") as container:  # noqa: PTH123
        stream: Any = container.add_stream("mpeg2video", rate=rate if rate >= 24 else 25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for number in range(int(hours * _HOUR * rate)):
            frame = frames[number // rate % _MINUTE < _BRIGHT]
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--rate", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(32, 48), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, float]] = []

    def note(status: clipshift.StreamStatus) -> None:
        if status.time < _HOUR * (len(rows) + 1):
            return
        children = [process.pid for process in multiprocessing.active_children() if process.pid != writer.pid]
        row = {"hour": len(rows) + 1, "program_mb": memory_mb(os.getpid()), "reader_mb": memory_mb(children[0] or 0)}
        rows.append(row)
        print(f"| {row['hour']:.0f} | {row['program_mb']:.1f} | {row['reader_mb']:.1f} |", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        pipe = Path(scratch) / "pipe"
        os.mkfifo(pipe)
        writer = multiprocessing.get_context("spawn").Process(
            target=write_stream, args=(str(pipe), options.hours + 0.01, options.rate, tuple(options.size))
        )
        writer.start()
        print("| hour | program MB | reader MB |\n|---|---|---|")
        began = time.monotonic()
        model = Model(cast("Any", Brightness()))
        events = sum(
            event.kind == "end" for event in clipshift.stream(model, pipe, rate=float(options.rate), report=note)
        )
        took = time.monotonic() - began
        writer.join()
    first, last = rows[0], rows[-1]
    growth = {name: last[name] / first[name] - 1 for name in ("program_mb", "reader_mb")}
    print(f"{events} events in {took:.0f} s")
    print(f"growth: program {growth['program_mb']:+.2%}, reader {growth['reader_mb']:+.2%}")
    if options.json:
        figures = {"rows": rows, "growth": growth, "events": events, "seconds": took}
        write_json(options.json, {"options": {**vars(options), "json": str(options.json)}, "figures": figures})


if __name__ == "__main__":
    main()
