"""Times the reading of a few frames per clip, by clipshift and by other libraries.

    python benchmarks/decoding.py FOLDER [--segments 8] [--repeat 7] [--json figures.json]

Every reader opens each clip anew and gives the middles of its segments as RGB arrays, with one thread. The readers take
turns, so that a busy machine slows all of them alike; the table shows the median over the turns of the processor's time
(what others do on the machine counts little in it) and, in brackets, how often clipshift fits into it. The JSON file
holds the elapsed time as well. Frames that differ from PyAV's are marked. torchcodec, decord and OpenCV take part where
they are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from clipshift.video import decode, is_video_file, probe, segment_middles

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[Path, list[int]], np.ndarray]


def read_clipshift(path: Path, indices: list[int]) -> np.ndarray:
    return decode(path, indices)


def read_pyav(path: Path, indices: list[int]) -> np.ndarray:
    """Plain PyAV: frame after frame up to the last wanted one; only wanted frames become arrays."""
    wanted = set(indices)
    pictures: dict[int, np.ndarray] = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                pictures[number] = frame.to_ndarray(format="rgb24")
                if len(pictures) == len(wanted):
                    break
    return np.stack([pictures[index] for index in indices])


def read_torchcodec(path: Path, indices: list[int]) -> np.ndarray:
    decoder = import_module("torchcodec.decoders").VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    return np.asarray(decoder.get_frames_at(indices).data)


def read_decord(path: Path, indices: list[int]) -> np.ndarray:
    return np.asarray(import_module("decord").VideoReader(str(path), num_threads=1).get_batch(indices).asnumpy())


def read_opencv(path: Path, indices: list[int]) -> np.ndarray:
    cv2 = import_module("cv2")
    wanted = set(indices)
    pictures: dict[int, np.ndarray] = {}
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        for number in range(max(indices) + 1):
            if not capture.grab():
                raise RuntimeError(f"no frame {number}")
            if number in wanted:
                pictures[number] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
    return np.stack([pictures[index] for index in indices])


OTHERS: dict[str, tuple[str, Reader]] = {
    "PyAV": ("av", read_pyav),
    "torchcodec": ("torchcodec", read_torchcodec),
    "decord": ("decord", read_decord),
    "OpenCV": ("cv2", read_opencv),
}


def measure(read: Reader, path: Path, indices: list[int]) -> tuple[float, float]:
    """Milliseconds of elapsed and of processor's time for one reading."""
    elapsed, processor = time.perf_counter(), time.process_time()
    read(path, indices)
    return (time.perf_counter() - elapsed) * 1e3, (time.process_time() - processor) * 1e3


def measure_clip(path: Path, readers: dict[str, Reader], *, segments: int, repeat: int) -> dict[str, Any]:
    info = probe(path)
    indices = segment_middles(info.frames, segments)
    reference = read_pyav(path, indices)
    figures: dict[str, Any] = {"clip": path.name, "frames": info.frames, "codec": info.codec, "readers": {}}
    usable: dict[str, Reader] = {}
    for name, read in readers.items():
        try:
            same = np.array_equal(read(path, indices), reference)  # also the turn that warms up
        except Exception as error:  # whatever another library raises is its result
            figures["readers"][name] = {"error": f"{type(error).__name__}: {error}"[:200]}
        else:
            usable[name] = read
            figures["readers"][name] = {"same_as_pyav": same}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in usable}
    for _ in range(repeat):
        for name, read in usable.items():
            times[name].append(measure(read, path, indices))
    for name, pairs in times.items():
        figures["readers"][name]["elapsed_ms"] = round(statistics.median(pair[0] for pair in pairs), 2)
        figures["readers"][name]["processor_ms"] = round(statistics.median(pair[1] for pair in pairs), 2)
    return figures


def table(results: list[dict[str, Any]], names: list[str]) -> str:
    lines = [f"{'clip':42}{'frames':>7}{'clipshift':>11}" + "".join(f"{name:>20}" for name in names)]
    for result in results:
        ours = result["readers"]["clipshift"]["processor_ms"]
        cells = []
        for name in names:
            theirs = result["readers"][name]
            if "error" in theirs:
                cells.append("failed")
            else:
                mark = "" if theirs["same_as_pyav"] else " differs"
                cells.append(f"{theirs['processor_ms']:.1f} ({theirs['processor_ms'] / ours:.2f}x){mark}")
        mark = "" if result["readers"]["clipshift"]["same_as_pyav"] else "!"
        lines.append(
            f"{result['clip'][:41]:42}{result['frames']:>7}{ours:>9.1f}ms{mark}"
            + "".join(f"{cell:>20}" for cell in cells)
        )
    return "\n".join(lines)


def throughput(clips: list[Path], readers: dict[str, Reader], *, segments: int, workers: int) -> dict[str, float]:
    """Clips per second with several Python threads, each reading whole clips with one decoder thread."""
    jobs = [(path, segment_middles(probe(path).frames, segments)) for path in clips]
    jobs = jobs * max(1, 24 // len(jobs))
    rates = {}
    for name in ("clipshift", "PyAV"):
        with ThreadPoolExecutor(workers) as pool:
            begin = time.perf_counter()
            list(pool.map(lambda job, read=readers[name]: read(*job), jobs))
            rates[name] = round(len(jobs) / (time.perf_counter() - begin), 1)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clips = sorted(path for path in arguments.folder.rglob("*") if is_video_file(path))
    if not clips:
        parser.error(f"no videos in {arguments.folder}")
    found = {name: read for name, (module, read) in OTHERS.items() if find_spec(module) is not None}
    readers: dict[str, Reader] = {"clipshift": read_clipshift, **found}
    load = os.getloadavg()[0]
    results = [measure_clip(path, readers, segments=arguments.segments, repeat=arguments.repeat) for path in clips]
    cores = len(os.sched_getaffinity(0))
    rates = throughput(clips, readers, segments=arguments.segments, workers=cores)
    print(table(results, list(found)))
    print(f"{cores} threads at once: " + ", ".join(f"{name} {rate} clips/s" for name, rate in rates.items()))
    if arguments.json is not None:
        report = {
            "command": f"benchmarks/decoding.py --segments {arguments.segments} --repeat {arguments.repeat}",
            "machine": f"{platform.machine()}, {cores} cores, load {load:.1f} at the start",
            "versions": {"python": platform.python_version(), "av": av.__version__, "ffmpeg": av.ffmpeg_version_info}
            | {name: version(name.lower()) for name in ("torchcodec", "decord") if name in found},
            "clips": results,
            "clips_per_second": rates,
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
