"""Reading files of weights, from any project, into a recognizer; nothing is executed, and nothing is skipped unsaid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from clipshift.config import ModelSpec
from clipshift.config.schema import ModelConfig, ShiftConfig
from clipshift.errors import WeightsError
from clipshift.models.bundle import find_bundle, read_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.weights.cache import fetch
from clipshift.weights.checkpoint_files import read_weights
from clipshift.weights.formats import CLASSIFIER, LAYOUTS, OWN, Layout, Target
from clipshift.weights.hints import Told, shift_with_told, tell
from clipshift.weights.published import published_weights

# Last parts of names that are no weights, and why they are there.
_NO_WEIGHTS = {"total_ops": "a count of operations", "total_params": "a count of parameters"}
_SHOWN = 5


@dataclass(frozen=True)
class WeightsReport:
    """What a file of weights filled.

    Attributes:
        source: The file or model folder.
        layout: The project whose names the file has.
        filled: How many parameters and buffers of the network were filled.
        unused: Entries of the file that were not used, each with its reason.
        missing: Names in the network that kept their initial values (the classifier, counters of batch norms).
        new_classifier: Why the classifier starts anew, or None where the file's is used.
        notes: What to know before trusting the numbers.
    """

    source: str
    layout: str
    filled: int
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    new_classifier: str | None
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report for the screen and the log, a line each."""
        lines = [f"weights: {self.source} (names of {self.layout}): {self.filled} entries filled"]
        if self.new_classifier is not None:
            lines.append(f"  new classifier: {self.new_classifier}")
        lines.extend(f"  not used: {entry}" for entry in self.unused)
        lines.extend(f"  note: {note}" for note in self.notes)
        return lines


def load_weights(
    network: Recognizer, path: str | Path, *, classes: Sequence[str] | None = None, more_classes: bool = False
) -> WeightsReport:
    """Fill a recognizer from a run folder, a model folder, or a file with the names of any known project.

    Every parameter and buffer is filled. Only the classifier may stay as it is: where the file has none, or one for
    other classes.

    Args:
        network: Filled in place; unchanged when an error is raised.
        path: The folder or file, or the name of published weights.
        classes: Names of the network's classes, in its order. Where the file names its own (a model folder does),
            a classifier of the same classes is used, whatever their order, and another is not. Without names, a
            classifier of the same size is used.
        more_classes: The network has all of the file's classes and more: its classifier takes over what is there.

    Raises:
        WeightsError: The file cannot be read, is of no known layout, or does not fit the network.
    """
    content = _read(find_weights(path))
    state = content.state
    placement = place(state, network)
    if placement is None:
        raise WeightsError(
            f"The names in the file are of no known project's {network.model.backbone}.",
            where=path,
            got=_some(list(state)),
            allowed=[layout.name for layout in LAYOUTS],
            remedy="check that model.backbone is the network that the file was made for",
        )
    notes = [*content.notes, *_notes(network, placement, content)]
    if more_classes:
        _widen_classifier(network, placement.filled, content.classes or (), classes or ())
    theirs = classes if more_classes else content.classes
    new_classifier, notes_on_classes = _fit_classifier(network, placement.filled, theirs, classes)
    placement.unused.update(content.ignored)
    placement.unused.update(
        {
            name: "the classifier starts anew"
            for name, own in placement.names.items()
            if own not in placement.filled and name not in placement.unused
        }
    )
    misfit = placement.misfit(network)
    if misfit is not None:
        remedy = "check that model.backbone is the network that the file was made for"
        _refuse(f"The weights do not fit a {network.model.backbone}.", path, placement.layout, misfit, remedy)
    placement.fill(network, path)
    return WeightsReport(
        source=str(path),
        layout=placement.layout.name,
        filled=len(placement.filled),
        unused=tuple(f"{name}: {reason}" for name, reason in placement.unused.items()),
        missing=tuple(name for name in network.state_dict() if name not in placement.filled),
        new_classifier=new_classifier,
        notes=(*notes, *notes_on_classes),
    )


@dataclass(frozen=True)
class Placement:
    """Where the entries of a file go in a recognizer.

    Attributes:
        layout: The project whose names they are.
        names: {name in the file: name in the recognizer} of all that have a place.
        filled: {name in the recognizer: its value}.
        unused: {name in the file: why it is not used}.
        variant: Which network the file is of that clipshift does not have, though its names may fit.
        unplaced: Names in the file without a place of their own: the file is of a network not known here.
    """

    layout: Layout
    names: dict[str, str]
    filled: dict[str, Tensor]
    unused: dict[str, str]
    variant: str | None
    unplaced: list[str]

    def misfit(self, network: Recognizer) -> str | None:
        """What does not fit, in one line, or None where everything but the classifier does."""
        if self.variant is not None:
            return self.variant
        own = network.state_dict()
        missing = [
            name
            for name in own
            # Paddle and PyTorch before 0.4 count no batches; nothing that clipshift computes depends on it.
            if name not in self.filled
            and not name.startswith(f"{CLASSIFIER}.")
            and not name.endswith(".num_batches_tracked")
        ]
        shapes = [
            f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
            for name, value in self.filled.items()
            if value.shape != own[name].shape and not name.startswith(f"{CLASSIFIER}.")
        ]
        problems = {
            f"{len(missing)} of {len(own)} missing": missing,
            f"{len(self.unplaced)} without a place": self.unplaced,
            f"{len(shapes)} of another shape": shapes,
        }
        return "; ".join(f"{what}: {_some(names)}" for what, names in problems.items() if names) or None

    def fill(self, network: Recognizer, source: str | Path) -> None:
        """Copy the values into the recognizer.

        Raises:
            WeightsError: A value is NaN or infinite; nothing was copied.
        """
        broken = [name for name, value in self.filled.items() if not torch.isfinite(value).all()]
        if broken:
            remedy = "take an earlier file: this one is damaged, or its training diverged"
            _refuse("Some weights are NaN or infinite.", source, self.layout, _some(broken), remedy)
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if name in self.filled:
                    value.copy_(self.filled[name])

    def shifted(self) -> set[str]:
        """The recognizer's convolutions before which the project's network shifts, where its names tell."""
        wrapped = {own for name, own in self.names.items() if ".net." in name}
        return {own.removesuffix(".weight") for own in wrapped if self.filled[own].ndim == 4}


def place(state: Mapping[str, Tensor], network: Recognizer) -> Placement | None:
    """Find the place of every entry of a file in a recognizer, or None where no layout matches its names.

    Args:
        state: Names and tensors of the file.
        network: Of any device; not changed.
    """
    target = Target(tuple(network.state_dict()), _timm_classifier(network))
    layout = next((layout for layout in LAYOUTS if layout.matches(state, target)), None)
    if layout is None:
        return None
    unused = layout.unused(state)
    unused |= {name: _NO_WEIGHTS[last] for name in state if (last := name.rpartition(".")[2]) in _NO_WEIGHTS}
    useful = [name for name in state if name not in unused]
    names = {name: own for name, own in layout.rename(useful, target).items() if own in target.names}
    # A name without a place, or a second name for a place, means that the file is of a network not known here.
    first = {own: name for name, own in reversed(names.items())}
    unplaced = [name for name in useful if first.get(names.get(name, "")) != name]
    filled = {own: layout.value(state[name]) for name, own in names.items()}
    return Placement(layout, names, filled, unused, layout.variant(state), unplaced)


def find_weights(name: str | Path) -> Path:
    """The file or folder that `name` means: a path, or published weights by name, which are fetched first.

    Raises:
        DownloadError: The published weights cannot be fetched.
        WeightsError: What was fetched is not what was published.
    """
    path = Path(name)
    return fetch(str(name)) if str(name) in published_weights() and not path.exists() else path


def spec_of_weights(path: str | Path) -> ModelSpec | None:
    """What the model is whose weights lie in a run folder or a model folder; None for a file, which does not tell.

    Raises:
        WeightsError: It cannot be read.
    """
    return read_bundle(find_bundle(path))[1] if Path(path).is_dir() else None


def shift_of_weights(path: str | Path, segments: int) -> ShiftConfig | None:
    """The shift that the weights of a TSM were trained with, or None where they are of another network.

    Args:
        path: A run folder, a model folder or a file.
        segments: Frames per clip, which PaddleVideo's shift depends on.

    Raises:
        WeightsError: It cannot be read.
    """
    spec = spec_of_weights(path)
    if spec is not None:
        return spec.model.shift if spec.model.architecture == "tsm" else None
    file = read_weights(path)
    names = file.state
    nothing = Target((), "")
    layout = next((layout for layout in LAYOUTS if layout.shift is not None and layout.matches(names, nothing)), None)
    if layout is None or layout.shift is None:
        return None
    # A file without a classifier is of an image network, whatever its names: it has seen no shift.
    classifies = f"{CLASSIFIER}.weight" in layout.rename(names, Target((), "")).values()
    is_tsm = any(model.architecture == "tsm" for model in layout.networks(names))
    return shift_with_told(layout.shift(segments), tell(Path(path), file)) if classifies and is_tsm else None


@dataclass(frozen=True)
class _Contents:
    """A folder or file: its weights and, where it says so, its model's settings and classes."""

    state: dict[str, Tensor]
    classes: tuple[str, ...] | None
    model: ModelConfig | None = None
    told: tuple[Told, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _read(path: Path) -> _Contents:
    if path.is_dir():
        state, spec = read_bundle(find_bundle(path))
        return _Contents(state, spec.classes, spec.model)
    file = read_weights(path)
    return _Contents(file.state, file.classes, None, tell(path, file), file.ignored, file.notes)


def _timm_classifier(network: Recognizer) -> str:
    described: Any = network.backbone.pretrained_cfg
    name = described.get("classifier") or "fc"
    return str(name if isinstance(name, str) else name[0])


def _fit_classifier(
    network: Recognizer,
    filled: dict[str, Tensor],
    theirs: Sequence[str] | None,
    classes: Sequence[str] | None,
) -> tuple[str | None, list[str]]:
    """Take the file's classifier out of `filled` unless it is one for the network's classes.

    Returns:
        Why the classifier starts anew (or None), and notes.
    """
    weight, bias = f"{CLASSIFIER}.weight", f"{CLASSIFIER}.bias"
    if weight not in filled or bias not in filled:
        reason = "the file has none"
    elif filled[weight].shape != network.classifier.weight.shape or filled[bias].shape != network.classifier.bias.shape:
        reason = f"the file's has {filled[bias].numel()} classes, the network {network.classifier.out_features}"
        if filled[bias].shape == network.classifier.bias.shape:
            reads, ours = filled[weight].shape[-1], network.classifier.in_features
            reason = f"the file's reads {reads} features, the network's {ours} (model.motion)"
    elif theirs is not None and classes is not None and set(theirs) != set(classes):
        reason = "the file's classes have other names"
    elif theirs is not None and classes is not None:
        rows = torch.tensor([theirs.index(name) for name in classes])
        filled[weight], filled[bias] = filled[weight][rows], filled[bias][rows]
        return None, []
    else:
        count = network.classifier.out_features
        return None, [f"the file's classifier is kept: its {count} classes are taken to be in the data's order"]
    filled.pop(weight, None)
    filled.pop(bias, None)
    return reason, []


def _widen_classifier(
    network: Recognizer, filled: dict[str, Tensor], theirs: Sequence[str], classes: Sequence[str]
) -> None:
    """Make the file's classifier one for more classes, of which the others keep the network's initial values."""
    own = network.classifier
    rows = torch.tensor([list(classes).index(name) for name in theirs])
    for name, value in ((f"{CLASSIFIER}.weight", own.weight), (f"{CLASSIFIER}.bias", own.bias)):
        filled[name] = value.detach().clone().index_copy_(0, rows, filled[name].to(value.dtype))


def _notes(network: Recognizer, placement: Placement, content: _Contents) -> list[str]:
    """What to know of the file, and where its network sees time in another way than the one to be filled."""
    model, layout = network.model, placement.layout
    notes = [layout.note] if layout.note is not None else []
    if content.model is not None:
        architecture, shift = content.model.architecture, content.model.shift
    elif layout.shift is not None:
        architecture = layout.architecture(content.state) or model.architecture
        shift = shift_with_told(layout.shift(network.segments), content.told)
    else:
        return notes
    if architecture != model.architecture:
        notes.append(f"the weights are of a {architecture.upper()}, the network is a {model.architecture.upper()}")
    elif architecture == "tsm" and shift != model.shift:
        notes.append(f"the weights are of a network with another shift: {shift}; this one has {model.shift}")
    return notes


def _refuse(what: str, path: str | Path, layout: Layout, got: str, remedy: str) -> NoReturn:
    names = "clipshift's own" if layout is OWN else f"those of {layout.name}"
    raise WeightsError(what, where=path, got=f"names are {names}; {got}", remedy=remedy)


def _some(names: Sequence[str]) -> str:
    """The first five, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
