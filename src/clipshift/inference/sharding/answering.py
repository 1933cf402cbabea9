"""Answering a shard: on from where an earlier process stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clipshift._version import __version__
from clipshift.config import Crops, EvaluateConfig
from clipshift.datasets.clip import plural
from clipshift.errors import ConfigError, DataError, OutputError
from clipshift.files import open_text, printable, sync
from clipshift.inference.embedding import embedding_width
from clipshift.inference.reference import resolve_model
from clipshift.inference.sharding.lines import Asked, Line, answer_lines
from clipshift.inference.sharding.manifest import VIDEOS_FILE, Manifest, agree
from clipshift.inference.sharding.on_ray import RayShares, ray_lines
from clipshift.inference.sharding.shard import Shard, parse_shard
from clipshift.inference.sharding.stored import StoredFolder
from clipshift.locks import hold
from clipshift.parallel.prefetch import pick_threads
from clipshift.remote import check_address, is_remote

if TYPE_CHECKING:
    from clipshift.inference.predictor import Model
    from clipshift.progress import Progress

_SYNC_EVERY = 256
"""Answers after which a part is brought to the disk: so many a loss of power may take, and a kill none."""


def predict_shard(  # noqa: PLR0913
    model: Model,
    *sources: str | Path,
    out: str | Path,
    shard: Shard | str = "1/1",
    crops: Crops | None = None,
    clips: int | None = None,
    batch_size: int = 1,
    embed: bool = False,
    engine: Literal["plain", "ray"] = "plain",
    ray: RayShares | None = None,
    workers: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
) -> ShardResult:
    """Answer one shard of all videos into a folder; the same call again goes on where it stopped.

    Args:
        model: Loaded from a path or name.
        sources: Videos, folders, globs and lists; the same ones for each shard.
        out: Folder that all shards share; also one in a store, s3:// or gs://, which gets whole parts.
        shard: Which part of the work this is: 3/16, or what batch systems say, as for
            [parse_shard][clipshift.inference.sharding.shard.parse_shard].
        crops: As for [predict_many][clipshift.inference.predictor.Model.predict_many].
        clips: As for `predict_many`.
        batch_size: As for `predict_many`.
        embed: Give the vector before the classifier, in place of probabilities; of a trained model.
        engine: What runs the model: this process (plain), or actors on a Ray cluster (ray): of the variable
            RAY_ADDRESS, else of this machine.
        ray: What the actors take of the cluster.
        workers: As for `predict_many`; of actors it is their cores.
        progress: Called with the answers that are there, and all of this shard.

    Raises:
        ConfigError: A value is not allowed, the model was not loaded from a file, or an address holds credentials.
        ExportError: An exported model gives no embeddings.
        MissingDependencyError: Ray is not installed.
        DataError: The folder has answers of another model, of other videos or of another number of shards, or what it
            holds is damaged.
        OutputError: The folder cannot be written.
        DownloadError: A store does not answer, or does not take the credentials.
    """
    part = shard if isinstance(shard, Shard) else parse_shard(shard)
    stored = StoredFolder.of(str(out)) if is_remote(str(out)) else None
    folder, views = Path(out) if stored is None else stored.folder, model.views(crops, clips, batch_size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wanted = _wanted(model, sources, part, views, embed=embed)
        with nullcontext() if stored is None else stored.agreeing():
            manifest = agree(folder, wanted, sources)
        if stored is not None:
            manifest = agree(folder, wanted, sources)  # another machine may have been quicker
        with hold(folder / f".{part.file_name}.lock", doing="answers this shard", error=DataError, where=folder):
            rows = len(part.rows(manifest.videos))
            if stored is not None and stored.has(part.file_name):
                return ShardResult(stored.address, part, rows, rows, 0)
            asked = Asked(views, bool(manifest.embedding), pick_threads(workers))
            shares = (ray or RayShares()) if engine == "ray" else None
            result = _answer(folder, manifest, part, partial(_lines, model, asked, shares), progress)
            if stored is None:
                return result
            stored.put(folder / part.file_name, part.file_name)
            return replace(result, folder=stored.address)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError.of(error, str(folder)) from error


@dataclass(frozen=True)
class ShardResult:
    """What a call answered.

    Attributes:
        folder: Of the answers, or its address.
        shard: Which one it was.
        before: Answers that were there already.
        answers: All of the shard.
        failed: Of those that this call answered, the videos that could not be read.
    """

    folder: Path | str
    shard: Shard
    before: int
    answers: int
    failed: int

    def to_text(self) -> str:
        """One line, and what to do next."""
        part = f"shard {self.shard.number} of {self.shard.count}: " if self.shard.count > 1 else ""
        again = f" ({self.before} were there)" if self.before else ""
        failed = f"; {plural(self.failed, 'video')} could not be read" if self.failed else ""
        return f"{part}{plural(self.answers, 'answer')}{again}{failed}\nclipshift merge {printable(str(self.folder))}"


def _wanted(
    model: Model, sources: Sequence[str | Path], part: Shard, views: EvaluateConfig, *, embed: bool
) -> Manifest:
    """What this process would write down, but for the videos."""
    if model.opening is None:
        raise ConfigError("Shards know a model by its file.", where="model", remedy="load it from a path or a name")
    if not sources:
        raise ConfigError("Nothing was named to predict.", allowed="videos, folders, globs and lists")
    for source in map(str, sources):
        if is_remote(source):
            check_address(source)
    return Manifest(
        clipshift=__version__,
        model=resolve_model(model.opening.model).identity()["sha256"],
        classes=model.classes,
        sources=tuple(printable(str(source)) for source in sources),
        views=views.model_dump(include={"crops", "clips"}),
        reading=model.spec.reading,
        shards=part.count,
        videos=0,
        videos_sha256="",
        embedding=embedding_width(model) if embed else 0,
    )


_Answering = Callable[[Path, range], Iterator[Line]]
"""From the list of videos, and which of its lines, to answers."""


def _lines(model: Model, asked: Asked, shares: RayShares | None, videos: Path, rows: range) -> Iterator[Line]:
    if shares is not None:
        return ray_lines(model, videos, rows, asked, shares)
    return answer_lines(model, videos, rows.start, rows.stop, asked)


def _answer(
    folder: Path, manifest: Manifest, part: Shard, answering: _Answering, progress: Progress | None
) -> ShardResult:
    """Answer what is missing of a shard, and give its part its name."""
    numbers = part.rows(manifest.videos)
    expected = len(numbers)
    final = folder / part.file_name
    if final.exists():
        return ShardResult(folder, part, expected, expected, 0)
    unfinished = final.with_name(final.name + ".partial")
    before = done = _whole_lines(unfinished)
    failed = 0
    with open_text(unfinished, "a") as file:
        for line in answering(folder / VIDEOS_FILE, numbers[done:]):
            file.write(line.text + "\n")
            file.flush()
            done += 1
            failed += line.failed
            if done % _SYNC_EVERY == 0:
                os.fsync(file.fileno())
            if progress is not None:
                progress(done, expected)
    if done != expected:
        raise DataError("The part has not as many answers as the shard has videos.", where=unfinished, got=done)
    sync(unfinished)
    unfinished.replace(final)
    sync(folder)
    return ShardResult(folder, part, before, done, failed)


def _whole_lines(path: Path) -> int:
    """How many answers a part has; a last line that is not whole, of a process that was killed, is cut off."""
    if not path.exists():
        return 0
    lines = end = position = 0
    with path.open("r+b") as file:
        while chunk := file.read(1 << 22):
            lines += chunk.count(b"\n")
            if (last := chunk.rfind(b"\n")) >= 0:
                end = position + last + 1
            position += len(chunk)
        if end != position:
            file.truncate(end)
    return lines
