"""The command line: each command is a few lines that call the public function of the same name."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

from cyclopts import App, Parameter
from cyclopts.validators import Number

from clipshift._version import __version__
from clipshift.console import HelpConsole, complain, flush_stdout, give_up_stdout, prepare_streams, progress_bar, say
from clipshift.errors import ConfigError, MissingDependencyError, OutputError, TrainingInterrupted, UserError
from clipshift.files import to_json, write_whole

if TYPE_CHECKING:
    from clipshift.datasets.tools.transcode import Transcoded

app = App(
    name="clipshift",
    help="Video classification with TSN, TSM, PP-TSM and PP-TSMv2: from a folder of clips to a measured classifier.",
    version=__version__,
    help_format="plaintext",
    console=HelpConsole(),
)


def _no_option(kind: object, value: object) -> None:  # noqa: ARG001 - as cyclopts calls it
    if isinstance(value, str) and value.startswith("--"):
        raise ValueError(f"{value!r} is an option and no value; for a file of that name write ./{value}.")


Text = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]
"""The value of an option, which may begin with one hyphen: `--json -`, `--out -x`."""
Crops = Literal["center", "three", "three_small", "ten"]
Amp = Literal["fp32", "bf16", "fp16"]
Target = Literal["onnx", "openvino", "torch"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
Count = Annotated[int, Parameter(validator=Number(gte=1, lte=1_000_000))]
Threads = Annotated[int, Parameter(validator=Number(gte=0, lte=1024))]
Processes = Annotated[int | None, Parameter(validator=Number(gte=0, lte=1024))]
MultiLabel = Annotated[bool, Parameter(negative=())]
Fetch = Annotated[bool, Parameter(negative=())]
ListFormat = Literal["clipshift", "mmaction2", "paddlevideo"]
PrepareName = Literal["ucf101", "hmdb51", "kinetics400", "sthv2", "jester", "folder"]
# The names of `clipshift.evaluation.PROTOCOLS`, which is not imported here: the help must not wait for PyTorch.
Protocol = Literal[
    "uniform-1x1",
    "uniform-1x3",
    "uniform-1x10",
    "tsn-25x1",
    "tsn-25x3",
    "tsn-25x10",
    "twice-2x1",
    "twice-2x3",
    "dense-10x1",
    "dense-10x3",
    "dense-10x3-small",
    "dense-10x10",
]


_SETTING = re.compile(r"data\.\w+=.*", re.DOTALL)


def _apart(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Names and settings: the word data.KEY=VALUE is a setting; a file of that name is ./data.KEY=VALUE."""
    names: list[str] = []
    settings: list[str] = []
    for word in words:
        (settings if _SETTING.fullmatch(word) else names).append(word)
    return names, settings


@app.command
def train(
    data: str,
    *settings: str,
    out: Text | None = None,
    recipe: Text | None = None,
    config: Text | None = None,
    weights: Text | None = None,
    amp: Amp | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train a classifier; the same command again goes on where it stopped.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list of clips, or a data.yaml.
        settings: key=value, such as train.epochs=10; 'clipshift config' lists all.
        out: Run folder; by default runs/DATA-RECIPE.
        recipe: A name from 'clipshift models', or a YAML file; by default finetune.
        config: YAML file with settings.
        weights: Start from a run folder, a model folder, a file of weights, or published weights by name.
        amp: Precision: fp32, bf16 or fp16.
        overwrite: Replace the run that the run folder holds.
    """
    import clipshift

    clipshift.train(
        data, *settings, out=out, recipe=recipe, config=config, weights=weights, amp=amp, overwrite=overwrite
    )


@app.command
def evaluate(  # noqa: PLR0913
    model: str | None = None,
    data: str | None = None,
    *settings: str,
    protocol: Protocol | None = None,
    crops: Crops | None = None,
    clips: int | None = None,
    batch_size: int | None = None,
    bad: Literal["wrong", "exclude"] | None = None,
    device: Text = "auto",
    amp: Amp = "fp32",
    out: Text | None = None,
    fuse: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    weights: Annotated[list[float] | None, Parameter(consume_multiple=True, negative=())] = None,
) -> None:
    """Measure a model on labeled clips, or the average of stored scores.

    Args:
        model: Run folder, model folder, exported model, or published weights by name.
        data: Folder with a folder per class, a list, or a data.yaml.
        settings: data.KEY=VALUE of reading clips: frame_pattern, max_pixels, max_frames, max_seconds; by default those
            of the model's training.
        protocol: A published test in one word, clips x crops: the model's own frames (uniform), 25 frames of a TSN
            (tsn), middles and first frames of the parts (twice), windows of 64 frames (dense).
        crops: Crops per frame: center, three, three_small or ten; by default the model's own.
        clips: Sets of frames per video; by default the model's own.
        batch_size: Views per forward pass; does not change the result.
        bad: How unreadable videos count: wrong, or exclude.
        device: auto, cpu, cuda or cuda:N.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        out: Folder for metrics.json and predictions.jsonl.
        fuse: In place of a model and data: run folders or folders of --out, whose probabilities are averaged.
        weights: A number for each of them; by default all count the same.
    """
    import clipshift
    from clipshift.inference.reference import resolve_model

    if fuse:
        if model or protocol or crops or clips or amp != "fp32":
            raise UserError(
                "A fusion reads stored scores: it takes no model, data, settings, views or precision.", where="--fuse"
            )
        say(clipshift.fuse(fuse, weights=weights, bad=bad, out=out).to_text())
        return
    if model is None or data is None:
        raise UserError("A model and data are needed.", allowed="MODEL DATA, or --fuse RUN RUN ...")
    if weights:
        raise UserError("Weights are those of a fusion.", where="--weights", allowed="only with --fuse")
    with progress_bar("fetching") as progress:
        reference = resolve_model(model, progress=progress)
    with progress_bar("evaluating") as progress:
        evaluation = clipshift.evaluate(
            reference,
            data,
            protocol=protocol,
            crops=crops,
            clips=clips,
            batch_size=batch_size,
            bad=bad,
            device=device,
            amp=amp,
            out=out,
            settings=settings,
            progress=progress,
        )
    say(evaluation.to_text())


@app.command
def predict(  # noqa: PLR0913
    model: str,
    *sources: str,
    json_file: Annotated[Text | None, Parameter(name="--json")] = None,
    top: Count = 5,
    crops: Crops | None = None,
    clips: int | None = None,
    batch_size: int = 1,
    device: Text = "auto",
    amp: Amp = "fp32",
    threads: Threads = 0,
    mode: Literal["auto", "latency", "throughput"] = "auto",
) -> None:
    """Classify videos; exit code 1 if one could not be read, or a source is not there.

    Args:
        model: Run folder, model folder, exported model, or published weights by name.
        sources: Videos, folders, globs and lists; '-' for standard input, with a path a line; and settings
            data.KEY=VALUE of reading them: frame_pattern, max_pixels, max_frames, max_seconds; by default those of the
            model's training.
        json_file: File for one JSON line per video; '-' for standard output.
        top: Classes to show.
        crops: Crops per frame: center, three, three_small or ten; by default the model's own.
        clips: Sets of frames per video; by default the model's own.
        batch_size: Views per forward pass.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        threads: Of the network on the CPU; 0: one a core.
        mode: Of an exported model: latency (all threads on one answer), throughput (each on one of its own), or auto:
            latency for one video, throughput for more.
    """
    import clipshift
    from clipshift.inference.predictor import pick_mode
    from clipshift.inference.writing import write_predictions

    names, settings = _apart(sources)
    if not names:
        raise UserError("Nothing was named to predict.", allowed="videos, folders, globs and lists")
    names = ["-" if name == _STANDARD_INPUT else name for name in names]
    chosen = pick_mode(names) if mode == "auto" else mode
    with progress_bar("fetching") as progress:
        loaded = clipshift.load(
            model, device=device, amp=amp, threads=threads, mode=chosen, settings=settings, progress=progress
        )
    answers = clipshift.predict(loaded, *names, crops=crops, clips=clips, batch_size=batch_size)
    failed = write_predictions(answers, json_file, top=top, say=say)
    if failed:
        complain(f"{failed} of the videos could not be read.")
        sys.exit(1)


@app.command
def export(  # noqa: PLR0913
    model: str,
    *settings: str,
    to: Target,
    out: Text,
    precision: Precision = "fp32",
    input: Literal["frames", "clips"] = "frames",  # noqa: A002
    data: Text | None = None,
    calibrate: Text | None = None,
    crops: Crops | None = None,
    streaming: Annotated[bool, Parameter(negative=())] = False,
    license: Annotated[Text | None, Parameter(name=("--license", "--licence"))] = None,  # noqa: A002
) -> None:
    """Write a model as a file that runs without PyTorch, once it is proven to give the model's numbers.

    Args:
        model: Run folder, model folder, or published weights by name.
        settings: data.KEY=VALUE of reading clips: frame_pattern, max_pixels, max_frames, max_seconds; by default those
            of the model's training.
        to: onnx (ONNX Runtime, TensorRT, browsers), openvino, or torch.
        out: Folder for the export; new or empty.
        precision: fp32, fp16, bf16 (OpenVINO only) or int8 (not torch).
        input: What the file takes: frames as decoded, or normalized clips.
        data: Clips to check on; by default the run's validation clips.
        calibrate: Data set for int8.
        crops: Crops of every frame inside the file; by default the model's own.
        streaming: The file takes one frame of a live stream at a time; of causal networks (onnx, openvino).
        license: Of the model, for its card.
    """
    import clipshift

    with progress_bar("checking") as progress:
        exported = clipshift.export(
            model,
            to=to,
            out=out,
            precision=precision,
            input=input,
            data=data,
            calibrate=calibrate,
            crops=crops,
            streaming=streaming,
            license=license,
            settings=settings,
            progress=progress,
        )
    say("\n".join(exported.lines()))


@app.command
def verify(model: str, *exports: str, data: Text, most: int = 0, out: Text | None = None) -> None:
    """Compare exported models with the trained one over clips; exit code 1 if one does not agree.

    Args:
        model: The trained model: run folder, model folder, or published weights by name.
        exports: Folders of exported models; and settings data.KEY=VALUE of reading clips, as for predict.
        data: Clips: a folder, list or data.yaml, with labels or without.
        most: Compare on so many of them; 0: on all.
        out: Folder for verification.html and verification.json.
    """
    import clipshift

    with progress_bar("comparing") as progress:
        names, settings = _apart(exports)
        found = clipshift.verify(model, *names, data=data, most=most, out=out, settings=settings, progress=progress)
    say(found.to_text())
    sys.exit(0 if found.ok else 1)


@app.command
def benchmark(
    *models: str,
    videos: Text | None = None,
    threads: Threads = 0,
    mode: Literal["latency", "throughput"] = "latency",
    device: Text = "auto",
    repeat: Count = 20,
    out: Text | None = None,
) -> None:
    """Measure how fast trained and exported models are on this machine, decoding and network apart.

    Args:
        models: Run folders, model folders, exported models, published weights by name; and settings data.KEY=VALUE of
            reading clips, as for predict.
        videos: A video, folder, glob or list; by default small generated clips.
        threads: Of the network on the CPU; 0: one a core.
        mode: latency or throughput, where an engine tells the two apart.
        device: auto, cpu, cuda or cuda:N; of an ONNX file also tensorrt.
        repeat: Measurements of each time.
        out: Folder for benchmark.json and benchmark.png.
    """
    import clipshift

    names, settings = _apart(models)
    found = clipshift.benchmark(
        *names, videos=videos, threads=threads, mode=mode, device=device, repeat=repeat, out=out, settings=settings
    )
    say(found.to_text())


@app.command
def convert(
    file: str,
    *settings: str,
    to: Text,
    model: Text | None = None,
    segments: int | None = None,
    classes: Text | None = None,
    ema: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Turn published weights of PaddleVideo, mmaction2, MIT's TSM, timm or torchvision into a model.

    Args:
        file: A .pdparams, .pth, .pth.tar or .safetensors file; nothing in it is run.
        settings: key=value of the section model.shift, such as model.shift.fold_div=4, where the file does not tell.
        to: Folder for the model; must be new or empty.
        model: The network, where the file does not tell: a name from 'clipshift models'.
        segments: Frames per clip, where the file does not tell.
        classes: kinetics400, ucf101, hmdb51, sthv2, jester, or a text file with one class name a line.
        ema: Take the averaged weights of a checkpoint that holds both.
    """
    import clipshift

    conversion = clipshift.convert(
        file, to, model=model, segments=segments, classes=classes, settings=settings, ema=ema
    )
    for line in conversion.lines():
        say(line)
    say(f"\nclipshift predict {shlex.quote(to)} VIDEO")


@app.command
def config(
    recipe: str | None = None,
    *settings: str,
    file: Annotated[Text | None, Parameter(name="--config")] = None,
    schema: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show every setting: its value, where that came from, and what it means.

    Args:
        recipe: Name or file of a recipe.
        settings: key=value.
        file: YAML file with settings.
        schema: Print the JSON schema instead.
    """
    from clipshift.config import Config, describe, resolve
    from clipshift.config.recipes import DEFAULT_RECIPE

    if schema:
        say(json.dumps(Config.model_json_schema(), indent=1))
        return
    if recipe is not None and "=" in recipe:  # only settings were given
        recipe, settings = DEFAULT_RECIPE, (recipe, *settings)
    resolved = resolve(recipe or DEFAULT_RECIPE, file=file, settings=settings)
    say(describe(resolved.config, resolved.origin).removesuffix("\n"))


@app.command
def models(name: str | None = None, *, fetch: Annotated[bool, Parameter(negative=())] = False) -> None:
    """List what can be trained and the published weights, or describe one of them.

    Args:
        name: A model, any timm network, or published weights.
        fetch: Fetch the published weights into the cache.
    """
    from clipshift.models.zoo import describe_models
    from clipshift.weights import published

    if fetch:
        from clipshift.weights import cache

        with progress_bar("fetching") as progress:
            say(str(cache.fetch(name or "", progress=progress)))
    elif name is not None:
        say(_described(name))
    else:
        for model, description in describe_models():
            say(f"{model:24}{description}")
        say("Any other network of timm works too: clipshift models NAME shows where TSM shifts in it.")
        say("\nPublished weights (clipshift models NAME shows where they come from, --fetch fetches them):")
        for weights, description in published.list_published():
            say(f"{weights:42}{description}")


def _described(name: str) -> str:
    """Published weights, or a network with the published accuracies of its weights."""
    from clipshift.weights import published

    if name in published.published_weights():
        from clipshift.weights.cache import describe_published

        return describe_published(name)
    from clipshift.models.description import describe_model

    try:
        described = describe_model(name).to_text()
    except ConfigError as error:
        raise published.with_nearest_names(error, name) from error
    return "\n".join([described, *(f"  {'published':12}{result}" for result in published.results_of(name))])


@app.command
def check(data: str, *settings: str, json_file: Annotated[Text | None, Parameter(name="--json")] = None) -> None:
    """Look for what spoils a data set: unreadable clips, empty classes, imbalance, leaks; exit code 1 on errors.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        settings: key=value; those of the section data, input.segments and train.multi_label count.
        json_file: File for the findings; '-' for standard output instead of the text.
    """
    import clipshift
    from clipshift.config import resolve

    config = resolve(settings=settings).config
    with progress_bar("checking") as progress:
        report = clipshift.check_data(
            data, config.data, segments=config.input.segments, several=config.train.multi_label, progress=progress
        )
    if json_file:
        _write_json(json_file, report.to_json())
    if json_file != "-":
        say(report.to_text())
    sys.exit(0 if report.ok else 1)


def _write_json(file: str, value: object) -> None:
    if file == "-":
        say(json.dumps(value, indent=1))
        return
    try:
        write_whole(Path(file), to_json(value, indent=1) + "\n")
    except OSError as error:
        raise OutputError.of(error, file) from error


@app.command
def report(run: str) -> None:
    """Write a run's report.html again.

    Args:
        run: Run folder.
    """
    from clipshift.evaluation.report.page import write_report

    say(str(write_report(Path(run))))


@app.command
def doctor() -> None:
    """Say what this machine has, and what clipshift can do with it; exit code 1 if something is missing."""
    from clipshift.doctor import examine

    lines, well = examine()
    say("\n".join(lines))
    sys.exit(0 if well else 1)


@app.command
def lists(
    data: str,
    *,
    to: Text,
    form: Annotated[ListFormat, Parameter(name="--format")] = "clipshift",
    multi_label: MultiLabel = False,
) -> None:
    """Write the lists of a data set in another form, with a data.yaml beside them.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        to: Folder for the lists.
        form: clipshift, mmaction2 or paddlevideo.
        multi_label: A clip may have several labels.
    """
    import clipshift

    for line in clipshift.write_lists(data, to, form=form, multi_label=multi_label).lines():
        say(line)


@app.command
def frames(
    data: str,
    *settings: str,
    to: Text,
    short_side: int | None = None,
    quality: int = 95,
    plain_names: Annotated[bool, Parameter(negative=())] = False,
    multi_label: MultiLabel = False,
    workers: Processes = None,
) -> None:
    """Write every clip as a folder of JPEG frames; the same command again goes on; exit code 1 if one failed.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml; stays as it is.
        settings: key=value of the section data.
        to: Folder for the frames, their lists and a data.yaml.
        short_side: Scale the shorter side down to so many pixels; by default the size stays.
        quality: Of the JPEG images, 1 to 100.
        plain_names: Blanks in names become underscores.
        multi_label: A clip may have several labels.
        workers: Processes; by default one a core.
    """
    import clipshift
    from clipshift.config import resolve

    with progress_bar("writing frames") as progress:
        written = clipshift.extract_frames(
            data,
            to,
            short_side=short_side,
            quality=quality,
            plain_names=plain_names,
            multi_label=multi_label,
            settings=resolve(settings=settings).config.data,
            workers=workers,
            progress=progress,
        )
    _print_rewritten(written)


@app.command
def repack(
    data: str,
    *settings: str,
    to: Text,
    short_side: int = 256,
    crf: int = 20,
    group: int = 6,
    plain_names: Annotated[bool, Parameter(negative=())] = False,
    multi_label: MultiLabel = False,
    workers: Processes = None,
) -> None:
    """Write every clip as H.264, small and quick to seek in; the same command again goes on; exit code 1 if one failed.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml; stays as it is.
        settings: key=value of the section data.
        to: Folder for the videos, their lists and a data.yaml.
        short_side: Scale the shorter side down to so many pixels; smaller clips keep their size.
        crf: Quality, 0 to 51; less is better and larger.
        group: Pictures from one key frame to the next.
        plain_names: Blanks in names become underscores.
        multi_label: A clip may have several labels.
        workers: Processes; by default one a core.
    """
    import clipshift
    from clipshift.config import resolve

    with progress_bar("repacking") as progress:
        written = clipshift.repack_videos(
            data,
            to,
            short_side=short_side,
            crf=crf,
            group=group,
            plain_names=plain_names,
            multi_label=multi_label,
            settings=resolve(settings=settings).config.data,
            workers=workers,
            progress=progress,
        )
    _print_rewritten(written)


def _print_rewritten(written: Transcoded) -> NoReturn:
    for line in written.lines():
        say(line)
    sys.exit(0 if written.ok else 1)


prepare = App(name="prepare", help="Make or convert data sets.")
app.command(prepare)


@prepare.command
def motion(folder: str, *, seed: int = 0, streams: int | None = None, seconds: float | None = None) -> None:
    """Generate small MP4 clips of moving shapes whose classes differ only in the order of time.

    Args:
        folder: Where train/ and val/ are written.
        seed: Another seed gives other clips.
        streams: Generate so many long videos with events of known times in place of the clips, with
            annotations.json (ActivityNet's form) and annotations.csv.
        seconds: Length of each of the long videos, at least 10; by default 60.
    """
    from clipshift.datasets.motion import write_motion_clips
    from clipshift.datasets.motion_streams import check_sizes, write_motion_streams

    if streams is not None:
        length = 60.0 if seconds is None else seconds
        check_sizes(streams, length, seed)
        say(f"Wrote {write_motion_streams(Path(folder), streams=streams, seconds=length, seed=seed)}")
        return
    if seconds is not None:
        raise ConfigError("--seconds is the length of long videos.", remedy="add --streams N")
    say(f"Wrote {write_motion_clips(Path(folder), seed=seed)}")


@prepare.command
def ucf101(
    videos: str, *, to: Text, lists: Text | None = None, split: int = 1, decode: bool = False, fetch: Fetch = False
) -> None:
    """Lists of UCF-101 with an official split; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder (or zip, tar) of the class folders; nothing in it is changed.
        to: Folder for the lists and the data.yaml.
        lists: Folder (or zip) ucfTrainTestlist; by default looked for in and beside the videos.
        split: 1, 2 or 3.
        decode: Open every clip, to find broken ones.
        fetch: Fetch the split lists and UCF101.rar into VIDEOS first; the same command again goes on.
    """
    _prepare("ucf101", videos, to, lists=lists, split=split, decode=decode, fetch=fetch)


@prepare.command
def hmdb51(
    videos: str, *, to: Text, lists: Text | None = None, split: int = 1, decode: bool = False, fetch: Fetch = False
) -> None:
    """Lists of HMDB51 with an official split; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder (or zip, tar) of the class folders; nothing in it is changed.
        to: Folder for the lists and the data.yaml.
        lists: Folder (or zip) testTrainMulti_7030_splits; by default looked for in and beside the videos.
        split: 1, 2 or 3.
        decode: Open every clip, to find broken ones.
        fetch: Say what to fetch from where.
    """
    _prepare("hmdb51", videos, to, lists=lists, split=split, decode=decode, fetch=fetch)


@prepare.command
def kinetics400(
    videos: str, *, to: Text, lists: Text | None = None, decode: bool = False, fetch: Fetch = False
) -> None:
    """Lists of Kinetics-400; clips that are gone from their home are noted.

    Args:
        videos: Folder of ID_START_END.mp4, flat or in any folders, or of the archives of these.
        to: Folder for the lists and the data.yaml.
        lists: Folder of train.csv and val.csv; by default looked for in and beside the videos.
        decode: Open every clip, to find broken ones.
        fetch: Fetch the lists and all archives of train and val (hundreds of gigabytes) into VIDEOS first; the same
            command again goes on.
    """
    _prepare("kinetics400", videos, to, lists=lists, decode=decode, fetch=fetch)


@prepare.command
def sthv2(videos: str, *, to: Text, lists: Text | None = None, decode: bool = False, fetch: Fetch = False) -> None:
    """Lists of Something-Something V2; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder of NUMBER.webm.
        to: Folder for the lists and the data.yaml.
        lists: Folder of labels.json, train.json and validation.json; by default looked for in and beside the videos.
        decode: Open every clip, to find broken ones.
        fetch: Say what to fetch from where: a person has to agree to its license.
    """
    _prepare("sthv2", videos, to, lists=lists, decode=decode, fetch=fetch)


@prepare.command
def jester(videos: str, *, to: Text, lists: Text | None = None, decode: bool = False, fetch: Fetch = False) -> None:
    """Lists of Jester; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder of the frame folders.
        to: Folder for the lists and the data.yaml.
        lists: Folder of jester-v1-train.csv and so on; by default looked for in and beside the videos.
        decode: Open every clip, to find broken ones.
        fetch: Say what to fetch from where: a person has to agree to its license.
    """
    _prepare("jester", videos, to, lists=lists, decode=decode, fetch=fetch)


@prepare.command
def folder(videos: str, *, to: Text, lists: Text | None = None, split: int = 1, decode: bool = False) -> None:
    """Lists of an own folder with split lists as UCF-101's; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder (or zip, tar) of the class folders; nothing in it is changed.
        to: Folder for the lists and the data.yaml.
        lists: Folder of trainlist01.txt, testlist01.txt, perhaps classInd.txt; by default in or beside the videos.
        split: Number of the split, from 1.
        decode: Open every clip, to find broken ones.
    """
    _prepare("folder", videos, to, lists=lists, split=split, decode=decode)


def _prepare(
    name: PrepareName,
    videos: str,
    to: str,
    *,
    lists: str | None = None,
    split: int = 1,
    decode: bool = False,
    fetch: bool = False,
) -> None:
    import clipshift

    with progress_bar("fetching and decoding" if fetch else "decoding") as progress:
        prepared = clipshift.prepare_data(
            name, videos, to, lists=lists, split=split, decode=decode, fetch=fetch, progress=progress
        )
    for line in prepared.lines():
        say(line)
    sys.exit(0 if prepared.ok else 1)


def main() -> NoReturn:
    """Run the command line; user errors end in a few lines, bugs keep their traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    prepare_streams()
    code: int | str | None = 0
    try:
        try:
            app(_with_standard_input(sys.argv[1:]))
        except SystemExit as end:
            code = end.code
        flush_stdout()
    except BrokenPipeError:
        code = 0  # the reader of a pipe went away (`| head`): what is left is not wanted
    except (UserError, ModuleNotFoundError, OSError) as error:
        known = _known(error)
        if known is None:
            raise
        if _speaks():
            complain(f"error: {known}")
        code = 2
    except TrainingInterrupted as interruption:
        if _speaks():
            complain(str(interruption))
        code = interruption.exit_code
    except KeyboardInterrupt:
        code = 130
    _end_output()
    sys.exit(code)


def _known(error: Exception) -> UserError | None:
    """What an error means to a user; None for a bug."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return MissingDependencyError.of(error)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return UserError("A name is longer than the system allows.", got=error.filename)
    return None


def _end_output() -> None:
    """Write what is left, and see to it that the end of Python does not complain where that failed."""
    try:
        flush_stdout()
    except (OutputError, BrokenPipeError):
        give_up_stdout()


_STANDARD_INPUT = "\0standard input"
"""In place of an input `-`, which cyclopts takes for an option without a name."""


def _with_standard_input(words: list[str]) -> list[str]:
    """The words of a command with `-` as an input in a form that is not taken for an option.

    After an option that takes a value (`--json -`), `-` is that value.
    """
    return [
        _STANDARD_INPUT if word == "-" and (number == 0 or not words[number - 1].startswith("--")) else word
        for number, word in enumerate(words)
    ]


def _speaks() -> bool:
    return os.environ.get("RANK", "0") == "0"
