"""Whether models agree: the same clips through each of them, and how far their answers are apart."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipshift.config import ModelSpec
from clipshift.datasets.clip import Clip
from clipshift.inference.export_folder import Precision
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.predictor import Model
from clipshift.progress import Progress

LARGEST_DIFFERENCE = 1e-4
"""Of a probability, that fp32 may have from the trained model."""
AGREEMENT: dict[Precision, float] = {"fp32": 1.0, "fp16": 0.995, "bf16": 0.995, "int8": 0.99}
"""Share of the clips that must have the same most probable class."""
ALLOWED_WITHIN: dict[Precision, float] = {"fp32": 1e-5, "fp16": 1e-5, "bf16": 1e-2, "int8": 1e-5}
"""Of a probability that a file gives itself, from that of the logits that it gives and its description: both ends of
a file are in float32, but OpenVINO with bf16 computes them in that, too."""
MOST_ACCURACY_LOST = 0.005
"""Top-1, in [0, 1], that int8 may cost on labeled clips."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model answers for all clips.

    Attributes:
        engine: What ran it.
        probabilities: float32 (N, K); a row of NaN for a clip that could not be read.
        seconds: From one clip's answer to the next, decoding included, the median.
        errors: Why clips could not be read, by their number.
    """

    engine: str
    probabilities: np.ndarray
    seconds: float
    errors: Mapping[int, str]

    @property
    def read(self) -> np.ndarray:
        """Bool (N,): which clips were read."""
        # Not by their probabilities: a broken network answers with NaN for clips that were read.
        return np.array([number not in self.errors for number in range(len(self.probabilities))])

    @property
    def best(self) -> np.ndarray:
        """int64 (N,): the most probable class of each clip that was read."""
        return np.asarray(np.nan_to_num(self.probabilities).argmax(axis=1))


@dataclass(frozen=True)
class Difference:
    """How far one model's answers are from another's, over the clips that both could read.

    Attributes:
        largest: The largest difference of a probability; NaN where a probability is.
        mean: The mean difference of the probabilities.
        agreement: Share of the clips with the same most probable class.
        clips: How many clips were compared.
        disagreeing: Numbers of the clips with another most probable class, and of those that only one could read.
    """

    largest: float
    mean: float
    agreement: float
    clips: int
    disagreeing: tuple[int, ...]


def answer(
    model: Model,
    clips: Sequence[Clip],
    *,
    like: ModelSpec | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Answers:
    """Let a model answer for clips.

    Args:
        model: Answers.
        clips: Are read.
        like: Whose crops and sets of frames are taken. Default: the model's own.
        workers: Threads that read, and on the CPU answer, side by side. With 0, one clip comes after the other, and
            the seconds tell how long each takes.
        progress: Called with (clips done, clips in all).
    """
    spec = like or model.spec
    views = model.views(spec.crops, spec.clips)
    rows, seconds, errors = [], [], {}
    stream = model.scorer.stream(clips, views, workers=workers)
    started = time.perf_counter()
    for number, scored in enumerate(stream):
        seconds.append(time.perf_counter() - started)
        if scored.logits is None:
            errors[number] = scored.error or ""
            rows.append(np.full(len(model.classes), np.nan, dtype=np.float32))
        else:
            rows.append(model.probabilities(scored.logits))
        if progress is not None:
            progress(number + 1, len(clips))
        started = time.perf_counter()
    return Answers(model.engine, np.stack(rows), float(np.median(seconds)), errors)


def difference(expected: Answers, found: Answers) -> Difference:
    """Compare the answers of two models for the same clips."""
    both = expected.read & found.read
    gaps = np.abs(expected.probabilities[both] - found.probabilities[both])
    same = expected.best[both] == found.best[both]
    numbers = np.flatnonzero(both)
    differ = set(numbers[~same].tolist()) | set(np.flatnonzero(expected.read != found.read).tolist())
    return Difference(
        largest=float(gaps.max()) if gaps.size else 0.0,
        mean=float(gaps.mean()) if gaps.size else 0.0,
        agreement=1 - len(differ) / max(1, int((expected.read | found.read).sum())),
        clips=int(both.sum()),
        disagreeing=tuple(sorted(differ)),
    )


def agrees(gap: Difference, precision: Precision) -> bool:
    """Whether a model of this precision is near enough to the trained one."""
    near = precision != "fp32" or gap.largest <= LARGEST_DIFFERENCE
    return near and gap.agreement >= AGREEMENT[precision]


def accuracy(answers: Answers, clips: Sequence[Clip]) -> float | None:
    """Share of the labeled clips whose most probable class is their label, in [0, 1]; unreadable ones are wrong."""
    labeled = [number for number, clip in enumerate(clips) if clip.label is not None]
    if not labeled:
        return None
    right = sum(bool(answers.read[number]) and is_right(answers.best[number], clips[number]) for number in labeled)
    return right / len(labeled)


def is_right(best: int, clip: Clip) -> bool:
    """Whether the most probable class is the label of a clip, or one of its labels."""
    return int(best) in (clip.labels or (clip.label,))


def gap_within(exported: Model) -> float:
    """The largest difference between the probabilities that an exported file gives itself and those of its logits.

    Files that take clips give logits alone: 0.
    """
    scorer = exported.scorer
    if not isinstance(scorer, ExportScorer) or scorer.export.input != "frames":
        return 0.0
    frames_BTHWC = next(random_frames(exported.spec))
    logits_BK, own = scorer.session.both(frames_BTHWC)
    described = np.stack([exported.probabilities(logits) for logits in logits_BK])
    return float(np.abs(own - described).max())


def random_frames(spec: ModelSpec) -> Iterator[np.ndarray]:
    """Inputs of random pixels, uint8 (B, T, H, W, 3): one to three clips, wide, large, upright, and small squares."""
    random = np.random.default_rng(0)
    short = spec.input.resize
    small = short // 2 + 5
    sizes = [(short, short * 4 // 3), (short * 2, short * 3), (short + 17, max(5, short - 31)), (small, small)]
    for clips, (height, width) in zip((1, 2, 3, 1), sizes, strict=True):
        # In blocks: noise of single pixels is gray once it is scaled down, and no network ever saw such frames.
        shape = (clips, spec.input.segments, -(-height // 16), -(-width // 16), 3)
        blocks = random.integers(0, 256, shape, dtype=np.uint8)
        yield np.ascontiguousarray(blocks.repeat(16, axis=2).repeat(16, axis=3)[:, :, :height, :width])
