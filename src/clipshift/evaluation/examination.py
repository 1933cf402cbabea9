"""What a network has learnt: whether it still knows its clips without their order, their motion, or their middle.

Layouts: T frames of a clip, H height, W width, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from clipshift.config import ModelSpec
from clipshift.datasets.clip import evenly
from clipshift.datasets.manifest import Clip, Manifest
from clipshift.evaluation.metrics import wilson_interval
from clipshift.files import from_json, to_json, write_whole
from clipshift.inference.views import prefetch_views
from clipshift.progress import Progress

EXAMINATION = "examination.json"
MOST_CLIPS = 200
"""Clips that are examined; of more, so many spread evenly over the classes."""
_CERTAIN = 0.05
_HIDDEN_AREA = 0.5
_ENOUGH = 0.9
"""Share of the right clips that must stay right for what was taken away to be called needless."""

Engine = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trial:
    """The same clips, changed or answered in another way.

    Attributes:
        name: `shuffled`, `reversed`, `one_frame`, `middle_hidden` or `still_probe`.
        right: Clips that were right.
        lost: Clips that the network had right as they are, and that are wrong here.
        gained: The other way round.
    """

    name: str
    right: int
    lost: int
    gained: int

    @property
    def costs(self) -> bool:
        """Whether more clips were lost than chance would lose: the exact sign test, one-sided, at 5 %."""
        changed = self.lost + self.gained
        chance = sum(math.comb(changed, k) for k in range(self.lost, changed + 1)) / 2**changed
        return changed > 0 and chance < _CERTAIN


@dataclass(frozen=True)
class Examination:
    """What came out.

    Attributes:
        clips: Validation clips that were read.
        right: Of these, as they are.
        largest: Clips of the class that most of them have.
        largest_class: That class.
        trials: One for each change.
        seconds: What it cost.
    """

    clips: int
    right: int
    largest: int
    largest_class: str
    trials: tuple[Trial, ...]
    seconds: float = 0.0

    def trial(self, name: str) -> Trial | None:
        """The trial of that name, if it was made."""
        return next((trial for trial in self.trials if trial.name == name), None)

    @property
    def better_than_largest(self) -> bool:
        """Whether more clips are right than of the largest class, and not by chance alone (95 % interval)."""
        return wilson_interval(self.right, self.clips)[0] > self.largest / self.clips

    def warnings(self) -> list[str]:
        """What must not be overlooked; mostly nothing."""
        found = []
        if not self.better_than_largest:
            low, high = wilson_interval(self.right, self.clips)
            found.append(
                f"No better than always answering {self.largest_class!r}: {self.right} of {self.clips} validation "
                f"clips are right (95 % interval {low:.0%} to {high:.0%}), that answer gives {self.largest}. "
                "The model cannot be relied on: it needs more clips, or other ones."
            )
        probe = self.trial("still_probe")
        if probe is not None and probe.right > self.right:
            found.append(
                f"Worse than a linear probe on still frames: {self.right} of {self.clips} validation clips are right, "
                f"of the probe {probe.right}. The training took more from the starting network than it gave."
            )
        return found

    def verdict(self) -> str:
        """In plain words, whether order, motion or the background decides."""
        if not self.better_than_largest:
            return "What decides cannot be told: the model knows too little."
        sentence = _deciding(self)
        hidden = self.trial("middle_hidden")
        if hidden is not None:
            text = f"with it hidden {hidden.right / self.clips:.0%} are right."
            if hidden.costs:
                sentence += f" What is in the middle of the picture matters: {text}"
            elif hidden.right >= _ENOUGH * self.right:
                sentence += f" The middle of the picture is not needed, the rim, mostly background, is enough: {text}"
            else:
                sentence += f" Whether the middle of the picture matters, so few clips do not tell: {text}"
        return sentence + f" ({self.clips} clips; a difference of fewer than 5 cannot be told from chance.)"

    def lines(self) -> list[str]:
        """For the end of a training: what must not be overlooked, and what decides."""
        cost = f"Examined in {self.seconds:.1f} s; train.examine=false leaves it out."
        return [*(f"WARNING: {text}" for text in self.warnings()), f"{self.verdict()} {cost}"]

    def rows(self) -> list[tuple[str, int, int, int]]:
        """For tables: what was changed, clips right, lost and gained."""
        return [(ABOUT[trial.name], trial.right, trial.lost, trial.gained) for trial in self.trials]

    def save(self, folder: Path) -> None:
        """Write `examination.json`.

        Raises:
            OSError: It cannot be written.
        """
        write_whole(folder / EXAMINATION, to_json({"format": 1, **asdict(self)}, indent=1) + "\n")


ABOUT = {
    "shuffled": "frames in random order",
    "reversed": "frames from last to first",
    "one_frame": "the middle frame in place of all",
    "middle_hidden": "half of the area, the middle, hidden",
    "still_probe": "a linear probe on the starting network's features of the middle frame",
}
"""What each trial does, in words."""


def _deciding(found: Examination) -> str:
    """The sentence on time."""
    share = found.right / found.clips
    shuffled, backwards, one = (found.trial(name) for name in ("shuffled", "reversed", "one_frame"))
    for trial, how in ((shuffled, "shuffled"), (backwards, "from last to first")):
        if trial is not None and trial.costs:
            return (
                f"The order of the frames decides: {how}, {trial.right / found.clips:.0%} are right, not {share:.0%}."
            )
    if one is not None and one.costs:
        return (
            f"Motion decides, in whatever order: of one frame alone {one.right / found.clips:.0%} are right, "
            f"not {share:.0%}."
        )
    if one is None:
        return "The network sees one frame, so motion does not decide."
    text = f"of one frame alone {one.right / found.clips:.0%} are right, of all {share:.0%}."
    if one.right >= _ENOUGH * found.right:
        return f"Single frames decide, that is, things, poses and places: {text}"
    return f"Whether motion decides, so few clips do not tell: {text}"


def examine(
    engine: Engine, spec: ModelSpec, manifest: Manifest, *, workers: int, progress: Progress | None = None
) -> tuple[Examination, tuple[Clip, ...], np.ndarray]:
    """Let a network answer to clips as they are and changed; every clip is read once.

    Args:
        engine: From views (B, T, 3, H, W) uint8 on the CPU to logits (B, K).
        spec: How clips are read, and the classes.
        manifest: Labeled validation clips, each with one label.
        workers: Threads that read ahead.
        progress: Called with (clips done, clips in all).

    Returns:
        What came out, the clips that were read, and whether each was right as it is: bool (N,).

    Raises:
        ValueError: No clip could be read.
    """
    chosen = spread(manifest, MOST_CLIPS)
    read: list[Clip] = []
    rows: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    for done, each in enumerate(prefetch_views(chosen, spec.input, spec.reading, workers=workers), start=1):
        if each.views is not None:
            changed = changes(each.views[0], spec, seed=done)
            names = tuple(changed)
            best = engine(torch.stack([each.views[0], *changed.values()])).argmax(dim=1).cpu().numpy()
            rows.append(best == each.clip.label)
            read.append(each.clip)
        if progress is not None:
            progress(done, len(chosen))
    if not read:
        raise ValueError("not one clip could be read")
    right = np.stack(rows)
    labels = [clip.label for clip in read]
    largest = max(set(labels), key=labels.count)
    found = Examination(
        clips=len(read),
        right=int(right[:, 0].sum()),
        largest=labels.count(largest),
        largest_class=spec.classes[largest or 0],
        trials=tuple(trial_of(name, right[:, 0], right[:, column]) for column, name in enumerate(names, start=1)),
    )
    return found, tuple(read), right[:, 0]


def changes(clip_TCHW: Tensor, spec: ModelSpec, *, seed: int) -> dict[str, Tensor]:
    """The changed forms of one clip, uint8 (T, 3, H, W), by their names; of one frame, none that concern time."""
    frames, _, height, width = clip_TCHW.shape
    changed = {}
    if frames > 1:
        order = np.random.default_rng(seed).permutation(frames)
        if frames > 2:
            while (np.diff(order) == 1).all() or (np.diff(order) == -1).all():
                order = np.random.default_rng(order).permutation(frames)
        changed["shuffled"] = clip_TCHW[torch.from_numpy(order)]
        changed["reversed"] = clip_TCHW.flip(0)
        changed["one_frame"] = clip_TCHW[frames // 2].expand_as(clip_TCHW)
    hidden = clip_TCHW.clone()
    top, left = (round(side * (1 - math.sqrt(_HIDDEN_AREA)) / 2) for side in (height, width))
    # The mean color is zero to the network.
    color = torch.tensor([round(255 * value) for value in spec.input.mean], dtype=torch.uint8)
    hidden[:, :, top : height - top, left : width - left] = color[:, None, None]
    changed["middle_hidden"] = hidden
    return changed


def trial_of(name: str, before: np.ndarray, after: np.ndarray) -> Trial:
    """Two rows of right and wrong, bool (N,), as a trial."""
    return Trial(name, int(after.sum()), int((before & ~after).sum()), int((~before & after).sum()))


def spread(manifest: Manifest, most: int) -> list[Clip]:
    """At most so many clips, from all classes alike: every n-th in the order of the labels."""
    return evenly(sorted(manifest.clips, key=lambda clip: (clip.label or 0, clip.name)), most)


_EXAMINATION = TypeAdapter(Examination)


def load_examination(folder: Path) -> Examination:
    """What `save` wrote.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not what `save` writes.
    """
    values: dict[str, Any] = from_json((folder / EXAMINATION).read_text(encoding="utf-8"))
    found = _EXAMINATION.validate_python({key: value for key, value in values.items() if key != "format"})
    counts: Sequence[int] = [found.right, found.largest, *(trial.right for trial in found.trials)]
    if not all(0 <= count <= found.clips for count in counts) or {trial.name for trial in found.trials} - set(ABOUT):
        raise ValueError("numbers of clips that cannot be")
    return found
