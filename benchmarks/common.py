"""What the benchmarks share: turns, CPU time, the machine's description, JSON files and charts.

Large packages are imported where they are used: the memory of this process must not hide that of what it measures.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Of one piece of work that was repeated: milliseconds of each time, in order."""

    elapsed_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    """Of all threads of this process: what others do on the machine counts little in it."""

    def divided_by(self, parts: int) -> Times:
        """The times of one of so many equal parts of the work."""
        return Times(tuple(each / parts for each in self.elapsed_ms), tuple(each / parts for each in self.cpu_ms))

    def to_json(self) -> dict[str, float]:
        """Medians, and the spread as the distance between the quartiles."""
        return {
            "elapsed_ms": round(statistics.median(self.elapsed_ms), 3),
            "elapsed_spread_ms": round(spread(self.elapsed_ms), 3),
            "cpu_ms": round(statistics.median(self.cpu_ms), 3),
            "processor_spread_ms": round(spread(self.cpu_ms), 3),
            "times": len(self.elapsed_ms),
        }


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Median of the turns' ratios: what slows the machine for a while slows both of a turn."""
    return statistics.median(one / other for one, other in zip(theirs, ours, strict=True))


def spread(values: Sequence[float]) -> float:
    """The distance between the quartiles."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return third - first


def measure(work: Work) -> tuple[float, float]:
    """Milliseconds of elapsed and of CPU time for doing a piece of work once."""
    elapsed, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - elapsed) * 1e3, (time.process_time() - cpu) * 1e3


def take_turns(works: Mapping[str, Work], *, repeat: int, warm_up: int = 1) -> dict[str, Times]:
    """Time pieces of work in turns, so that a busy machine slows all of them alike.

    Args:
        works: What to time, by name.
        repeat: Turns.
        warm_up: Turns before those, which are not counted.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    names = list(works)
    for turn in range(warm_up + repeat):
        # What ran before leaves the caches warm for its like: another one begins each turn, and each comes after each.
        random.Random(turn).shuffle(names)
        for name in names:
            pair = measure(works[name])
            if turn >= warm_up:
                taken[name].append(pair)
    return {
        name: Times(tuple(elapsed for elapsed, _ in pairs), tuple(cpu for _, cpu in pairs))
        for name, pairs in taken.items()
    }


def machine() -> dict[str, Any]:
    """Versions, hardware and how busy it is, for the record."""
    import torch

    from clipshift.training.run_folder import environment

    return environment() | {
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def command() -> str:
    """The command line that runs this benchmark, without the folders of this machine."""
    return " ".join(
        ["python", f"benchmarks/{Path(sys.argv[0]).name}", *(Path(word).name or word for word in sys.argv[1:])]
    )


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Write a benchmark's figures with the command that made them and the machine it ran on."""
    report = {"command": command(), "machine": machine(), **figures}
    path.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")


def bar_chart(path: Path, title: str, unit: str, groups: Mapping[str, Mapping[str, float]]) -> None:
    """Draw horizontal bars, those of a group beside each other.

    Args:
        path: A .png or .svg file.
        title: Above the chart.
        unit: What the bars' lengths are.
        groups: For each group (a clip, a network) the length of the bar of every contestant that took part.
    """
    from matplotlib.figure import Figure

    contestants = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    thickness = 0.8 / len(contestants)
    figure = Figure(figsize=(7.5, 1.2 + 0.28 * len(groups) * len(contestants)), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(contestants):
        rows = [row for row, bars in enumerate(groups.values()) if name in bars]
        lengths = [bars[name] for bars in groups.values() if name in bars]
        drawn = axes.barh([row + place * thickness for row in rows], lengths, thickness * 0.9, label=name)
        axes.bar_label(drawn, fmt="%.4g", padding=2, fontsize=8)
    axes.set_yticks([row + (len(contestants) - 1) * thickness / 2 for row in range(len(groups))], list(groups))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title=title, xlabel=unit)
    if len(contestants) > 1:
        figure.legend(fontsize=8, loc="outside lower center", ncols=3)  # over the bars it would hide numbers
    figure.savefig(path, dpi=120)


def line_chart(
    path: Path, title: str, x_label: str, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
) -> None:
    """Draw lines, one panel for each quantity.

    Args:
        path: A .png or .svg file.
        title: Above the chart.
        x_label: What runs to the right, in all panels.
        panels: For each quantity, which names its panel's upward axis, points (x, y) of each line by the line's name.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.2 * len(panels), 3.2), layout="constrained")
    figure.suptitle(title)
    for number, (y_label, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for name, points in lines.items():
            axes.plot([x for x, _ in points], [y for _, y in points], marker=".", label=name)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if len(lines) > 1:
            axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
