"""What the name of a file of weights, and the training's settings in it, tell of its network.

A TSM's entries do not say by how much it shifts, nor how many frames it saw. Those who publish weights write it into
the file's name:

- MIT: `TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth`, and `_dense`, `_nl` (its `main.py` composes the
  name; in a training it is the folder's, and the file is `ckpt.best.pth.tar`);
- mmaction2: `tsm_imagenet-pretrained-r50_8xb16-dense-1x1x8-50e_kinetics400-rgb_....pth` (frames of a clip, their
  interval, clips; TSM takes clips of one frame); the configuration in the file says `shift_div=8, num_segments=8`;
- PaddleVideo: `TSM_k400.pdparams`, `PPTSMv2_k400_16f.pdparams`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipshift.config.schema import ShiftConfig
from clipshift.weights.checkpoint_files import WeightsFile

Fact = str | int | float

# Words of a name are set apart by these.
_START, _END = r"(?:^|[_\-.])", r"(?=[_\-.]|$)"
_SHIFT = re.compile(rf"{_START}shift(\d{{1,4}})(?:_(blockres|block))?{_END}", re.IGNORECASE)
_SEGMENTS = (
    re.compile(rf"{_START}segments?(\d{{1,4}}){_END}", re.IGNORECASE),
    re.compile(rf"{_START}1x\d+x(\d{{1,4}}){_END}"),
    re.compile(rf"{_START}(\d{{1,4}})f{_END}"),
)
_DENSE = re.compile(rf"{_START}dense{_END}", re.IGNORECASE)
_NON_LOCAL = re.compile(rf"{_START}(?:nl|non[-_]?local){_END}", re.IGNORECASE)
_POOLING = re.compile(rf"{_START}(?:tpool|temporal[-_]pool){_END}", re.IGNORECASE)
_ARCHITECTURE = re.compile(rf"{_START}(?:pp)?-?(tsn|tsm)(?:v2)?{_END}", re.IGNORECASE)
# MIT calls all of its files TSM, also those of a TSN.
_OF_MIT = re.compile(r"^TSM_.+_(?:RGB|Flow|RGBDiff)_.+_segment\d", re.IGNORECASE)
_IN_CONFIG = {
    "fold_div": re.compile(r"\bshift_div['\"]?\s*[=:]\s*(\d{1,4})\b"),
    "segments": re.compile(r"\bnum_segments['\"]?\s*[=:]\s*(\d{1,4})\b"),
    "place": re.compile(r"\bshift_place['\"]?\s*[=:]\s*['\"](blockres|block)['\"]"),
}


@dataclass(frozen=True)
class Told:
    """What one source says; None where it says nothing.

    Attributes:
        source: Where it stands, in words.
        architecture: `tsn` or `tsm`.
        fold_div: One part in so many of the channels moves in each direction.
        place: `blockres`, the shift on the residual branch, or `block`, on the whole block (MIT's words).
        segments: Frames per clip in the training.
        dense: True for training on dense windows of a video.
        variant: What the network has that clipshift's has not.
    """

    source: str
    architecture: Literal["tsn", "tsm"] | None = None
    fold_div: int | None = None
    place: Literal["blockres", "block"] | None = None
    segments: int | None = None
    dense: bool | None = None
    variant: Literal["non-local blocks", "temporal pooling"] | None = None


def tell(path: Path, file: WeightsFile) -> tuple[Told, ...]:
    """What the file says of its network, the most reliable source first: its settings, its name, its folder's name."""
    sources = (
        _of_settings(file.settings),
        _of_config(file.config),
        _of_name(path.name, "the file's name"),
        _of_name(path.absolute().parent.name, "the folder's name")
        if _SHIFT.search(path.absolute().parent.name)
        else None,
    )
    return tuple(told for told in sources if told is not None)


def first_told(told: tuple[Told, ...], what: str) -> tuple[Fact | None, str]:
    """The first value that is told of one of the fields of `Told`, and where; None and an empty text where none is."""
    return next(((getattr(one, what), one.source) for one in told if getattr(one, what) is not None), (None, ""))


def contradictions(told: tuple[Told, ...], what: str, taken: object) -> list[str]:
    """`SOURCE says VALUE` for every source that tells another value than the one that is taken."""
    values = [(getattr(one, what), one.source) for one in told]
    return [f"{source} says {value}" for value, source in values if value is not None and value != taken]


def shift_with_told(shift: ShiftConfig, told: tuple[Told, ...]) -> ShiftConfig:
    """The shift of a project's networks, with the part in it that the file says."""
    fold_div, _ = first_told(told, "fold_div")
    return shift if fold_div is None else shift.model_copy(update={"fold_div": fold_div})


def _of_name(name: str, source: str) -> Told | None:
    shift = _SHIFT.search(name)
    segments = next((match for pattern in _SEGMENTS if (match := pattern.search(name)) is not None), None)
    words = {match.lower() for match in _ARCHITECTURE.findall(name)}
    if _OF_MIT.search(name) is not None:
        words = {"tsn" if shift is None else "tsm"}
    return _told(
        f"{source} ({name})",
        architecture=words.pop() if len(words) == 1 else None,
        fold_div=None if shift is None else shift[1],
        place=None if shift is None or shift[2] is None else shift[2].lower(),
        segments=None if segments is None else segments[1],
        dense=True if _DENSE.search(name) else None,
        variant=_variant(_NON_LOCAL.search(name), _POOLING.search(name)),
    )


def _of_settings(settings: Mapping[str, Fact]) -> Told | None:
    shifts = settings.get("shift", settings.get("is_shift"))
    return _told(
        "the training's settings in the file",
        architecture=None if shifts not in (0, 1) else "tsm" if shifts else "tsn",
        fold_div=None if shifts == 0 else settings.get("shift_div"),
        place=None if shifts == 0 else settings.get("shift_place"),
        segments=settings.get("num_segments"),
        dense=True if settings.get("dense_sample") == 1 else None,
        variant=_variant(settings.get("non_local") == 1, settings.get("temporal_pool") == 1),
    )


def _variant(non_local: object, pooling: object) -> str | None:
    return "non-local blocks" if non_local else "temporal pooling" if pooling else None


def _of_config(text: str) -> Told | None:
    """From a configuration in Python, which is searched, not run; two values for one thing are none."""
    found = {what: set(pattern.findall(text)) for what, pattern in _IN_CONFIG.items()}
    return _told(
        "the configuration in the file",
        **{what: values.pop() if len(values) == 1 else None for what, values in found.items()},
    )


def _told(source: str, **values: Fact | None) -> Told | None:
    """The values that can be true, or None where there are none."""
    least = {"fold_div": 2, "segments": 1}
    sound: dict[str, Fact] = {}
    for what, value in values.items():
        if what in least:
            number = int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else 0
            if least[what] <= number <= 1024:
                sound[what] = number
        elif value is True or value in ("tsn", "tsm", "blockres", "block", "non-local blocks", "temporal pooling"):
            sound[what] = value
    return Told(source, **sound) if sound else None  # type: ignore[arg-type]  # checked above, value by value
