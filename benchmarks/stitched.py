"""What a causal network finds in long videos, beside a sliding window over a classifier of clips.

    python benchmarks/stitched.py CLIPS --background CLIPS [CLIPS ...] --weights FILE --to FOLDER [key=value ...]
                                  [--held-out 5] [--seed 0] [--json figures.json]

CLIPS are folders with train/CLASS/ and val/CLASS/, or with videos at any depth of train/ and val/. Long videos are
stitched out of them: clips of all classes in a random order, between 2 and 6 seconds of background each, all scaled to
160x120 at 12 frames a second. The validation clips make the videos that are measured. Of the training clips of each
class the last ones by name (--held-out) make those to which rules of events are fitted, the others those that are
trained on; of the background, train/ is for both of these, val/ for what is measured.

Compared are, with the same recipe, weights, clips and rules fitted to the same videos:

- a causal network, trained on spans of the long videos with a class of the background, one frame at a time;
- a two-way network, trained on the same, for a sliding window: 8 times the work;
- a two-way network, trained on the clips alone, for a sliding window: the usual way.

What is done is kept in FOLDER: an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from common import write_json

import clipshift
from clipshift.temporal import Segment
from clipshift.temporal.annotations import Annotation, write_annotations


@dataclass(frozen=True)
class Contestant:
    """A network, and how it goes along a video.

    Attributes:
        about: For the table.
        folder: Name of its run.
        recipe: Of its training.
        spans: Whether it learns from the spans of the long videos, or from clips alone.
        window: Whether it answers for a sliding window.
    """

    about: str
    folder: str
    recipe: str
    spans: bool
    window: bool


CONTESTANTS = (
    Contestant("causal, one frame at a time", "causal", "finetune-online", spans=True, window=False),
    Contestant("two-way, trained on spans, a sliding window", "spans", "finetune", spans=True, window=True),
    Contestant("two-way, trained on clips, a sliding window", "clips", "finetune", spans=False, window=True),
)

_RATE, _SIZE = 12, (160, 120)
PAUSE = (2.0, 6.0)
_CLIPS_A_VIDEO = 10
_BACKGROUND = ("data.background=1", "data.background_seconds=2")
"""Without the second one, clips of it would last as long as a span, for which the pauses have no room."""
_ANNOTATIONS = "annotations.json"
_SUFFIXES = {".avi", ".mp4", ".mkv", ".mpg", ".webm"}


def videos_in(folder: Path) -> list[Path]:
    """All videos below a folder, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)


def scaled_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames on display at 12 a second, uint8 (120, 160, 3)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
        shown = 0
        for number, frame in enumerate(container.decode(stream)):
            while shown <= number * _RATE / rate:
                yield frame.to_ndarray(format="rgb24", width=_SIZE[0], height=_SIZE[1])
                shown += 1


def background(paths: list[Path], random: np.random.Generator) -> Iterator[np.ndarray]:
    """Frames of one clip after the other, in a random order, without end."""
    while True:
        for number in random.permutation(len(paths)):
            yield from scaled_frames(paths[number])


def write_video(
    path: Path, clips: list[Path], pauses: Iterator[np.ndarray], random: np.random.Generator
) -> tuple[list[Segment], float]:
    """Stitch a video: background, clip, background, clip ... background.

    Returns:
        Where the clips are, with their folders as labels; and the length in seconds.
    """
    segments, count = [], 0
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=_RATE, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *_SIZE, "yuv420p"

        def put(picture: np.ndarray) -> None:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = count, Fraction(1, _RATE)
            container.mux(stream.encode(frame))

        for clip in [*clips, None]:
            for _ in range(round(random.uniform(*PAUSE) * _RATE)):
                put(next(pauses))
                count += 1
            begin = count
            for picture in scaled_frames(clip) if clip is not None else ():
                put(picture)
                count += 1
            if clip is not None:
                segments.append(Segment(clip.parent.name, begin / _RATE, count / _RATE))
        container.mux(stream.encode(None))
    return segments, count / _RATE


def stitch(options: argparse.Namespace, folder: Path) -> None:
    """Write the long videos of all three parts, and what is true of them."""
    if (folder / _ANNOTATIONS).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    training, validation = [], []
    for label in sorted(path for path in (options.clips / "train").iterdir() if path.is_dir()):
        found = videos_in(label)
        training += found[: -options.held_out]
        validation += found[-options.held_out :]
    parts = {"training": training, "validation": validation, "testing": videos_in(options.clips / "val")}
    notes = []
    for number, (subset, clips) in enumerate(parts.items()):
        random = np.random.default_rng([options.seed, number])
        side = "val" if subset == "testing" else "train"
        paths = [path for each in options.background for path in videos_in(each / side)]
        pauses = background(paths, random)
        order = [clips[place] for place in random.permutation(len(clips))]
        for first in range(0, len(order), _CLIPS_A_VIDEO):
            name = f"{subset}_{first // _CLIPS_A_VIDEO:02d}.mp4"
            segments, seconds = write_video(folder / name, order[first : first + _CLIPS_A_VIDEO], pauses, random)
            notes.append(Annotation(name, tuple(segments), seconds, subset))
    lists = {"train": training, "val": validation}
    for part, clips in lists.items():
        rows = [json.dumps({"path": str(clip.absolute()), "label": clip.parent.name}) + "\n" for clip in clips]
        (folder / f"{part}.jsonl").write_text("".join(rows), encoding="utf-8")
    (folder / "clips.yaml").write_text("train: train.jsonl\nval: val.jsonl\n", encoding="utf-8")
    write_annotations(folder / _ANNOTATIONS, notes)


def measure(contestant: Contestant, options: argparse.Namespace) -> dict[str, float]:
    """Train a network and fit its rules, unless that is done; and what it finds in the testing videos."""
    streams, run = options.to / "streams", options.to / contestant.folder
    done = run / "testing.json"
    if not done.is_file():
        annotations, spans = streams / _ANNOTATIONS, contestant.spans
        data = annotations if spans else streams / "clips.yaml"
        rate = f"input.rate={options.rate:g}"
        settings = [rate, *_BACKGROUND, "data.windows=middle"] if spans else []
        how: dict[str, Any] = {"window": contestant.window, "rate": options.rate, "workers": 0}
        clipshift.train(data, *settings, *options.settings, out=run, recipe=contestant.recipe, weights=options.weights)
        clipshift.fit_events(run, annotations, subset="validation", **how)
        began = time.process_time()
        metrics = clipshift.evaluate_events(run, annotations, subset="testing", **how).metrics
        took, counts = time.process_time() - began, metrics.errors.counts
        figures = {
            "mAP 0.5:0.95": metrics.activitynet.mean,
            "mAP 0.3:0.7": metrics.thumos.mean,
            "F1@0.5": metrics.f1[0.5].f1,
            "found": counts.hits,
            "missed": counts.misses,
            "false": counts.false,
            "CPU seconds a minute": took / (60 * metrics.errors.hours),
        }
        write_json(done, figures)
    return json.loads(done.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--background", type=Path, nargs="+", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=4.0)
    parser.add_argument("--held-out", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_intermixed_args()
    stitch(options, options.to / "streams")
    found = {each.about: measure(each, options) for each in CONTESTANTS}
    print(f"| | {' | '.join(next(iter(found.values())))} |")
    print("|---" * 8 + "|")
    for about, figures in found.items():
        print(f"| {about} | {' | '.join(f'{value:.3g}' for value in figures.values())} |")
    if options.json:
        write_json(options.json, found)


if __name__ == "__main__":
    main()
