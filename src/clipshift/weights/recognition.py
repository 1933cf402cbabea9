"""What a file of weights is: whose names it has, of which network, how that shifts, what its test sees of a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from clipshift.config.model_spec import Average
from clipshift.config.schema import Crops, InputConfig, ModelConfig, ShiftConfig
from clipshift.datasets.public.class_names import class_names, named_data_sets
from clipshift.errors import ConfigError, WeightsError
from clipshift.models.backbones import is_network
from clipshift.models.placement import shift_points
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO, zoo_entry, zoo_name
from clipshift.weights.checkpoint_files import WeightsFile
from clipshift.weights.formats import CLASSIFIER, LAYOUTS, Layout, Target, mit, mmaction2
from clipshift.weights.hints import Told, contradictions, first_told, shift_with_told, tell
from clipshift.weights.loading import Placement, place
from clipshift.weights.published import PublishedWeights, Views

_USUAL_SEGMENTS = 8


@dataclass(frozen=True)
class Asked:
    """What the caller says about a file.

    Attributes:
        model: A network of the zoo or of timm, or None.
        segments: Frames per clip, or None.
        classes: Class names, where they are known, a data set's name or a file of names; or None.
        shift: {part of the shift: its value}.
        published: The entry of the published weights that the file is, or None.
    """

    model: str | None = None
    segments: int | None = None
    classes: str | Path | Sequence[str] | None = None
    shift: Mapping[str, object] = field(default_factory=dict)
    published: PublishedWeights | None = None


@dataclass(frozen=True)
class Recognition:
    """What a file of weights was found to be.

    Attributes:
        project: Whose names the file has.
        network: Its network, by the name in the zoo where it has one.
        model: The network's settings, the shift among them.
        classes: Names in the order of the logits.
        input: Frames and preprocessing of the project's own test.
        crops: Crops per frame of that test.
        clips: Clips per video of that test.
        average: What that test averages.
        notes: What was told by the file's name or settings, what was taken for granted, and what contradicts.
        placement: Where each entry goes.
    """

    project: str
    network: str
    model: ModelConfig
    classes: tuple[str, ...]
    input: InputConfig
    crops: Crops
    clips: int
    average: Average
    notes: tuple[str, ...]
    placement: Placement

    @property
    def segments(self) -> int:
        """Frames per clip."""
        return self.input.segments

    @property
    def shift(self) -> ShiftConfig | None:
        """How the network shifts in time; None for a TSN."""
        return self.model.shift if self.model.architecture == "tsm" else None


@dataclass(frozen=True)
class _Fit:
    """A network that the file fits."""

    layout: Layout
    model: ModelConfig
    placement: Placement
    classes: int


def recognize(file: WeightsFile, source: Path, asked: Asked) -> Recognition:
    """Find out what a file of weights is.

    Args:
        file: Its content.
        source: Its path, whose name is read, too.
        asked: What the caller says; it wins against what names and settings say.

    Raises:
        ConfigError: The class names cannot be used, there is no such model, or a TSN is to shift.
        WeightsError: The file is of no known network, or may be of several, or contradicts what is asked.
    """
    told = tell(source, file)
    fit, notes = _one_fit(file.state, source, asked, told)
    segments, notes_on_segments = _segments(file.state, source, fit, asked, told)
    views = _views(asked.published)
    test = fit.layout.test(fit.model, views.frames if views is not None else segments)
    names, notes_on_names = _names(asked.classes, file.classes, fit.classes, fit.layout)
    model, notes_on_shift = _with_shift(fit, source, test.input.segments, asked, told)
    if any(one.dense for one in told) and asked.published is None:
        notes_on_shift.append(f"trained on dense windows of a video, as {_who(told, 'dense')}: --protocol dense-10x3")
    return Recognition(
        project=fit.layout.name,
        network=zoo_name(model, test.input.segments),
        model=model,
        classes=names,
        input=test.input,
        crops=views.crops if views is not None else test.crops,
        clips=views.clips if views is not None else 1,
        average=test.average,
        notes=(*file.notes, *notes, *notes_on_segments, *notes_on_shift, *notes_on_names),
        placement=fit.placement,
    )


def _views(entry: PublishedWeights | None) -> Views | None:
    """What of a video the project's own test of a published file sees, or None for what its tool for prediction does.

    mmaction2 and MIT have one for both; it differs from file to file.
    """
    if entry is None or entry.segments == 1 or entry.project.name not in (mmaction2.LAYOUT.name, mit.LAYOUT.name):
        return None
    return next((result.views for result in entry.measured if result.views.sampling == "uniform"), None)


def _one_fit(state: Mapping[str, Tensor], source: Path, asked: Asked, told: tuple[Told, ...]) -> tuple[_Fit, list[str]]:
    """The one network that the file fits, and what the file's name had to decide."""
    fitting, misfits = _fits(state, source, asked)
    notes: list[str] = []
    architecture, where = first_told(told, "architecture")
    if len(fitting) > 1 and architecture is not None:
        named = [fit for fit in fitting if fit.model.architecture == architecture]
        if len(named) == 1:
            others = [zoo_name(fit.model, None) for fit in fitting if fit is not named[0]]
            notes.append(f"{zoo_name(named[0].model, None)}, as {where} says: --model {others[0]} has the same shapes")
            fitting = named
    if len(fitting) == 1:
        against = contradictions(told, "architecture", fitting[0].model.architecture)
        if against:
            notes.append(f"it is taken for a {fitting[0].model.architecture.upper()}, though {'; '.join(against)}")
        return fitting[0], notes
    if fitting:
        names = [zoo_name(fit.model, None) for fit in fitting]
        raise WeightsError(
            "The weights fit several networks, whose names and shapes are the same.",
            where=source,
            allowed=names,
            remedy=" or ".join(f"--model {name}" for name in names),
        )
    got = min(misfits, key=len)[:300] if misfits else f"names such as {', '.join(list(state)[:3])}"
    if asked.model is not None:
        raise WeightsError(
            f"The weights are not of {asked.model}.", where=source, got=got, remedy="another --model, or none"
        )
    raise WeightsError(
        "The weights are of no network that clipshift knows.",
        where=source,
        got=got,
        allowed=[layout.name for layout in LAYOUTS],
        remedy="name the network with --model",
    )


def _fits(state: Mapping[str, Tensor], source: Path, asked: Asked) -> tuple[list[_Fit], list[str]]:
    """The networks of the first layout that the file fits, and why it does not fit the others."""
    misfits: list[str] = []
    # Most layouts are known from names alone; the others are tried on every network that they may be of.
    known = [layout for layout in LAYOUTS if layout.matches(state, Target((), ""))]
    for layout in known[:1] or LAYOUTS:
        fitting = []
        for candidate in _candidates(layout, state, asked.model):
            fit = _fit(layout, _with_asked_shift(candidate, asked), state, source)
            if isinstance(fit, _Fit):
                fitting.append(fit)
            elif fit is not None:
                misfits.append(f"{layout.name}, {zoo_name(candidate, None)}: {fit}")
        if fitting:
            return fitting, misfits
    return [], misfits


def _candidates(layout: Layout, state: Mapping[str, Tensor], model: str | None) -> Sequence[ModelConfig]:
    if model is None:
        return layout.networks(state)
    if model not in ZOO and is_network(model):
        return [ModelConfig(architecture="tsn", backbone=model, pretrained=False)]
    return [zoo_entry(model).model]


def _with_asked_shift(model: ModelConfig, asked: Asked) -> ModelConfig:
    return model.model_copy(update={"shift": model.shift.model_copy(update=dict(asked.shift))})


def _fit(layout: Layout, model: ModelConfig, state: Mapping[str, Tensor], source: Path) -> _Fit | str | None:
    """The fit, why there is none, or None where the names are not of this layout."""
    with torch.device("meta"):  # names and shapes without values
        network = Recognizer(model, segments=layout.segments(_shapes(state)) or _USUAL_SEGMENTS, classes=1)
    placement = place(state, network)
    if placement is None or placement.layout is not layout:
        return None
    problem = placement.misfit(network) or _other_time(placement, network, state)
    if problem is not None:
        return problem
    weight, bias = (placement.filled.get(f"{CLASSIFIER}.{part}") for part in ("weight", "bias"))
    if weight is None or bias is None:
        raise WeightsError(
            "The file holds a network without its classifier, which is no model of its own.",
            where=source,
            got=f"{layout.name}, the backbone {model.backbone}",
            remedy=f"train with it: clipshift train DATA model.backbone={model.backbone} --weights FILE",
        )
    features = network.classifier.in_features
    if bias.ndim != 1 or weight.shape != (bias.numel(), features):
        return f"the classifier's weight {tuple(weight.shape)}, bias {tuple(bias.shape)} for {features} features"
    return _Fit(layout, model, placement, bias.numel())


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _other_time(placement: Placement, network: Recognizer, state: Mapping[str, Tensor]) -> str | None:
    """Where the file's names tell that its network sees time in another way, or None."""
    model = network.model
    architecture = placement.layout.architecture(state)
    if architecture not in (None, model.architecture):
        return f"the file is of a {architecture.upper()}"
    if architecture == "tsm":
        shifted = placement.shifted()
        others = sorted(_points(network, model.shift.deep_networks) ^ shifted)
        fitting = [deep for deep in ("every_block", "every_second_block") if _points(network, deep) == shifted]
        if others:
            remedy = f"; model.shift.deep_networks={fitting[0]} does, too" if fitting else ""
            return f"the file's network shifts in other places: {', '.join(others[:3])}{remedy}"
    return None


def _points(network: Recognizer, deep_networks: str) -> set[str]:
    return {f"backbone.{point}" for point in shift_points(network.backbone, deep_networks)}


def _segments(
    state: Mapping[str, Tensor], source: Path, fit: _Fit, asked: Asked, told: tuple[Told, ...]
) -> tuple[int | None, list[str]]:
    """Frames per clip, or None for the project's own number; and where they come from."""
    notes = [fit.layout.note] if fit.layout.note is not None else []
    shown = fit.layout.segments(_shapes(state))
    wanted = asked.segments or _segments_of_name(asked.model)
    if shown is not None and wanted not in (None, shown):
        raise WeightsError(
            "The network was trained for another number of frames.", where=source, got=wanted, allowed=str(shown)
        )
    if fit.model.architecture == "tsn":  # a test takes other frames than the training did
        return asked.segments, notes
    named, where = first_told(told, "segments")
    taken = shown or wanted or (named if isinstance(named, int) else None)
    if taken is None:
        note = (
            f"{_USUAL_SEGMENTS} frames per clip are taken for granted: nothing in the file tells; --segments changes it"
        )
        return _USUAL_SEGMENTS, [note, *notes]
    against = contradictions(told, "segments", taken)
    if against:
        notes.insert(0, f"{taken} frames per clip are taken, though {'; '.join(against)}")
    elif shown is None and wanted is None:
        notes.insert(0, f"{taken} frames per clip, as {where} says")
    return taken, notes


def _segments_of_name(model: str | None) -> int | None:
    """The frames that a name of the zoo asks for; the names without a number are of networks of any number."""
    segments = ZOO[model].segments if model in ZOO else None
    return None if segments == _USUAL_SEGMENTS else segments


def _with_shift(
    fit: _Fit, source: Path, segments: int, asked: Asked, told: tuple[Told, ...]
) -> tuple[ModelConfig, list[str]]:
    """The network with the shift that is asked for, that the file tells, or that its project has; and which it is."""
    if fit.model.architecture == "tsn":
        if asked.shift:
            raise ConfigError(
                "A TSN does not shift.",
                where="model.shift",
                got=", ".join(asked.shift),
                remedy="name a TSM with --model",
            )
        return fit.model, []
    if first_told(told, "place")[0] == "block" and not fit.layout.wrapped:
        raise WeightsError(
            "It is a TSM that shifts whole blocks, which clipshift does not have.",
            where=source,
            got=f"{_who(told, 'place')} block",
            allowed="blockres: the shift on the residual branch",
        )
    own = fit.model.shift if fit.layout.shift is None else fit.layout.shift(segments)
    shift = shift_with_told(own, told).model_copy(update=dict(asked.shift))
    notes = []
    against = contradictions(told, "fold_div", shift.fold_div)
    if against:
        notes.append(f"1/{shift.fold_div} of the channels moves each way, though {'; '.join(against)}")
    elif any(one.fold_div for one in told):
        if "fold_div" not in asked.shift:
            notes.append(f"1/{shift.fold_div} of the channels moves each way, as {_who(told, 'fold_div')}")
    elif "fold_div" not in asked.shift and asked.published is None and not fit.layout.shift_follows_segments:
        notes.append(
            f"a shift of 1/{shift.fold_div} of the channels is taken for granted: nothing in the file tells; "
            "model.shift.fold_div=8 changes it"
        )
    if (variant := first_told(told, "variant")[0]) is not None:
        notes.append(f"the file has no {variant}, though {_who(told, 'variant')} so")
    if fit.layout.wrapped and (against := contradictions(told, "place", "blockres")):
        notes.append(f"it shifts on the residual branch, as the entries' names tell, though {'; '.join(against)}")
    return fit.model.model_copy(update={"shift": shift}), notes


def _who(told: tuple[Told, ...], what: str) -> str:
    return f"{first_told(told, what)[1]} says"


def _names(
    asked: str | Path | Sequence[str] | None, of_file: tuple[str, ...] | None, count: int, layout: Layout
) -> tuple[tuple[str, ...], list[str]]:
    """Class names for the logits, and what to know of them."""
    if asked is None and of_file is not None and len(of_file) == count:
        return of_file, []
    if asked is None:
        fitting = [data for data in named_data_sets() if len(class_names(data)) == count]
        hint = f"; --classes {fitting[0]} names them" if fitting else "; --classes FILE names them"
        return tuple(str(number) for number in range(count)), [f"the classes are numbered{hint}"]
    names = class_names(asked) if isinstance(asked, str | Path) else tuple(asked)
    if len(names) != count:
        raise ConfigError("There are more or fewer names than classes.", got=len(names), allowed=str(count))
    return (tuple(sorted(names)) if asked in layout.alphabetical else names), []
