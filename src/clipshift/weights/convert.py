"""`clipshift.convert`: a file of weights from another project becomes an ordinary clipshift model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clipshift._version import __version__
from clipshift.config import ModelSpec, resolve
from clipshift.config.model_spec import SPEC_FILE, WEIGHTS_FILE
from clipshift.config.resolving import Settings
from clipshift.config.schema import ShiftConfig
from clipshift.datasets.public.class_names import named_data_sets
from clipshift.errors import ConfigError, RunError
from clipshift.files import sha256_of_file
from clipshift.models.bundle import UNFINISHED, save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import zoo_entry
from clipshift.weights.checkpoint_files import read_weights
from clipshift.weights.published import published_weights
from clipshift.weights.recognition import Asked, Recognition, recognize


@dataclass(frozen=True)
class Conversion:
    """What a file of weights was found to be, and what became of it.

    Attributes:
        folder: The model folder that was written.
        source: The file.
        recognition: What the file was found to be.
        spec: The model's settings and classes, as in the folder.
        filled: How many parameters and buffers were filled.
        unused: {entry of the file that was not used: why}.
    """

    folder: Path
    source: Path
    recognition: Recognition
    spec: ModelSpec
    filled: int
    unused: dict[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the file's name told, what was taken for granted, and what contradicts."""
        return self.recognition.notes

    def lines(self) -> list[str]:
        """The report for the screen, a line each."""
        found, spec = self.recognition, self.spec
        used = f"{self.filled} entries used, {len(self.unused)} ignored"
        lines = [
            f"file      {self.source}: names of {found.project}; {used}",
            f"network   {found.network}, {len(spec.classes)} classes ({', '.join(spec.classes[:3])} ...)",
            f"frames    {spec.input.segments} per clip, sampling {spec.input.sampling}; "
            f"clips: {spec.clips}; crops: {spec.crops}",
        ]
        if found.shift is not None:
            lines.append(f"shift     {_shift_in_words(found.shift)}")
        lines += [f"ignored   {count} entries: {reason}" for reason, count in Counter(self.unused.values()).items()]
        return [*lines, *(f"note      {note}" for note in found.notes)]


def _shift_in_words(shift: ShiftConfig) -> str:
    ways = "from the past" if shift.order == "past_only" else "each way"
    rest = f"rounding {shift.rounding}, deep networks in {shift.deep_networks}".replace("in every_", "in every ")
    return f"1/{shift.fold_div} of the channels {ways}, {shift.order}; {rest.replace('_block', ' block')}"


def convert(
    file: str | Path,
    to: str | Path,
    *,
    model: str | None = None,
    segments: int | None = None,
    classes: str | Path | Sequence[str] | None = None,
    settings: Sequence[Settings] = (),
    ema: bool = False,
) -> Conversion:
    """Turn a file of weights of PaddleVideo, mmaction2, MIT's TSM, timm or torchvision into a model folder.

    The project, the network and the number of classes are recognized from names and shapes; frames and shift from the
    file's name and the training's settings in it, where they say so. The model keeps the project's preprocessing,
    sampling and test views. Every entry of the file is used, or reported with the reason why not, and every parameter
    of the network is filled.

    Args:
        file: A .pdparams, .pth, .pth.tar or .safetensors file; nothing in it is run.
        to: Folder for the model; new or empty.
        model: The network, where the file does not tell: a name from `clipshift models`. PaddleVideo's TSN and TSM,
            PP-TSN and PP-TSM have the same names and shapes. Also a name of timm for a network of single images; or the
            name of the published weights that the file is, which tells segments and classes, too.
        segments: Frames per clip, where the file does not tell. By default those of the named model, else 8 for TSM
            and, for TSN, the project's own number in a test.
        classes: kinetics400, ucf101, hmdb51, sthv2, jester, or a text file with one class name a line. Also the names,
            in the order of the logits. By default the file's own names, or numbers.
        settings: model.shift.KEY=VALUE, such as model.shift.fold_div=4, where the file does not tell, or tells wrongly.
            By default what the file tells, else the project's own shift.
        ema: Take the averaged weights of a checkpoint that holds both.

    Returns:
        What was recognized and written.

    Raises:
        ConfigError: There is no such model or setting, the class names cannot be used, or a TSN is to shift.
        WeightsError: The file cannot be read, is of no known network, may be of several, or does not fit.
        RunError: The folder is not empty, or cannot be written.
    """
    source, folder = Path(file), Path(to)
    if folder.exists() and (not folder.is_dir() or any(path.name not in UNFINISHED for path in folder.iterdir())):
        raise RunError("The folder for the model is not empty.", where=folder, remedy="name another, or remove it")
    asked = _asked(model, segments, classes, settings)
    weights = read_weights(source, averaged=ema)
    found = recognize(weights, source, asked)
    network = Recognizer(found.model, segments=found.segments, classes=len(found.classes), crop=found.input.crop).eval()
    found.placement.fill(network, source)
    spec = ModelSpec(
        clipshift=__version__,
        model=found.model,
        input=found.input,
        classes=found.classes,
        crops=found.crops,
        clips=found.clips,
        average=found.average,
        provenance={
            **weights.about,
            "project": found.project,
            "file": source.name,
            "file_sha256": sha256_of_file(source),
        },
    )
    try:
        save_bundle(folder, network, spec)
    except OSError as error:
        for name in (*UNFINISHED, WEIGHTS_FILE, SPEC_FILE):  # it was empty: what is there now is half a model
            with suppress(OSError):
                (folder / name).unlink()
        raise RunError("The model folder cannot be written.", where=folder, got=error) from error
    return Conversion(
        folder=folder,
        source=source,
        recognition=found,
        spec=spec,
        filled=len(found.placement.filled),
        unused={**weights.ignored, **found.placement.unused},
    )


def _asked(
    model: str | None,
    segments: int | None,
    classes: str | Path | Sequence[str] | None,
    settings: Sequence[Settings],
) -> Asked:
    """What the caller says of the file; a name of published weights says what it stands for."""
    shift = _asked_shift(settings)
    if model not in published_weights():
        return Asked(model, segments, classes, shift)
    entry = published_weights()[model]
    image = entry.segments == 1
    # Files tell image networks, and whether a PP-TSMv2 has the temporal attention.
    network = None if image or entry.model.startswith("pptsmv2") else entry.model
    # A TSN is tested with other frames than it was trained with: its project's.
    if not image and zoo_entry(entry.model).model.architecture == "tsm":
        segments = segments or entry.segments
    return Asked(network, segments, classes or (entry.data if entry.data in named_data_sets() else None), shift, entry)


def _asked_shift(settings: Sequence[Settings]) -> dict[str, object]:
    """The parts of the shift among `key=value` settings; there must be nothing else."""
    section = "model.shift."
    resolved = resolve(settings=settings)
    others = [key for key in resolved.origin if not key.startswith(section)]
    if others:
        raise ConfigError(
            "A conversion takes the settings of the temporal shift only.",
            where=others[0],
            allowed=[f"{section}{key}" for key in ShiftConfig.model_fields],
            remedy="the other settings come from the file's project, and change with those of predict and evaluate",
        )
    chosen = resolved.config.model.shift
    return {key.removeprefix(section): getattr(chosen, key.removeprefix(section)) for key in resolved.origin}
