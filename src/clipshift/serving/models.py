"""The models that a server answers with: by name, each with what its requests need, replaced as a whole."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clipshift.config import EvaluateConfig
from clipshift.config.model_spec import MODEL_FOLDER
from clipshift.datasets.clip import Clip
from clipshift.errors import ConfigError, UserError
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.predictor import Model, load
from clipshift.inference.reference import resolve_model
from clipshift.inference.scorer import ScoredClip
from clipshift.inference.video_scores import check_way
from clipshift.parallel.prefetch import available_cores
from clipshift.serving.batching import Batcher
from clipshift.serving.decoded import Wish
from clipshift.serving.limits import ServerLimits

if TYPE_CHECKING:
    from clipshift.device import Amp

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class EngineSettings:
    """How networks are run.

    Attributes:
        device: As of [load][clipshift.inference.predictor.load].
        amp: The same.
        threads: Clips that networks work on side by side, each in a thread of its own; 0: one a core.
        batch_size: Clips that may share a forward pass.
        batch_seconds: How long the first of them waits for others.
    """

    device: str = "auto"
    amp: Amp = "fp32"
    threads: int = 0
    batch_size: int = 1
    batch_seconds: float = 0.005

    @property
    def thread_count(self) -> int:
        """The number of threads that `threads` means."""
        return self.threads or available_cores()


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model and what goes with it; a request keeps the one that it began with.

    Attributes:
        name: In addresses.
        source: What was named.
        sha256: Of its weights.
        model: The model, with the server's limits of reading.
        protocol: Its views.
        wish: What decoders are asked for.
        batcher: Runs it.
        loaded: When, in seconds since 1970.
        alone: The same for a clip that has the server for itself: all cores work on it, and the bits are the same. None
            where that is not so.
    """

    name: str
    source: str
    sha256: str
    model: Model
    protocol: EvaluateConfig
    wish: Wish
    batcher: Batcher
    loaded: float
    alone: Model | None = None

    async def score(self, clip: Clip, *, alone: bool) -> ScoredClip:
        """Score one clip; an error of the engine comes out here.

        Args:
            clip: Decoded.
            alone: Nobody else wants anything of the server.
        """
        model = self.alone
        if not alone or model is None:
            return await self.batcher.score(clip)
        return await self.batcher.run(lambda: _score(model, self.protocol, [clip])[0])

    @property
    def causal(self) -> bool:
        """Whether it takes one frame after the other."""
        try:
            check_way(self.model, window=False)
        except UserError:
            return False
        return True

    def to_json(self) -> dict[str, Any]:
        """What clients may know."""
        spec = self.model.spec
        return {
            "name": self.name,
            "sha256": self.sha256,
            "engine": self.model.engine,
            "frames": spec.input.segments,
            "labels": spec.labels,
            "classes": list(spec.classes),
            "rate": spec.input.rate,
            "causal": self.causal,
        }


def parse_names(models: Sequence[str | Path]) -> dict[str, str]:
    """The models by their names: `NAME=MODEL`, or the last part of the path.

    Raises:
        ConfigError: There is none, a name stands twice, or is not fit for an address.
    """
    named: dict[str, str] = {}
    for each in map(str, models):
        name, sign, source = each.partition("=")
        if not sign or not _NAME.fullmatch(name) or Path(each).exists():
            name, source = _own_name(each), each
        if not _NAME.fullmatch(name):
            raise ConfigError(
                "The name of the model is not fit for an address.",
                where=each,
                got=name,
                allowed="letters of English, digits, '.', '_' and '-'",
                remedy=f"write NAME={each}",
            )
        if name in named:
            raise ConfigError(
                "Two models have the same name.", where=each, got=name, remedy=f"write another one: NAME={each}"
            )
        named[name] = source
    if not named:
        raise ConfigError("Nothing was named to serve.", allowed="models: folders, files or names")
    return named


def _own_name(source: str) -> str:
    path = Path(source)
    if path.is_file() or path.name == MODEL_FOLDER:
        path = path.absolute().parent
    return path.absolute().name if path.exists() else path.name


class Models:
    """All models of a server.

    Args:
        named: What to load, by name.
        engine: How networks are run.
        limits: Of reading clips.
        threads: Where networks are run.

    Raises:
        UserError: One cannot be loaded.
    """

    def __init__(
        self, named: dict[str, str], engine: EngineSettings, limits: ServerLimits, threads: ThreadPoolExecutor
    ) -> None:
        self._named = named
        self._engine = engine
        self._limits = limits
        self._threads = threads
        self._models = {name: self._open(name) for name in named}

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Any:  # noqa: ANN401 - an iterator over models
        return iter(list(self._models.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._models

    def reload(self, name: str) -> ServedModel:
        """Open a model anew, as it lies there now, and put it in the place of the old one, once it has answered.

        Requests that have begun end with the old one. Blocks.

        Raises:
            UserError: It cannot be opened; the old one stays.
        """
        served = self._open(name)
        self._models[name] = served
        return served

    def _open(self, name: str) -> ServedModel:
        source, engine = self._named[name], self._engine
        reference = resolve_model(source)
        model = self._load(source, "throughput")
        alone = self._load(source, "latency") if _same_bits_by_all_cores(model, engine) else None
        spec, protocol = model.spec, model.views(batch_size=engine.batch_size)
        for each in filter(None, (model, alone)):
            each.scorer.one_set(np.zeros((spec.input.segments, spec.side, spec.side, 3), dtype=np.uint8))
        batcher = Batcher(
            partial(_score, model, protocol),
            places=_places(model, engine),
            size=engine.batch_size,
            seconds=engine.batch_seconds,
            threads=self._threads,
        )
        wish = Wish.of(spec, protocol.clips, self._limits.frame_bytes)
        sha256 = reference.identity()["sha256"]
        return ServedModel(name, source, sha256, model, protocol, wish, batcher, time.time(), alone)

    def _load(self, source: str, mode: Literal["latency", "throughput"]) -> Model:
        engine = self._engine
        model = load(source, device=engine.device, amp=engine.amp, threads=engine.thread_count, mode=mode)
        spec = model.spec.model_copy(update={"reading": self._limits.reading(model.spec.reading)})
        return Model(model.scorer.with_spec(spec))


def _score(model: Model, protocol: EvaluateConfig, clips: Sequence[Clip]) -> list[ScoredClip]:
    return list(model.scorer.stream(clips, protocol, workers=0))


def _same_bits_by_all_cores(model: Model, engine: EngineSettings) -> bool:
    """Whether it is an ONNX file on a CPU: ONNX Runtime divides what it computes, and no sum, among threads.

    Batches are left alone: who asks for them has many clients.
    """
    if not isinstance(model.scorer, ExportScorer) or model.scorer.export.target != "onnx" or engine.batch_size > 1:
        return False
    return model.scorer.session.concurrency > 1


def _places(model: Model, engine: EngineSettings) -> int:
    """How many forward passes go side by side."""
    if isinstance(model.scorer, ExportScorer):
        return model.scorer.session.concurrency
    return engine.thread_count if str(getattr(model.scorer, "device", "cpu")) == "cpu" else 1
