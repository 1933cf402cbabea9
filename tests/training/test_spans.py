"""Training on spans of long videos: the rate, background, both sides of a split, and what cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest
import torch

import clipshift
from clipshift.config import load_config, resolve
from clipshift.datasets import read_dataset
from clipshift.datasets.motion import write_motion_clips
from clipshift.datasets.motion_streams import write_motion_streams
from clipshift.errors import DataError
from clipshift.temporal import Segment
from clipshift.temporal.annotations import Annotation, read_annotations, write_annotations
from clipshift.training.distributed import Ranks
from clipshift.training.event_fitting import fit_run_events
from clipshift.training.reporting import Reporter
from clipshift.training.stages.job import Job
from clipshift.training.start import MEDIAN_SPAN, follow_spans
from tests.exporting.making import save_model

SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "model.dropout=0", "input.segments=4", "input.crop=32",
    "input.resize=36", "train.batch_size=4", "data.workers=0", "train.device=cpu", "train.epochs=1",
    "train.probe=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_streams(tmp_path_factory.mktemp("made") / "streams", streams=4, seconds=14, size=40)


@pytest.mark.slow
def test_a_training_on_spans(streams: Path, tmp_path: Path) -> None:
    data = streams / "annotations.json"
    result = clipshift.train(data, *SMALL, "data.background=0.5", recipe="finetune-online", out=tmp_path / "run")
    model = clipshift.load(result.run)
    lengths = [one.duration for video in read_annotations(data)[:3] for one in video.segments]
    assert model.spec.input.rate == pytest.approx(4 / median(lengths), rel=0.01)
    assert load_config(result.run / "config.yaml").input.rate == model.spec.input.rate
    assert model.spec.reading.background == 0.5
    assert "background" in model.classes
    rows = [json.loads(line) for line in (result.run / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["split"] for row in rows if row["name"].startswith("0003.mp4#t=")} == {"validation"}
    assert {row["split"] for row in rows if not row["name"].startswith("0003.mp4")} == {"train"}
    log = (result.run / "train.log").read_text(encoding="utf-8")
    assert "the median length of the spans (input.rate=" in log
    assert "are the class background" in log
    # One video is too few to fit a class to: the lag is fitted, and each class keeps its rule.
    assert "Rules of events: fitted to 1 validation videos" in log
    assert model.spec.events is not None
    assert model.spec.events.classes == {}
    fitted = clipshift.fit_events(result.run, data, device="cpu", workers=0)
    assert fitted.fitted.rules == model.spec.events
    # The kept model measures what the training measured, background and all.
    again = clipshift.evaluate(result.run, data, device="cpu")
    assert [score.name for score in again.scores] == [score.name for score in result.evaluation.scores]
    assert again.metrics.loss == pytest.approx(result.evaluation.metrics.loss, rel=1e-4)
    assert f"at {model.spec.input.rate:g} a second" in again.protocol
    assert "0003.mp4#t=" in (result.run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["model.shift.order=past_only"], "sees no fixed number of frames a second"),
        (["input.rate=5"], "the network looks ahead"),
        (["input.rate=5", "model.architecture=tsn", "train.fit_events=false"], None),
    ],
)
def test_rules_that_cannot_be_fitted(settings: list[str], text: str | None, streams: Path, tmp_path: Path) -> None:
    data = streams / "annotations.json"
    resolved = resolve("finetune", settings=[*SMALL, *settings])
    dataset = read_dataset(data, resolved.config.data)
    ranks = Ranks(0, 1, 1, torch.device("cpu"))
    job = Job(tmp_path, resolved, None, dataset, ranks, Reporter(tmp_path, speaks=False), "")
    config = resolved.config
    save_model(tmp_path / "model", model=config.model, input=config.input, classes=dataset.classes)
    said = fit_run_events(job)
    assert (said is None) if text is None else (said is not None and text in said)


def test_the_rate_of_spans(streams: Path, tmp_path: Path) -> None:
    data = streams / "annotations.csv"
    for recipe, settings, rate in [
        ("finetune-online", [], 5.33),
        ("finetune-online", ["input.segments=6"], 4.0),
        ("finetune-online", ["input.rate=7"], 7.0),
        ("finetune-online", ["input.rate=null"], None),
        ("finetune-online", ["data.rate_from_spans=false"], None),
        ("finetune", [], None),
        ("finetune", ["data.rate_from_spans=true"], 5.33),
    ]:
        resolved = resolve(recipe, settings=settings)
        dataset = read_dataset(data, resolved.config.data)
        found = follow_spans(resolved, dataset)
        lengths = [one.duration for video in dataset.train.videos for one in video.segments]
        assert median(lengths) == 1.5
        assert found.config.input.rate == rate
        chosen_here = rate is not None and "input.rate=7" not in settings
        assert (found.origin.get("input.rate") == MEDIAN_SPAN) is chosen_here
    clips = write_motion_clips(tmp_path / "clips", clips_per_class=1, validation_per_class=1, frames=4, size=32)
    resolved = resolve("finetune-online")
    assert follow_spans(resolved, read_dataset(clips, resolved.config.data)) is resolved


def test_times_in_milliseconds_are_found_before_anything_is_trained(streams: Path, tmp_path: Path) -> None:
    marked = [
        Annotation(
            str(streams / one.path),
            tuple(Segment(each.label, 1000 * each.start, 1000 * each.end) for each in one.segments),
            subset=one.subset,
        )
        for one in read_annotations(streams / "annotations.json")
    ]
    write_annotations(tmp_path / "wrong.csv", marked)
    with pytest.raises(DataError, match="Not one of the validation clips can be read") as caught:
        clipshift.train(tmp_path / "wrong.csv", *SMALL, out=tmp_path / "run")
    assert "are its times in milliseconds?" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 8
