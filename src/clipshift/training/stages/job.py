"""What the stages of a training hand on: what was asked for, and the training in progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipshift._version import __version__
from clipshift.config import Config, ModelSpec, Resolved
from clipshift.datasets import DataSet
from clipshift.training.bad_samples import BadSamples
from clipshift.training.checkpoint import save_checkpoint
from clipshift.training.distributed import Ranks
from clipshift.training.loader import TrainingLoader
from clipshift.training.loop import Trainer
from clipshift.training.old_model import OldModel
from clipshift.training.reporting import Reporter


@dataclass(frozen=True)
class Job:
    """What is to be trained, on what, where: all that is decided before a network is built.

    Attributes:
        folder: The run folder, which is this process's.
        resolved: Settings, and where each comes from.
        weights: File or folder that the network starts from; None for timm's weights, or none.
        dataset: Training and validation clips.
        ranks: This process's place among those that train together.
        reporter: Speaks to the user.
        command: The command line that starts this training, and goes on with it.
        old: The model that classes are added to; None for any other training.
    """

    folder: Path
    resolved: Resolved
    weights: Path | None
    dataset: DataSet
    ranks: Ranks
    reporter: Reporter
    command: str
    old: OldModel | None = None

    @property
    def config(self) -> Config:
        """The settings alone."""
        return self.resolved.config

    @property
    def checkpoints(self) -> Path:
        """Their folder; missing before the first."""
        return self.folder / "checkpoints"

    @property
    def spec(self) -> ModelSpec:
        """What the network is, apart from where it comes from."""
        return ModelSpec(
            clipshift=__version__,
            model=self.config.model,
            input=self.config.input,
            reading=self.config.data.reading,
            classes=self.dataset.classes,
            labels="several" if self.config.train.multi_label else "one",
        )


@dataclass
class Run:
    """A training in progress.

    Attributes:
        job: What was asked for.
        identity: What makes this run this run; see `run_folder.run_identity`.
        trainer: The network, what trains it, and where it stands.
        loader: Gives the training batches.
        bad: The training clips that could not be read.
        advised: Whether the user was told what would shorten the wait for clips.
    """

    job: Job
    identity: dict[str, Any]
    trainer: Trainer
    loader: TrainingLoader
    bad: BadSamples
    advised: bool = False

    def save_checkpoint(self) -> None:
        """Write where the training stands, on the first rank; the others wait for it."""
        job, trainer = self.job, self.trainer
        job.ranks.on_rank_zero(
            lambda: str(save_checkpoint(job.checkpoints, trainer.tensors(), trainer.progress, self.identity))
        )

    def complete(self) -> bool:
        """Whether all epochs are done, or the metric stopped improving."""
        progress, train = self.trainer.progress, self.job.config.train
        if progress.epoch >= train.epochs:
            return True
        return bool(train.patience) and (
            progress.best_epoch is not None and progress.epoch - progress.best_epoch > train.patience
        )
