"""What an explanation holds, as objects, as JSON and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clipshift._version import __version__
from clipshift.evaluation.explaining.occlusion import Fill

FORMAT = 1
Method = Literal["grad-cam", "occlusion"]
_BAR = 24
"""Characters of the longest bar in text."""


@dataclass(frozen=True)
class FrameEffect:
    """One frame that the model sees, and what it answers without it.

    Attributes:
        index: Number of the frame in the file, from 0.
        time: When it begins, seconds since the first frame of the file; None where there are no times.
        probability: Of the explained class with the frame hidden, in [0, 1]; None where nothing can take its place.
        drop: By how much the probability is lower than with all frames; below 0 where the frame spoke against it.
        logit_drop: The same of ln(p / (1 - p)), which still tells frames apart where p is nearly 1.
    """

    index: int
    time: float | None
    probability: float | None
    drop: float | None
    logit_drop: float | None

    @property
    def name(self) -> str:
        """`Frame 37 (1.54 s)`."""
        return f"Frame {self.index}" + ("" if self.time is None else f" ({self.time:.2f} s)")


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Where in the frames lies what speaks for the class.

    Attributes:
        method: `grad-cam`: a map for each frame, in logits; `occlusion`: one for all frames, the drop of
            ln(p / (1 - p)) with that place hidden in all of them.
        box: What the maps cover of a frame: left, top, width and height as shares of its width and height.
        maps: float32 (F, rows, columns) or (1, rows, columns), the upper left first.
    """

    method: Method
    box: tuple[float, float, float, float]
    maps: np.ndarray

    def of_frame(self, place: int) -> np.ndarray:
        """The map of a frame, float32 (rows, columns) in [0, 1]: shares of the hottest place of all frames."""
        peak = float(self.maps.max())
        heat = self.maps[place if len(self.maps) > 1 else 0]
        return np.clip(heat / peak, 0, 1) if peak > 0 else np.zeros_like(heat)

    def hottest(self, place: int) -> tuple[float, float]:
        """The middle of the hottest cell of a frame's map: x and y as shares of the frame's width and height."""
        heat = self.maps[place if len(self.maps) > 1 else 0]
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        left, top, width, height = self.box
        return left + width * (int(column) + 0.5) / heat.shape[1], top + height * (int(row) + 0.5) / heat.shape[0]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a model answers as it does for a clip.

    Attributes:
        path: What was asked for.
        classes: K names.
        probabilities: float32 (K,), with nothing hidden.
        label: The explained class.
        frames: The frames that the model sees, each once, in the order of time.
        fill: What took the place of a hidden frame.
        heat: Where; None where it was not asked for.
        pictures: uint8 (F, h, w, 3), RGB: the frames, small.
        notes: What a reader must know: what could not be told, and what was taken in its place.
        model: What reports say of the model.
        engine: What ran it.
    """

    path: str
    classes: tuple[str, ...]
    probabilities: np.ndarray
    label: str
    frames: tuple[FrameEffect, ...]
    fill: Fill
    heat: HeatMaps | None
    pictures: np.ndarray
    notes: tuple[str, ...]
    model: dict[str, str]
    engine: str

    @property
    def probability(self) -> float:
        """Of the explained class."""
        return float(self.probabilities[self.classes.index(self.label)])

    @property
    def decisive(self) -> int | None:
        """The place in `frames` of the one whose hiding costs most; None where that cannot be told."""
        drops = [(frame.logit_drop, -place) for place, frame in enumerate(self.frames) if frame.logit_drop is not None]
        return -max(drops)[1] if drops else None

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, best first."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[index], float(self.probabilities[index])) for index in best]

    def sentence(self) -> str:
        """What matters most, in plain words."""
        place = self.decisive
        if place is None:
            return "Which frame matters cannot be told."
        frame = self.frames[place]
        drop, without = frame.logit_drop or 0.0, frame.probability or 0.0
        if drop <= 0:
            return f"No single frame speaks for {self.label!r}: hiding any of them makes it likelier."
        return f"{frame.name} matters most: without it {without:.1%}, not {self.probability:.1%}."

    def to_json(self) -> dict[str, Any]:
        """All of it but the pictures."""
        ranked = {name: round(chance, 6) for name, chance in self.top(len(self.classes))}
        return {
            "format": FORMAT,
            "kind": "explanation",
            "clipshift": __version__,
            "path": self.path,
            "model": self.model,
            "engine": self.engine,
            "label": self.label,
            "probability": round(self.probability, 6),
            "probabilities": ranked,
            "fill": self.fill,
            "frames": [_rounded(frame) for frame in self.frames],
            "heat": None if self.heat is None else _heat_json(self.heat),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """For a terminal: the answer, a bar for each frame, and the notes."""
        chances = ", ".join(f"{name} {chance:.1%}" for name, chance in self.top())
        lines = [f"{self.path}: {chances}", f"explained: {self.label}. {self.sentence()}"]
        largest = max((abs(frame.logit_drop or 0.0) for frame in self.frames), default=0.0) or 1.0
        lines.append("    frame      time   without  what it adds to the logit")
        for frame in self.frames:
            time = "" if frame.time is None else f"{frame.time:.2f} s"
            if frame.probability is None or frame.logit_drop is None:
                lines.append(f"{frame.index:>9} {time:>9}")
                continue
            bar = "#" * round(_BAR * max(0.0, frame.logit_drop) / largest)
            lines.append(
                f"{frame.index:>9} {time:>9} {frame.probability:>9.1%}  {frame.logit_drop:+7.2f} {bar}".rstrip()
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _rounded(frame: FrameEffect) -> dict[str, Any]:
    parts = ("time", "probability", "drop", "logit_drop")
    values = {part: getattr(frame, part) for part in parts}
    return {"index": frame.index} | {part: None if value is None else round(value, 6) for part, value in values.items()}


def _heat_json(heat: HeatMaps) -> dict[str, Any]:
    return {
        "method": heat.method,
        "box": [round(share, 6) for share in heat.box],
        "maps": np.round(heat.maps.astype(np.float64), 6).tolist(),
    }
