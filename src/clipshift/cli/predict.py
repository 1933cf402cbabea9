"""`clipshift predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from clipshift.cli.arguments import STANDARD_INPUT, Amp, Count, Crops, Text, Threads, names_and_settings
from clipshift.console import complain, progress_bar, say
from clipshift.errors import UserError
from clipshift.files import check_replaceable

if TYPE_CHECKING:
    from clipshift.inference.predictions import Embedding, Failure, Prediction


def predict(  # noqa: PLR0913
    model: str,
    *sources: str,
    json_file: Annotated[Text | None, Parameter(name="--json")] = None,
    out: Text | None = None,
    shard: Text | None = None,
    embed: bool = False,
    engine: Literal["plain", "ray"] = "plain",
    ray_actors: int = 0,
    ray_cpus: float = 1,
    ray_gpus: float = 0,
    top: Count = 5,
    crops: Crops | None = None,
    clips: int | None = None,
    coverage: float | None = None,
    tracks: Text | None = None,
    batch_size: int = 1,
    device: Text = "auto",
    amp: Amp = "fp32",
    threads: Threads = 0,
    mode: Literal["auto", "latency", "throughput"] = "auto",
) -> None:
    """Classify videos; exit code 1 if one could not be read, or a source is not there.

    Args:
        model: Run folder, model folder, exported model, published weights by name, or hf://OWNER/NAME.
        sources: Videos, folders, globs and lists; '-' for standard input, with a path a line; and settings
            data.KEY=VALUE of reading them: frame_pattern, max_pixels, max_frames, max_seconds, track_seconds,
            track_margin; by default those of the model's training.
        json_file: File for one JSON line per video; '-' for standard output.
        out: Folder for the answers, in place of text, also s3:// or gs://; the same command again goes on where it
            stopped, and 'clipshift merge' makes one file of them.
        shard: With --out, which part of the work this is: 3/16, auto in a Slurm array, or auto/16 in an indexed job of
            Kubernetes, too.
        embed: Give the vector before the classifier, in place of probabilities; of a trained model.
        engine: With --out, what runs the model: this process (plain), or actors on a Ray cluster (ray): of the variable
            RAY_ADDRESS, else of this machine.
        ray_actors: How many actors there are; 0: as many as the cluster has room for.
        ray_cpus: Cores of each actor; so many threads it has.
        ray_gpus: GPUs of each actor, such as 0.25.
        top: Classes to show.
        crops: Crops per frame: center, three, three_small or ten; by default the model's own.
        clips: Sets of frames per video; by default the model's own.
        coverage: Also give the set of classes that holds the right one at this rate, such as 0.9; of a calibrated
            model.
        tracks: CSV of boxes over time, path, track, time, x, y, w, h: an answer for each track and stretch of it in
            the videos, or, where none is named, in all that it names.
        batch_size: Views per forward pass.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        threads: Of the network on the CPU; 0: one a core.
        mode: Of an exported model: latency (all threads on one answer), throughput (each on one of its own), or auto:
            latency for one video, throughput for more.
    """
    import clipshift
    from clipshift.inference.predictor import pick_mode
    from clipshift.inference.writing import MARKS, write_predictions

    names, settings = names_and_settings(sources)
    if not names and tracks is None:
        raise UserError("Nothing was named to predict.", allowed="videos, folders, globs and lists")
    _check_together(
        json_file=json_file, out=out, shard=shard, embed=embed, engine=engine, coverage=coverage, tracks=tracks
    )
    names = ["-" if name == STANDARD_INPUT else name for name in names]
    if json_file not in (None, "-"):
        check_replaceable(json_file, inputs=[model, *names, *([] if tracks is None else [tracks])], marks=MARKS)
    chosen = (pick_mode(names) if out is None and tracks is None else "throughput") if mode == "auto" else mode
    with progress_bar("fetching") as progress:
        loaded = clipshift.load(
            model, device=device, amp=amp, threads=threads, mode=chosen, settings=settings, progress=progress
        )
    if out is not None:
        with progress_bar("predicting") as progress:
            result = clipshift.predict_shard(
                loaded,
                *names,
                out=out,
                shard=shard or "1/1",
                crops=crops,
                clips=clips,
                batch_size=batch_size,
                embed=embed,
                engine=engine,
                ray=clipshift.RayShares(ray_actors, ray_cpus, ray_gpus),
                progress=progress,
            )
        say(result.to_text())
        failed = result.failed
    else:
        answers: Iterable[Prediction | Embedding | Failure]
        if embed:
            answers = clipshift.embed(loaded, *names, crops=crops, clips=clips, batch_size=batch_size)
        else:
            answers = clipshift.predict(
                loaded, *names, crops=crops, clips=clips, batch_size=batch_size, coverage=coverage, tracks=tracks
            )
        failed = write_predictions(answers, json_file, top=top, say=say)
    if failed:
        complain(f"{failed} of the videos could not be read.")
        sys.exit(1)


def _check_together(
    *,
    json_file: str | None,
    out: str | None,
    shard: str | None,
    embed: bool,
    engine: Literal["plain", "ray"],
    coverage: float | None,
    tracks: str | None,
) -> None:
    """Raise a UserError for options that make no sense together."""
    if out is not None and json_file is not None:
        raise UserError("Answers go into a folder, or into a file.", got="--out and --json", allowed="one of them")
    if out is not None and coverage is not None:
        raise UserError("Folders of answers hold probabilities, no sets.", got="--out and --coverage", remedy="--json")
    if shard is not None and out is None:
        raise UserError("Shards share a folder for their answers.", where="--shard", remedy="add --out FOLDER")
    if engine == "ray" and out is None:
        raise UserError("Answers of a Ray cluster go into a folder.", where="--engine", remedy="add --out FOLDER")
    if embed and coverage is not None:
        raise UserError("An embedding has no set of classes.", got="--embed and --coverage", allowed="one of them")
    if tracks is not None and (out is not None or embed):
        raise UserError(
            "A folder of answers, or embeddings, of tracks are those of all videos that the list names.",
            got="--tracks, and --out or --embed",
            remedy="name the list of tracks where videos are named",
        )
