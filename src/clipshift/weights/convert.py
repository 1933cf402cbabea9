"""`clipshift.convert`: a file of weights from another home becomes an ordinary clipshift model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipshift._version import __version__
from clipshift.config import ModelSpec
from clipshift.config.schema import ModelConfig
from clipshift.data.class_names import class_names, data_sets
from clipshift.errors import ConfigError, RunError, WeightsError
from clipshift.files import sha256_of_file
from clipshift.models.backbones import is_network
from clipshift.models.bundle import save_bundle
from clipshift.models.placement import shift_points
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO, zoo_entry, zoo_name
from clipshift.weights.files import read_weights
from clipshift.weights.homes import CLASSIFIER, LAYOUTS, Layout, mit, mmaction2
from clipshift.weights.loading import Placement, place
from clipshift.weights.table import PUBLISHED, PublishedWeights, Views


@dataclass(frozen=True)
class Conversion:
    """What a file of weights was found to be, and what became of it.

    Attributes:
        folder: The model folder that was written.
        source: The file.
        home: Whose names the file has.
        model: The network, by its name in the zoo where it has one.
        spec: The model's settings and classes, as in the folder.
        filled: How many parameters and buffers were filled.
        unused: {entry of the file that was not used: why}.
        notes: What was taken for granted.
    """

    folder: Path
    source: Path
    home: str
    model: str
    spec: ModelSpec
    filled: int
    unused: dict[str, str]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report for the screen, a line each."""
        spec = self.spec
        lines = [
            f"file      {self.source}: names of {self.home}; {self.filled} entries used, {len(self.unused)} ignored",
            f"network   {self.model}, {len(spec.classes)} classes ({', '.join(spec.classes[:3])} ...)",
            f"frames    {spec.input.segments} per clip, sampling {spec.input.sampling}; "
            f"clips: {spec.clips}; crops: {spec.crops}",
        ]
        if spec.model.architecture == "tsm":
            shift = spec.model.shift
            lines.append(f"shift     1/{shift.fold_div} of the channels each way, {shift.order}")
        lines += [f"ignored   {count} entries: {reason}" for reason, count in Counter(self.unused.values()).items()]
        return [*lines, *(f"note      {note}" for note in self.notes)]


def convert(
    file: str | Path,
    to: str | Path,
    *,
    model: str | None = None,
    segments: int | None = None,
    classes: str | Path | Sequence[str] | None = None,
) -> Conversion:
    """Turn a file of weights of PaddleVideo, mmaction2, MIT's TSM, timm or torchvision into a model folder.

    The home, the network and the number of classes are recognised from names and shapes. The model keeps the home's
    shift, preprocessing, sampling and test views. Every entry of the file is used, or reported with the reason why
    not, and every parameter of the network is filled.

    Args:
        file: `.pdparams`, `.pth`, `.pth.tar` or `.safetensors`; no code in it is run.
        to: Folder to write, which must not exist or be empty.
        model: The network by its name in `clipshift models`, where the file does not tell (PaddleVideo's TSN and TSM,
            PP-TSN and PP-TSM have the same names and shapes); a name of timm for a network of single images; or the
            name of the published weights that the file is, which tells segments and classes, too.
        segments: Frames per clip; by default what the file tells, else the named model's, else 8 for TSM and, for
            TSN, the home's own number in a test.
        classes: Class names in the order of the logits: `kinetics400`, `ucf101`, `hmdb51`, `sthv2` or `jester`, a text
            file with one name a line, or the names. By default the file's own names, or numbers.

    Returns:
        What was recognised and written.

    Raises:
        ConfigError: There is no such model, or the class names cannot be used.
        WeightsError: The file cannot be read, is of no known network, may be of several, or does not fit.
        RunError: The folder is not empty, or cannot be written.
    """
    source, folder = Path(file), Path(to)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError("The folder for the model is not empty.", where=folder, remedy="name another, or remove it")
    views: Views | None = None
    if model in PUBLISHED:
        entry = PUBLISHED[model]
        views = _views(entry)
        image, network_name = entry.segments == 1, entry.model
        # Files tell image networks, and whether a PP-TSMv2 has the temporal attention.
        model = None if image or network_name.startswith("pptsmv2") else network_name
        # A TSN is tested with other frames than it was trained with: its home's.
        if not image and zoo_entry(network_name).model.architecture == "tsm":
            segments = segments or entry.segments
        classes = classes or (entry.data if entry.data in data_sets() else None)
    weights = read_weights(source)
    layout, found, count = _recognise(weights.state, source, model)
    asked, notes = _segments(weights.state, source, layout, found, model, segments)
    home = layout.test(found, views.frames if views is not None else asked)
    names, notes_on_names = _names(classes, weights.classes, count, layout)
    if layout.shift is not None:
        found = found.model_copy(update={"shift": layout.shift(home.input.segments)})

    network = Recognizer(found, segments=home.input.segments, classes=count, crop=home.input.crop).eval()
    placement = _placed(weights.state, network, source)
    placement.fill(network, source)
    spec = ModelSpec(
        clipshift=__version__,
        model=found,
        input=home.input,
        classes=names,
        crops=views.crops if views is not None else home.crops,
        clips=views.clips if views is not None else 1,
        average=home.average,
        provenance={**weights.about, "home": layout.name, "file": source.name, "file_sha256": sha256_of_file(source)},
    )
    try:
        save_bundle(folder, network, spec)
    except OSError as error:
        raise RunError("The model folder cannot be written.", where=folder, got=error) from error
    return Conversion(
        folder=folder,
        source=source,
        home=layout.name,
        model=zoo_name(found, home.input.segments),
        spec=spec,
        filled=len(placement.filled),
        unused=placement.unused,
        notes=(*notes, *notes_on_names),
    )


def _views(entry: PublishedWeights) -> Views | None:
    """What of a video the home's own test of a published file sees, or None for what its tool for prediction does.

    mmaction2 and MIT have one for both; it differs from file to file.
    """
    if entry.segments == 1 or entry.home.name not in (mmaction2.LAYOUT.name, mit.LAYOUT.name):
        return None
    return next((result.views for result in entry.measured if result.views.sampling == "uniform"), None)


def _recognise(state: Mapping[str, Tensor], source: Path, model: str | None) -> tuple[Layout, ModelConfig, int]:
    """Whose names the file has, the one network that it fits, and its number of classes."""
    fitting: list[tuple[Layout, ModelConfig, int]] = []
    misfits: list[str] = []
    for layout in LAYOUTS:
        for candidate in _candidates(layout, state, model):
            network = _empty(candidate, layout.segments(_shapes(state)) or 8)
            placement = place(state, network)
            if placement is None or placement.layout is not layout:
                continue
            name = zoo_name(candidate, None)
            problem = placement.misfit(network) or _other_time(placement, network, state)
            bias = placement.filled.get(f"{CLASSIFIER}.bias")
            if problem is not None:
                misfits.append(f"{layout.name}, {name}: {problem}")
            elif bias is None or f"{CLASSIFIER}.weight" not in placement.filled:
                raise WeightsError(
                    "The file holds a network without its classifier, which is no model of its own.",
                    where=source,
                    got=f"{layout.name}, the backbone {candidate.backbone}",
                    remedy=f"train with it: clipshift train DATA model.backbone={candidate.backbone} --weights FILE",
                )
            else:
                fitting.append((layout, candidate, bias.numel()))
        if fitting:
            break
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = [zoo_name(candidate, None) for _, candidate, _ in fitting]
        raise WeightsError(
            "The weights fit several networks, whose names and shapes are the same.",
            where=source,
            allowed=names,
            remedy=" or ".join(f"--model {name}" for name in names),
        )
    got = min(misfits, key=len)[:300] if misfits else f"names such as {', '.join(list(state)[:3])}"
    if model is not None:
        raise WeightsError(f"The weights are not of {model}.", where=source, got=got, remedy="another --model, or none")
    raise WeightsError(
        "The weights are of no network that clipshift knows.",
        where=source,
        got=got,
        allowed=[layout.name for layout in LAYOUTS],
        remedy="name the network with --model",
    )


def _candidates(layout: Layout, state: Mapping[str, Tensor], model: str | None) -> Sequence[ModelConfig]:
    if model is None:
        return layout.networks(state)
    if model not in ZOO and is_network(model):
        return [ModelConfig(architecture="tsn", backbone=model, pretrained=False)]
    return [zoo_entry(model).model]


def _empty(model: ModelConfig, segments: int) -> Recognizer:
    with torch.device("meta"):  # names and shapes without values
        return Recognizer(model, segments=segments, classes=1)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _other_time(placement: Placement, network: Recognizer, state: Mapping[str, Tensor]) -> str | None:
    """Where the file's names tell that its network sees time in another way, or None."""
    model = network.model
    told = placement.layout.architecture(state)
    if told not in (None, model.architecture):
        return f"the file is of a {told.upper()}"
    if told == "tsm":
        own = {f"backbone.{point}" for point in shift_points(network.backbone, model.shift.deep_networks)}
        others = sorted(own ^ placement.shifted())
        if others:
            return f"the file's network shifts in other places: {', '.join(others[:3])}"
    return None


def _segments(
    state: Mapping[str, Tensor],
    source: Path,
    layout: Layout,
    found: ModelConfig,
    model: str | None,
    asked: int | None,
) -> tuple[int | None, list[str]]:
    """Frames per clip, or None for the home's own number; and what was taken for granted."""
    own = [layout.note] if layout.note is not None else []
    told = layout.segments(_shapes(state))
    if told is not None and asked not in (None, told):
        raise WeightsError(
            "The network was trained for another number of frames.", where=source, got=asked, allowed=str(told)
        )
    segments = told or asked
    if segments is None and found.architecture == "tsm":
        segments = ZOO[model].segments if model in ZOO else 8
        note = f"{segments} frames per clip are taken for granted: nothing in the file tells; --segments changes it"
        return segments, [note, *own]
    return segments, own


def _names(
    asked: str | Path | Sequence[str] | None, of_file: tuple[str, ...] | None, count: int, layout: Layout
) -> tuple[tuple[str, ...], list[str]]:
    """Class names for the logits, and what to know of them."""
    if asked is None and of_file is not None and len(of_file) == count:
        return of_file, []
    if asked is None:
        fitting = [data for data in data_sets() if len(class_names(data)) == count]
        hint = f"; --classes {fitting[0]} names them" if fitting else "; --classes FILE names them"
        return tuple(str(number) for number in range(count)), [f"the classes are numbered{hint}"]
    names = class_names(asked) if isinstance(asked, str | Path) else tuple(asked)
    if len(names) != count:
        raise ConfigError("There are more or fewer names than classes.", got=len(names), allowed=str(count))
    return (tuple(sorted(names)) if asked in layout.alphabetical else names), []


def _placed(state: Mapping[str, Tensor], network: Recognizer, source: Path) -> Placement:
    placement = place(state, network)
    misfit = "no place was found" if placement is None else placement.misfit(network)
    if placement is None or misfit is not None:
        raise WeightsError("The weights do not fit the network.", where=source, got=misfit)
    return placement
