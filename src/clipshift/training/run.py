"""`clipshift.train`: from a folder of labeled clips to a trained, measured and explained classifier."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipshift._version import __version__
from clipshift.config import Config, ModelSpec, Resolved, Settings, flatten, resolve
from clipshift.config.recipes import DEFAULT_RECIPE
from clipshift.config.text import yaml_value
from clipshift.datasets import ClipRecord, DataSet, read_dataset, write_data_jsonl
from clipshift.datasets.checksums import describe_aspects
from clipshift.datasets.clip import some
from clipshift.device import check_amp
from clipshift.errors import ConfigError, DataError, RunError, TrainingInterrupted
from clipshift.evaluation import Evaluation, evaluate_manifest
from clipshift.evaluation.calibrating import calibrate_run, say_calibration
from clipshift.evaluation.report.page import write_report
from clipshift.files import printable
from clipshift.inference.network_scorer import NetworkScorer, evaluating
from clipshift.models.bundle import MODEL_FOLDER, save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.parallel.spawning import end_if_run_again
from clipshift.training.bad_samples import BadSamples
from clipshift.training.checkpoint import load_checkpoint, newest_checkpoint_name, save_checkpoint
from clipshift.training.distill import (
    LiveTeachers,
    Partner,
    StoredTeachers,
    TrainedTeacher,
    agreement,
    find_partner,
    load_teachers,
    store_logits,
)
from clipshift.training.distributed import Ranks, join_ranks
from clipshift.training.interrupt import StopRequest, stop_on_signals
from clipshift.training.loader import Batch, TrainingLoader, training_loader, worker_count
from clipshift.training.loop import StopAsked, Trainer, train_epoch
from clipshift.training.losses import inverse_frequency
from clipshift.training.objectives import (
    LabelLoss,
    LearnFromTeachers,
    LearnLabels,
    LearnMutually,
    Objective,
    Teachers,
    on_device,
)
from clipshift.training.reporting import Meter, Reporter, duration, truncate_metrics, waiting_advice
from clipshift.training.run_folder import (
    BAD_SAMPLES,
    RunFolder,
    check_same_run,
    describe_run,
    file_or_folder_hash,
    mark_finished,
    run_identity,
)
from clipshift.training.samples import BadSample, TrainingClips, mirror_partners
from clipshift.training.start import follow_weights, starting_network, starting_weights
from clipshift.weights.resolve import find_model


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves behind.

    Attributes:
        run: The run folder: settings, log, metrics, plots, `report.html` and the model.
        evaluation: The kept network on the validation clips.
        best_epoch: The epoch it is from, counted from 1.
        epochs: Epochs trained.
    """

    run: Path
    evaluation: Evaluation
    best_epoch: int
    epochs: int


def train(
    data: str | Path,
    *settings: Settings,
    out: str | Path | None = None,
    recipe: str | Path | None = None,
    config: str | Path | None = None,
    weights: str | Path | None = None,
    amp: str | None = None,
    overwrite: bool = False,
) -> TrainResult:
    """Train a classifier, or go on with a training that was interrupted.

    The same call on a folder that holds an unfinished run of the same settings and data goes on from its newest
    checkpoint, to the same bits as if it had never stopped. Under `torchrun` all processes train together.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        *settings: `"key=value"`, or mappings; see `clipshift config`.
        out: Run folder; by default runs/DATA-RECIPE.
        recipe: A name from `clipshift models`, or a YAML file; by default finetune.
        config: YAML file with settings. They come after the recipe's and before `settings`.
        weights: Start from a run folder, a model folder, a file of weights, or published weights by name. A TSM takes
            over their shift, unless settings say otherwise.
        amp: Precision: fp32, bf16 or fp16. Short for the setting `train.amp`.
        overwrite: Replace the run that the run folder holds.

    Returns:
        The run folder and its best network's evaluation.

    Raises:
        ConfigError: The settings are not valid.
        DataError: The data cannot be trained on.
        WeightsError: The weights do not fit.
        RunError: Another process trains in the run folder, it holds something else, or it cannot be written.
        DivergedError: The loss or a gradient became infinite or not a number.
        TrainingInterrupted: SIGTERM or Ctrl-C came; everything is kept.
    """
    end_if_run_again()
    recipe = recipe or DEFAULT_RECIPE
    extra = {"--amp": {"train.amp": amp}} if amp else {}
    resolved = resolve(recipe, file=config, settings=settings, extra=extra)
    start = starting_weights(resolved.config.model, weights)
    resolved = follow_weights(resolved, start)
    run = Path(out) if out else Path("runs") / f"{Path(data).resolve().stem}-{Path(recipe).stem}"
    command = _command(data, settings, out=out, recipe=recipe, config=config, weights=weights, amp=amp)
    with join_ranks(resolved.config.train.device) as ranks, stop_on_signals() as stop, RunFolder(run) as held:
        ranks.on_rank_zero(held.look)
        check_amp(ranks.device, resolved.config.train.amp, "train.amp")
        if resolved.config.train.threads:
            torch.set_num_threads(resolved.config.train.threads)
        _check_labels(resolved.config)
        dataset = read_dataset(data, resolved.config.data, several=resolved.config.train.multi_label)
        _check_metric(resolved.config, len(dataset.classes))
        _check_classes(resolved.config, dataset.classes)
        others = _find_others(resolved.config, dataset.classes)
        ranks.on_rank_zero(lambda: held.claim(overwrite=overwrite))
        reporter = Reporter(run, speaks=ranks.first)
        with reporter.logging_to_file():
            prepared = _prepare(dataset, resolved, run, start, others, ranks, reporter, command)
            try:
                _fit(prepared, stop)
            except StopAsked:
                checkpoint = newest_checkpoint_name(run / "checkpoints")
                where = str(run / "checkpoints" / checkpoint) if checkpoint else None
                raise TrainingInterrupted(stop.exit_code or 75, where, command) from None
            return _finish(prepared)


@dataclass
class _Run:
    """Everything that a training in progress holds on to."""

    folder: Path
    config: Config
    dataset: DataSet
    identity: dict[str, Any]
    ranks: Ranks
    reporter: Reporter
    trainer: Trainer
    loader: TrainingLoader
    bad: BadSamples
    command: str
    advised: bool = False

    @property
    def checkpoints(self) -> Path:
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

    def save_checkpoint(self) -> None:
        """Write where the training stands, on the first rank; the others wait for it."""
        trainer = self.trainer
        self.ranks.on_rank_zero(
            lambda: str(save_checkpoint(self.checkpoints, trainer.tensors(), trainer.progress, self.identity))
        )


@dataclass(frozen=True)
class _Others:
    """The networks that a run learns from: at most one of the two kinds."""

    partner: Partner | None
    trained: list[TrainedTeacher]


def _find_others(config: Config, classes: Sequence[str]) -> _Others:
    """Before the run folder is claimed: with `overwrite`, a misspelt teacher would cost the run that lies there."""
    partner = find_partner(config) if config.distill.method == "mutual" else None
    return _Others(partner, load_teachers(config, classes) if config.distill.method == "teacher" else [])


def _prepare(
    dataset: DataSet,
    resolved: Resolved,
    folder: Path,
    weights: Path | None,
    others: _Others,
    ranks: Ranks,
    reporter: Reporter,
    command: str,
) -> _Run:
    """Build the network, and go back to the newest checkpoint if there is one."""
    config, partner = resolved.config, others.partner
    known = ranks.on_rank_zero(lambda: _fingerprints(dataset, folder, config, reporter))
    origin = f"{weights.name} {file_or_folder_hash(weights)}" if weights else None
    identity = run_identity(config, dataset, {clip.path: clip.sha256 for clip in known}, origin, ranks.count)
    if config.distill.method != "none":
        identity["teachers"] = _teachers_identity(config, partner)
    ranks.on_rank_zero(lambda: check_same_run(folder, identity))
    _say_data(dataset, reporter)
    if any(source.startswith("weights ") for source in resolved.origin.values()):
        reporter.say(f"The temporal shift is that of the weights: {config.model.shift}.")
    _check_validation(known, dataset)
    bad = BadSamples(folder / BAD_SAMPLES, len(dataset.train), config.data.max_bad)
    bad.restore()
    unreadable = [clip for clip in known if clip.error is not None and clip.split == "train"]
    ranks.on_rank_zero(lambda: bad.add(BadSample(clip.name, clip.path, clip.error or "", None) for clip in unreadable))

    # Read by one and given to all: on several machines the others may not see its disk.
    found = ranks.on_rank_zero(lambda: load_checkpoint(folder / "checkpoints"))
    network = starting_network(dataset, config, weights if found is None else None, found is not None, ranks, reporter)
    if ranks.first:
        describe_run(folder, resolved, identity, command)
    clips = TrainingClips(dataset.train, config)
    loader = training_loader(
        clips,
        batch_size=config.train.batch_size,
        workers=worker_count(config.data.workers, ranks=ranks.count_here),
        rank=ranks.rank,
        ranks=ranks.count,
        pin_memory=ranks.device.type == "cuda",
        epochs=config.train.epochs,
    )
    trainer = Trainer(
        network,
        config,
        ranks,
        updates_per_epoch=-(-loader.steps // config.train.accumulate),
        objective=_objective(others, dataset, config, folder, found is not None, ranks, reporter),
    )
    if found is not None:
        tensors, progress, _, damaged = found
        for line in damaged:
            reporter.say(f"A damaged checkpoint was passed over: {line}")
        trainer.restore(tensors, progress)
        if ranks.first:
            truncate_metrics(folder / "metrics.jsonl", update=progress.update, epoch=progress.epoch)
    _say_training(trainer, reporter)
    if trainer.progress.update:
        reporter.say(_where_it_stands(trainer))
    return _Run(folder, config, dataset, identity, ranks, reporter, trainer, loader, bad, command)


def _objective(
    others: _Others, dataset: DataSet, config: Config, folder: Path, resumed: bool, ranks: Ranks, reporter: Reporter
) -> Objective:
    """What the run minimizes, with the networks that it learns from."""
    partner = None
    if others.partner is not None:
        partner = _partner_network(others.partner, dataset, resumed, ranks, reporter)
    teachers = _teachers(others.trained, dataset, config, folder, ranks, reporter) if others.trained else None
    labels = LabelLoss(config, on_device(_class_weights(config, dataset, reporter), ranks.device))
    if others.partner is not None and partner is not None:
        return LearnMutually(labels, partner, others.partner.config.optim, config)
    return LearnLabels(labels) if teachers is None else LearnFromTeachers(labels, teachers, config)


def _partner_network(partner: Partner, dataset: DataSet, resumed: bool, ranks: Ranks, reporter: Reporter) -> Recognizer:
    reporter.say(f"Mutual learning with {partner.name}: {partner.config.model.backbone}, trained along.")
    weights = None if resumed else starting_weights(partner.config.model, partner.weights)
    return starting_network(dataset, partner.config, weights, resumed, ranks, reporter)


def _class_weights(config: Config, dataset: DataSet, reporter: Reporter) -> torch.Tensor | None:
    given = config.train.class_weights
    if given == "none":
        return None
    counts = dataset.train.counts()
    if given != "auto":
        weights = torch.tensor(given)
    elif config.train.multi_label:
        # Not less than 1: a label that most clips have, or all, has to be learnt, too.
        weights = torch.tensor([max(1.0, (len(dataset.train) - count) / count) if count else 1.0 for count in counts])
    else:
        weights = inverse_frequency(counts)
    reporter.say(f"Class weights from {weights.min():.3g} to {weights.max():.3g}.")
    return weights


def _teachers(
    trained: list[TrainedTeacher], dataset: DataSet, config: Config, folder: Path, ranks: Ranks, reporter: Reporter
) -> Teachers:
    for each in trained:
        where = ", ".join(f"{key} {value}" for key, value in each.spec.provenance.items())
        reporter.say(f"Teacher {each.name}: {each.spec.model.architecture} {each.spec.model.backbone} ({where})")
    if not config.distill.stored:
        return LiveTeachers(trained, config.input, ranks.device, config.train.amp)
    teachers = StoredTeachers(store_logits(trained, dataset, config, folder, ranks, reporter), ranks.device)
    targets = teachers.probabilities(torch.arange(len(dataset.train)), config.distill.temperature)
    right = agreement(targets.cpu(), torch.tensor(dataset.train.labels()))
    reporter.say(
        f"The teachers' answers are stored: of the training clips' test views, {right:.1%} right. They do not follow "
        "the random crops and frames that the student sees."
    )
    return teachers


def _teachers_identity(config: Config, partner: Partner | None) -> list[str]:
    if partner is None:
        return [f"{name} {file_or_folder_hash(find_model(name))}" for name in config.distill.teacher]
    start = "" if partner.weights is None else f" {file_or_folder_hash(partner.weights)}"
    return [partner.identity + start]


def _fit(run: _Run, stop: StopRequest) -> None:
    """Train until all epochs are done, or the metric stopped improving."""
    trainer, train = run.trainer, run.config.train
    try:
        while trainer.progress.epoch < train.epochs and not _out_of_patience(trainer, train.patience):
            started = time.monotonic()
            meter = _train_one_epoch(run, stop)
            measured = _measure_batch_norms(run, stop)
            evaluation = _validate(run, stop)
            seconds = trainer.progress.seconds + time.monotonic() - started
            trainer.progress = replace(trainer.progress, seconds=seconds)
            _keep_if_best(run, evaluation)
            _record_epoch(run, evaluation, meter, measured)
            trainer.progress = trainer.progress.next_epoch()
            run.save_checkpoint()
    except StopAsked:
        if trainer.progress.update:
            run.save_checkpoint()
        raise
    finally:
        run.loader.close()


def _train_one_epoch(run: _Run, stop: StopRequest) -> Meter:
    progress = run.trainer.progress
    batches = run.loader.batches(progress.epoch, first_step=progress.step * run.config.train.accumulate)

    def look_at(batch: Batch) -> None:
        if progress.update == 0 and run.ranks.first and not (run.folder / "training_batch.npz").exists():
            np.savez(
                run.folder / "training_batch.npz",
                clips=batch["clips"][:4].numpy(),
                labels=_first_labels(batch["labels"][:4]),
            )
        run.bad.add(batch["bad"])

    def keep_diverged(group: list[Batch]) -> Path:
        path = run.folder / "diverged" / f"rank{run.ranks.rank}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        clips = np.concatenate([batch["clips"].numpy() for batch in group])
        labels = np.concatenate([batch["labels"].numpy() for batch in group])
        names = [run.dataset.train.clips[index].name for batch in group for index in batch["indices"].tolist()]
        np.savez(path, clips=clips, labels=labels, names=np.array(names))
        return path

    return train_epoch(
        run.trainer,
        batches,
        run.reporter,
        stop=stop,
        on_batch=look_at,
        checkpoint=run.save_checkpoint,
        keep_diverged=keep_diverged,
    )


def _first_labels(labels: torch.Tensor) -> np.ndarray:
    """(B,) int64: of clips with several labels (B, K), the first of each."""
    first: np.ndarray = (labels if labels.ndim == 1 else labels.argmax(dim=1)).numpy()
    return first


def _measure_batch_norms(run: _Run, stop: StopRequest) -> float | None:
    """Seconds that precise batch norm took; None where this epoch has none."""
    train, epoch = run.config.train, run.trainer.progress.epoch
    if not train.precise_bn or (epoch % train.precise_bn_every and epoch + 1 < train.epochs):
        return None
    started = time.monotonic()
    number = min(train.precise_bn, run.loader.steps)
    with run.reporter.phase("precise batch norm", number) as phase:

        def shown() -> Iterator[Batch]:
            # The epoch's own first batches: a continued run has the same.
            for done, batch in enumerate(islice(run.loader.batches(epoch), number), start=1):
                yield batch
                phase.advance_to(done)

        run.trainer.measure_batch_norms(shown(), stop)
    seconds = time.monotonic() - started
    run.reporter.say(f"Precise batch norm: {number} batches in {seconds:.1f} s")
    return seconds


def _validate(run: _Run, stop: StopRequest) -> Evaluation:
    config, ranks, trainer = run.config, run.ranks, run.trainer
    trainer.share_buffers()
    with run.reporter.phase("validation", -(-len(run.dataset.validation) // ranks.count)) as phase:

        def shown(done: int, _total: int) -> None:
            phase.advance_to(done)
            # Between ranks there is no agreement here: the signal goes to all of them.
            if stop.made:
                raise StopAsked

        try:
            scorer = NetworkScorer(trainer.best_network, run.spec, ranks.device, config.train.amp, as_trained=True)
            with evaluating(trainer.best_network):
                return evaluate_manifest(
                    scorer,
                    run.dataset.validation,
                    config.evaluate,
                    rank=ranks.rank,
                    ranks=ranks.count,
                    progress=shown,
                )
        except DataError:  # on every rank; once the clips can be read again, the same command goes on from here
            run.save_checkpoint()
            raise


def _keep_if_best(run: _Run, evaluation: Evaluation) -> None:
    trainer, train = run.trainer, run.config.train
    value = _metric(evaluation, train.metric)
    # Few validation clips mean many ties: the surer of two equally accurate networks is the better one.
    rank = (-value if train.metric == "loss" else value, -evaluation.metrics.loss)
    if trainer.progress.best is not None and rank <= trainer.progress.best:
        return
    trainer.progress = replace(trainer.progress, best=rank, best_epoch=trainer.progress.epoch)
    if run.ranks.first:
        provenance: dict[str, str | int | float] = {
            "data": printable(run.dataset.train.source.name),
            "split": run.dataset.split,
            "epoch": trainer.progress.epoch + 1,
            "seed": train.seed,
            train.metric: value,
        }
        if run.config.distill.method != "none":
            provenance["taught_by"] = ", ".join(run.config.distill.teacher)
            provenance["distillation"] = run.config.distill.method
        spec = run.spec.model_copy(update={"provenance": provenance})
        try:
            save_bundle(run.folder / MODEL_FOLDER, trainer.best_network, spec)
        except OSError as error:
            raise RunError("The model cannot be written.", where=run.folder / MODEL_FOLDER, got=error) from error
        evaluation.save(run.folder / "evaluation")


def _record_epoch(run: _Run, evaluation: Evaluation, meter: Meter, measured: float | None) -> None:
    trainer, metrics = run.trainer, evaluation.metrics
    progress = trainer.progress
    loss = progress.loss_sum / trainer.updates_per_epoch
    validation = {name: getattr(metrics, name) for name in ("top1", "mean_class", "loss", "calibration_error")}
    validation |= {f"top{k}": value for k, value in metrics.topk.items()}
    if metrics.mean_ap is not None:
        validation["mean_ap"] = metrics.mean_ap
    run.reporter.record(
        {
            "kind": "epoch",
            "update": progress.update,
            "epoch": progress.epoch,
            "train_loss": loss,
            "lr": trainer.learning_rate,
            "validation": validation,
            "scored": metrics.scored,
            "bad": metrics.bad,
            "total": metrics.total,
            "seconds": meter.seconds,
            "waiting": meter.waiting,
            "clips_per_second": meter.clips_per_second,
            "decoding_ms": 1000 * run.loader.cost.decoding,
            "augmenting_ms": 1000 * run.loader.cost.changing,
            **({} if measured is None else {"precise_bn_seconds": measured}),
        }
    )
    mark = "  (best so far)" if progress.best_epoch == progress.epoch else ""
    left = progress.seconds / (progress.epoch + 1) * (run.config.train.epochs - progress.epoch - 1)
    mark += f"  about {duration(left)} left" if left else ""
    bad = f", {metrics.bad} bad" if metrics.bad else ""
    run.reporter.say(
        f"epoch {progress.epoch + 1}/{run.config.train.epochs}  loss {loss:.3f}  top-1 {metrics.top1:.1%} of "
        f"{metrics.total} clips{bad}  {_second_metric(evaluation)}  {meter.clips_per_second:.1f} clips/s  "
        f"waiting {meter.waiting:.0%}  {duration(meter.seconds)}{mark}"
    )
    _advise(run, meter)


def _advise(run: _Run, meter: Meter) -> None:
    """Say once what would help, where the network waits for clips."""
    if run.advised:
        return
    most = worker_count("auto", ranks=run.ranks.count_here)
    advice = waiting_advice(meter.steady_waiting, run.loader.cost, workers=run.loader.workers, most_workers=most)
    if advice is not None:
        run.reporter.say(advice)
        run.advised = True


def _second_metric(evaluation: Evaluation) -> str:
    metrics = evaluation.metrics
    return f"mean class {metrics.mean_class:.1%}" if metrics.mean_ap is None else f"mAP {metrics.mean_ap:.1%}"


def _finish(run: _Run) -> TrainResult:
    """Mark the run as finished and write the report on the first rank, and say what to do next."""
    evaluation = run.ranks.on_rank_zero(lambda: calibrate_run(run.folder))
    progress = run.trainer.progress
    best_epoch = (progress.best_epoch or 0) + 1
    if run.ranks.first:
        mark_finished(run.folder, epochs=progress.epoch, best_epoch=best_epoch)
        report = write_report(run.folder)
        run.reporter.say(
            f"Best epoch {best_epoch}: top-1 {evaluation.metrics.top1:.1%} of {evaluation.metrics.total} clips."
        )
        run.reporter.say(say_calibration(run.folder, evaluation))
        folder = shlex.quote(str(run.folder))
        run.reporter.say(
            f"Report: {report}\nNext:\n  clipshift predict {folder} CLIP.mp4\n  clipshift evaluate {folder} TEST_FOLDER"
        )
    return TrainResult(run.folder, evaluation, best_epoch, progress.epoch)


def _fingerprints(dataset: DataSet, folder: Path, config: Config, reporter: Reporter) -> list[ClipRecord]:
    """Hash and probe every clip; written to `data.jsonl`, which also spares a second reading."""
    with reporter.phase("reading clips", len(dataset.train) + len(dataset.validation)) as phase:
        lines = write_data_jsonl(folder / "data.jsonl", dataset, config.data, progress=phase.advance_to)
    aspects = describe_aspects((line.name, line.pixel_aspect) for line in lines)
    if aspects is not None:
        taken = {"ignore": "taken as stored", "apply": "scaled as players show them"}[config.input.pixel_aspect]
        reporter.say(f"{aspects}: frames are {taken} (input.pixel_aspect={config.input.pixel_aspect})")
    return lines


def _check_validation(known: Sequence[ClipRecord], dataset: DataSet) -> None:
    """Raise where an epoch would end with nothing to measure."""
    validation = [clip for clip in known if clip.split == "validation"]
    if all(clip.error is not None for clip in validation):
        raise DataError(
            "Not one of the validation clips can be read.",
            where=dataset.validation.source,
            got=f"{validation[0].name}: {validation[0].error}" if validation else "no clip",
            remedy="clipshift check DATA lists all clips that cannot be read",
        )


def _check_labels(config: Config) -> None:
    if config.train.multi_label and config.distill.method != "none":
        raise ConfigError(
            "Distillation is for clips of one label.",
            where="distill.method",
            got=f"{config.distill.method}, with train.multi_label=true",
            allowed="none",
        )


def _check_metric(config: Config, classes: int) -> None:
    if config.train.metric == "top5" and classes <= 5:
        raise ConfigError(
            "The best of five guesses says nothing where there are no more than five classes.",
            where="train.metric",
            got=f"top5 with {classes} classes",
            allowed="top1, mean_class, loss",
        )


def _check_classes(config: Config, classes: Sequence[str]) -> None:
    """Raise where settings that name or count classes do not fit them: before a folder is made and clips are read."""
    mirror_partners(classes, config.augment)
    given = config.train.class_weights
    if isinstance(given, tuple) and len(given) != len(classes):
        raise ConfigError(
            "The class weights are not as many as the classes.",
            where="train.class_weights",
            got=f"{len(given)} weights for {len(classes)} classes",
            allowed=f"one for each, in this order: {some(list(classes), 8)}",
        )


def _say_data(dataset: DataSet, reporter: Reporter) -> None:
    reporter.say(
        f"Data: {len(dataset.train)} training and {len(dataset.validation)} validation clips of "
        f"{len(dataset.classes)} classes; split: {dataset.split}"
    )
    for note in dataset.notes:
        reporter.say(note)


def _say_training(trainer: Trainer, reporter: Reporter) -> None:
    config, ranks = trainer.config, trainer.ranks
    batch = config.train.batch_size * config.train.accumulate * ranks.count
    reporter.say(
        f"Training {config.model.architecture} {config.model.backbone} on {ranks.device.type} x {ranks.count}, "
        f"{config.train.epochs} epochs of {trainer.updates_per_epoch} updates; "
        f"peak learning rate {trainer.peak_rate:.3g} = {config.optim.lr:g} x {batch}/{config.optim.lr_batch_size}, "
        f"for {batch} clips an update"
    )


def _where_it_stands(trainer: Trainer) -> str:
    progress, train = trainer.progress, trainer.config.train
    if progress.epoch >= train.epochs or _out_of_patience(trainer, train.patience):
        return "This run is complete already."
    return f"Going on from epoch {progress.epoch + 1}, update {progress.step + 1}."


def _out_of_patience(trainer: Trainer, patience: int) -> bool:
    progress = trainer.progress
    return bool(patience) and progress.best_epoch is not None and progress.epoch - progress.best_epoch > patience


def _metric(evaluation: Evaluation, name: str) -> float:
    metrics = evaluation.metrics
    if name == "top5":
        return metrics.topk[5]
    return float(getattr(metrics, name))


def _command(data: str | Path, settings: tuple[Settings, ...], **options: object) -> str:
    """The command line that does the same as this call."""
    words = ["clipshift", "train", str(data)]
    for setting in settings:
        words += (
            [setting] if isinstance(setting, str) else [f"{k}={yaml_value(v)}" for k, v in flatten(setting).items()]
        )
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", str(value)]
    return shlex.join(words)
