"""How long a time line of a long video takes, and how much memory, over lengths of the video.

    python benchmarks/timeline.py CLIP [--hours 0.1 1 10] [--rate 2] [--recipe tsm-mobilenetv2-online]
                                  [--export onnx] [--json figures.json] [--chart memory.png]

CLIP is looped without being encoded anew. The network has seeded weights and 400 classes: its time does not hang on
them. Each length is a `clipshift timeline` in a process of its own; its CPU time, which other work on the machine
changes little, and its largest memory are what the system says of that process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
from common import line_chart, write_json


def loop_clip(clip: Path, path: Path, seconds: float) -> None:
    """Write a clip's packets one time after the other, until so many seconds are full."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        unit = stream.time_base or Fraction(1, 90_000)
        first = min(packet.pts or 0 for packet in packets)
        length = max((packet.pts or 0) + (packet.duration or 0) for packet in packets) - first
        times = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(max(1, round(seconds / float(length * unit)))):
            for packet, (shown, decoded) in zip(packets, times, strict=True):
                packet.pts = None if shown is None else shown - first + turn * length
                packet.dts = None if decoded is None else decoded - first + turn * length
                packet.time_base = unit
                packet.stream = copied
                target.mux(packet)


def save_network(recipe: str, folder: Path, target: str | None) -> Path:
    """A seeded network as a model folder, or as a streaming export."""
    from streaming import seeded_network

    import clipshift
    from clipshift.models.bundle import save_bundle

    network, spec = seeded_network(recipe)
    save_bundle(folder / "model", network, spec)
    if target is None:
        return folder / "model"
    clipshift.export(folder / "model", to=target, out=folder / "export", streaming=True, license="none")  # type: ignore[arg-type]
    return folder / "export"


def timed(words: list[str]) -> dict[str, float]:
    """Run a command: seconds, CPU seconds and largest memory in MB of it and its processes."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "clipshift", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"clipshift {' '.join(words)} failed")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "memory_mb": round(usage.ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--hours", type=float, nargs="+", default=[0.1, 1.0])
    parser.add_argument("--rate", type=float, default=2.0)
    parser.add_argument("--recipe", default="tsm-mobilenetv2-online")
    parser.add_argument("--export", choices=("onnx", "openvino"), default=None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="clipshift-timeline-") as folder:
        place = Path(folder)
        model = save_network(options.recipe, place, options.export)
        for hours in options.hours:
            video = place / f"{hours:g}.mp4"
            loop_clip(options.clip, video, 3600 * hours)
            words = ["timeline", str(model), str(video), "--rate", f"{options.rate:g}", "--out", str(place / "out")]
            figures[f"{hours:g}"] = timed([*words, "data.max_seconds=1e6", "data.max_frames=100000000"])
            subprocess.run(["rm", "-r", str(place / "out")], check=True)
            video.unlink()
            print(f"{hours:g} h: {figures[f'{hours:g}']}, load {os.getloadavg()[0]:.1f}", flush=True)
    if options.json is not None:
        write_json(options.json, {"clip": options.clip.name, "rate": options.rate, "hours": figures})
    if options.chart is not None:
        points = [(float(hours), each["memory_mb"]) for hours, each in figures.items()]
        line_chart(options.chart, "Memory of a time line", "hours of video", {"largest memory, MB": {"": points}})


if __name__ == "__main__":
    main()
