"""Answering a shard on a Ray cluster: actors that hold the model take stretches of the list of videos.

A row of the data set that Ray sees is a stretch: where it begins in the list, and how many videos it has. So what Ray
holds does not grow with the names of the videos, and an actor that is killed costs its stretches, which another one
computes again. What comes back is a row a video, in the order of the list, and goes into the same part file as
without Ray. (Ray's own `read_videos` makes a row of every frame, of which there are far too many.)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipshift.errors import ConfigError, MissingDependencyError, UserError
from clipshift.inference.sharding.lines import Asked, Line, answer_lines

if TYPE_CHECKING:
    from clipshift.inference.predictor import Model

_SMALLEST_STRETCH, _USUAL_STRETCH, _LARGEST_STRETCH = 4, 64, 512
"""Videos. A stretch costs Ray some milliseconds; and one that is lost with its actor is computed again."""
_OF_AN_ACTOR = 8
"""Stretches, at least, so that all actors end at about the same time."""
_MOST_STRETCHES = 20_000
"""Unless they would be larger than the largest: the driver holds all of them."""


@dataclass(frozen=True)
class RayShares:
    """What the actors take of a cluster.

    Attributes:
        actors: How many there are; 0: as many as the cluster has room for.
        cpus: Cores of each; so many threads it has.
        gpus: GPUs of each, such as 0.25.
    """

    actors: int = 0
    cpus: float = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        if self.actors < 0 or not 0 < self.cpus <= 1024 or not 0 <= self.gpus <= 64:
            raise ConfigError(
                "There are no such actors.",
                where="ray",
                got=f"{self.actors} actors of {self.cpus:g} cores and {self.gpus:g} GPUs",
                allowed="0 or more actors; more than 0 cores; 0 or more GPUs",
            )


def ray_lines(model: Model, videos: Path, rows: range, asked: Asked, shares: RayShares) -> Iterator[Line]:
    """The answers for some lines of the list of videos, in their order, by actors on a cluster.

    The cluster is the one that the variable `RAY_ADDRESS` names, else one that is started on this machine and ends with
    the iteration. All its machines must see the list and the model at the same paths.

    Args:
        model: Loaded from a file, which each actor opens.
        videos: The list.
        rows: Which of its lines.
        asked: What is asked of each; the threads are those of the shares.
        shares: What the actors take of the cluster.

    Raises:
        ConfigError: The cluster has no room for an actor.
        MissingDependencyError: Ray is not installed.
        UserError: As the actors meet it.
    """
    if not rows:
        return
    threads = max(1, int(shares.cpus))
    if model.opening is not None:
        model = replace(model, opening=replace(model.opening, threads=threads))
    ray = _ray()
    own = not ray.is_initialized()
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        _start(ray)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        for name in ("ray.data", "ray.data._internal.execution.streaming_executor"):
            logging.getLogger(name).setLevel(logging.WARNING)
        actors = shares.actors or _room(ray, shares)
        stretches = list(_stretches(videos, rows, _size_of_stretch(len(rows), actors)))
        answers = ray.data.from_items(stretches, override_num_blocks=len(stretches)).map_batches(
            _Actor,
            fn_constructor_args=(model, str(videos), replace(asked, workers=threads)),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=shares.cpus,
            num_gpus=shares.gpus,
        )
        for batch in answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            for text, failed in zip(batch["text"].to_pylist(), batch["failed"].to_pylist(), strict=True):
                yield Line(text, failed)
    except Exception as error:
        raise _of_user(error) or error from error
    finally:
        if own:
            ray.shutdown()


class _Actor:
    """One of those that hold the model."""

    def __init__(self, model: Model, videos: str, asked: Asked) -> None:
        self._model, self._videos, self._asked = model, Path(videos), asked

    def __call__(self, stretches: dict[str, Any]) -> dict[str, Any]:
        lines = [
            line
            for offset, count in zip(stretches["offset"], stretches["videos"], strict=True)
            for line in answer_lines(self._model, self._videos, 0, int(count), self._asked, int(offset))
        ]
        return {"text": [line.text for line in lines], "failed": [line.failed for line in lines]}


def _size_of_stretch(videos: int, actors: int) -> int:
    """How many videos an actor gets at once."""
    usual = min(_USUAL_STRETCH, videos // (actors * _OF_AN_ACTOR))
    return min(max(_SMALLEST_STRETCH, usual, videos // _MOST_STRETCHES), _LARGEST_STRETCH)


def _stretches(videos: Path, rows: range, size: int) -> Iterator[dict[str, int]]:
    """Where in the list each stretch begins, in bytes, and how many videos it has."""
    position = 0
    with videos.open("rb") as file:
        for number, line in enumerate(file):
            if number in rows and (number - rows.start) % size == 0:
                yield {"offset": position, "videos": min(size, rows.stop - number)}
            position += len(line)


def _start(ray: Any) -> None:  # noqa: ANN401 - Ray's module
    """Connect to the cluster that the environment names, or start one."""
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        raise ConfigError(
            "There is no connection to the Ray cluster.",
            where="RAY_ADDRESS",
            got=f"{os.environ.get('RAY_ADDRESS', 'not set')}: {str(error).strip().partition(chr(10))[0]}",
            remedy="name the address of a cluster that runs, with the same versions of Ray and Python",
        ) from error


def _room(ray: Any, shares: RayShares) -> int:  # noqa: ANN401 - Ray's module
    """How many actors the cluster has room for."""
    there = ray.cluster_resources()
    room = int(there.get("CPU", 0) / shares.cpus)
    if shares.gpus:
        room = min(room, int(there.get("GPU", 0) / shares.gpus))
    if room < 1:
        raise ConfigError(
            "The cluster has no room for an actor.",
            where="ray",
            got=f"{shares.cpus:g} cores and {shares.gpus:g} GPUs for each",
            allowed=f"{there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} GPUs in all",
        )
    return room


def _ray() -> Any:  # noqa: ANN401 - Ray's module
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise MissingDependencyError.of(error) or error from error
    return ray


def _of_user(error: BaseException | None) -> UserError | None:
    """The user's error that an actor met, somewhere behind what Ray made of it."""
    while error is not None:
        if isinstance(error, UserError):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None
