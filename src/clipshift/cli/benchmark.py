"""`clipshift benchmark`."""

from __future__ import annotations

from typing import Literal

from clipshift.cli.arguments import Count, Text, Threads, names_and_settings
from clipshift.console import say


def benchmark(
    *models: str,
    videos: Text | None = None,
    threads: Threads = 0,
    mode: Literal["latency", "throughput"] = "latency",
    device: Text = "auto",
    repeat: Count = 20,
    out: Text | None = None,
) -> None:
    """Measure how fast trained and exported models are on this machine, decoding and network apart.

    Args:
        models: Run folders, model folders, exported models, published weights by name; and settings data.KEY=VALUE of
            reading clips, as for predict.
        videos: A video, folder, glob or list; by default small generated clips.
        threads: Of the network on the CPU; 0: one a core.
        mode: latency or throughput, where an engine tells the two apart.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        repeat: Measurements of each time, after two that are not counted.
        out: Folder for benchmark.json and benchmark.png.
    """
    import clipshift

    names, settings = names_and_settings(models)
    found = clipshift.benchmark(
        *names, videos=videos, threads=threads, mode=mode, device=device, repeat=repeat, out=out, settings=settings
    )
    say(found.to_text())
