"""`clipshift.benchmark`: how fast trained and exported models are on this machine, decoding and network apart."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clipshift._version import __version__
from clipshift.config import Settings
from clipshift.datasets.clip import Clip, evenly
from clipshift.errors import ExportError, VideoError
from clipshift.exporting.check_clips import GENERATED, generated_clips
from clipshift.files import to_json, write_whole
from clipshift.inference.predictor import Model, load
from clipshift.inference.scorer import one_line
from clipshift.inference.sources import find_clips_of
from clipshift.parallel.prefetch import decoder_threads, pick_threads
from clipshift.preprocessing.windows import choose_test_frames

JSON_FILE, CHART_FILE = "benchmark.json", "benchmark.png"
_MOST_CLIPS = 32


@dataclass(frozen=True)
class Timing:
    """Milliseconds of something that was repeated.

    Attributes:
        median: Of all repetitions.
        low: A tenth of them took less.
        high: A tenth of them took more.
        times: How many there were.
    """

    median: float
    low: float
    high: float
    times: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Of durations in seconds."""
        low, high = np.quantile(seconds, [0.1, 0.9])
        return cls(1e3 * statistics.median(seconds), 1e3 * float(low), 1e3 * float(high), len(seconds))

    def __str__(self) -> str:
        return f"{self.median:7.1f} ({self.low:.1f}-{self.high:.1f})"


@dataclass(frozen=True)
class Speed:
    """How fast one model is.

    Attributes:
        name: What was named.
        engine: What ran it.
        network: From the decoded frames of one clip to its logits, preprocessing included.
        decoding: Reading the frames of one clip.
        whole: From one file to its answer.
        clips_per_second: Over all clips, with decoding in threads ahead of the network.
    """

    name: str
    engine: str
    network: Timing
    decoding: Timing
    whole: Timing
    clips_per_second: float


@dataclass(frozen=True)
class Benchmark:
    """The speeds of several models, measured in turns.

    Attributes:
        speeds: One of each model.
        clips: How many clips there were.
        data: Where they are from.
        machine: CPU, cores, versions, how busy it was.
    """

    speeds: tuple[Speed, ...]
    clips: int
    data: str
    machine: dict[str, Any]

    def to_text(self) -> str:
        """The table for a terminal: medians, in brackets the range without the outermost tenths."""
        machine = self.machine
        lines = [
            f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']}",
            f"{self.clips} clips of {self.data}",
            "",
            f"{'network, ms':>26} {'decoding, ms':>26} {'file to answer, ms':>26} {'clips/s':>8}  engine",
        ]
        for speed in self.speeds:
            times = " ".join(f"{timing!s:>26}" for timing in (speed.network, speed.decoding, speed.whole))
            lines.append(f"{times} {speed.clips_per_second:8.1f}  {speed.name}: {speed.engine}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {"clipshift": __version__, **asdict(self)}

    def save(self, folder: str | Path) -> None:
        """Write `benchmark.json` and the chart `benchmark.png`.

        Raises:
            ExportError: The folder cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / JSON_FILE, to_json(self.to_json(), indent=1) + "\n")
            self._draw(folder / CHART_FILE)
        except OSError as error:
            raise ExportError("The benchmark cannot be written.", where=folder, got=error.strerror) from error

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 1.4 + 0.55 * len(self.speeds)), layout="constrained")
        axes = figure.subplots()
        rows = range(len(self.speeds))
        decoding = [speed.decoding.median for speed in self.speeds]
        axes.barh(rows, decoding, label="decoding")
        network = axes.barh(rows, [speed.network.median for speed in self.speeds], left=decoding, label="network")
        axes.bar_label(network, [f"{speed.network.median:.1f}" for speed in self.speeds], padding=3)
        axes.set_yticks(rows, [f"{speed.name}\n{speed.engine}" for speed in self.speeds], fontsize=8)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set_xlabel("milliseconds of one clip")
        axes.legend(fontsize=8)
        figure.savefig(path, dpi=130)


def benchmark(
    *models: str | Path,
    videos: str | Path | None = None,
    threads: int = 0,
    mode: Literal["latency", "throughput"] = "latency",
    device: str = "auto",
    repeat: int = 20,
    out: str | Path | None = None,
    settings: Settings | Sequence[Settings] = (),
) -> Benchmark:
    """Measure how fast models are, trained and exported ones, in turns, so that a busy machine slows all alike.

    Args:
        models: Run folders, model folders, exported models, published weights by name.
        videos: A video, folder, glob or list; by default small generated clips. Labels do not matter.
        threads: Of the network on the CPU; 0: one a core.
        mode: latency or throughput, where an engine tells the two apart.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        repeat: Measurements of each time, after two that are not counted.
        out: Folder for benchmark.json and benchmark.png. None writes nothing.
        settings: Of reading clips, for all models in place of their own, such as `"data.max_seconds=50000"`
            ([ReadingConfig][clipshift.config.ReadingConfig]).

    Raises:
        ConfigError: A setting is not valid.
        ExportError: Nothing was named, or an export cannot be run.
        DataError: There are no clips.
        VideoError: There is none that all models can read.
        WeightsError: There is no such model.
    """
    if not models:
        raise ExportError("Nothing was named to measure.", allowed="run folders, model folders, exported models")
    opened = [load(model, device=device, threads=threads, mode=mode, settings=settings) for model in models]
    with ExitStack() as stack:
        if videos is None:
            clips, source = stack.enter_context(generated_clips()), GENERATED
        else:
            clips, source = evenly(find_clips_of(videos, opened[0].spec.reading), _MOST_CLIPS), str(videos)
        speeds = _measure(opened, [str(model) for model in models], clips, repeat)
    found = Benchmark(tuple(speeds), len(clips), source, describe_machine())
    if out is not None:
        found.save(out)
    return found


def _measure(models: list[Model], names: list[str], clips: list[Clip], repeat: int) -> list[Speed]:
    readable, sets = _read_all(models, clips)
    network: list[list[float]] = [[] for _ in models]
    decoding: list[list[float]] = [[] for _ in models]
    whole: list[list[float]] = [[] for _ in models]
    for turn in range(repeat + 2):
        for number, model in enumerate(models):
            clip, frames = readable[turn % len(readable)], sets[number][turn % len(readable)]
            taken = (
                _seconds(lambda model=model, frames=frames: model.scorer.one_set(frames)),  # type: ignore[misc]
                _seconds(lambda model=model, clip=clip: _read(model, clip)),  # type: ignore[misc]
                _seconds(lambda model=model, clip=clip: model.predict(clip.source)),  # type: ignore[misc]
            )
            if turn >= 2:
                for times, seconds in zip((network, decoding, whole), taken, strict=True):
                    times[number].append(seconds)
    rates = [_rate(model, readable, repeat) for model in models]
    return [
        Speed(name, model.engine, Timing.of(network[i]), Timing.of(decoding[i]), Timing.of(whole[i]), rates[i])
        for i, (name, model) in enumerate(zip(names, models, strict=True))
    ]


def _read_all(models: list[Model], clips: list[Clip]) -> tuple[list[Clip], list[list[np.ndarray]]]:
    """The clips that all models can read, and for each model its frames of each of them."""
    readable, sets, errors = [], [], []
    for clip in clips:
        try:
            sets.append([_read(model, clip) for model in models])
            readable.append(clip)
        except VideoError as error:
            errors.append(error)
    if not readable:
        raise VideoError(
            "None of the clips can be read.", where=clips[0].name, got=one_line(errors[0]), remedy=errors[0].remedy
        )
    return readable, [list(frames) for frames in zip(*sets, strict=True)]


def _read(model: Model, clip: Clip) -> np.ndarray:
    """The first set of frames of a clip."""
    settings = model.spec.input
    with clip.open_for(settings, model.spec.reading, threads=decoder_threads(0)) as reader:
        video, [indices] = choose_test_frames(reader, settings)
        wanted = sorted(set(indices))
        frames_THWC = video.read(wanted)
    return frames_THWC[[wanted.index(index) for index in indices]]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _rate(model: Model, clips: list[Clip], repeat: int) -> float:
    """Clips a second with decoding ahead of the network."""
    many = [clips[number % len(clips)] for number in range(max(repeat, 2 * pick_threads("auto")))]
    started = time.perf_counter()
    answers = sum(1 for _ in model.predict_many(clip.source for clip in many))
    return answers / (time.perf_counter() - started)


def describe_machine() -> dict[str, Any]:
    """CPU, cores, how busy it is, and Python's version."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    flags: set[str] = set()
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() == "flags":
                flags = set(value.split())
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {
        "cpu": name,
        "vectors": [flag for flag in wanted if flag in flags],
        "cores": pick_threads("auto"),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
