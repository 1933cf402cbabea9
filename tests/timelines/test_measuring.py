"""Evaluation on long videos: figures that are worked out by hand, a report, and rules that are fitted and stored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import clipshift
from clipshift.datasets.motion_streams import write_motion_streams
from clipshift.errors import ConfigError, DataError
from clipshift.evaluation.event_metrics import FoundVideo, measure_events
from clipshift.temporal import Event, EventRules, FoundEvent, Segment
from clipshift.temporal.annotations import Annotation, read_annotations, write_annotations
from clipshift.timelines.measuring import choose_subset
from tests.exporting.making import CAUSAL, save_model

RATE = 4.0


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_streams(tmp_path_factory.mktemp("measuring") / "streams", streams=2, seconds=20, size=32)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("causal") / "model", model=CAUSAL)


def event(label: str, start: float, end: float, score: float, told: float) -> FoundEvent:
    return FoundEvent(Event(1, "end", label, start, end, score, score, end, "left"), told)


def test_figures_worked_out_by_hand() -> None:
    """Of three events one is found well, one badly, one not; one of nothing. Two hours in all."""
    truth = (Segment("fall", 10, 20), Segment("fall", 50, 60), Segment("wave", 70, 80), Segment("background", 0, 5))
    found = (event("fall", 10, 20, 0.9, 12.0), event("fall", 54, 64, 0.8, 56.0), event("wave", 200, 210, 0.7, 201.0))
    metrics = measure_events({"a": FoundVideo(found, truth, 3600.0), "b": FoundVideo((), (), 3600.0)})
    assert (metrics.videos, metrics.events) == (2, 3)
    # fall: right at all thresholds, then one of tIoU 6 / 14; wave: nothing.
    assert metrics.activitynet.by_class == {"fall": pytest.approx(0.5), "wave": 0.0}
    assert metrics.thumos.by_threshold[0.3] == pytest.approx(0.5)
    assert metrics.f1[0.1].f1 == pytest.approx(2 / 3)
    assert metrics.f1[0.5].f1 == pytest.approx(1 / 3)
    assert (metrics.errors.counts.hits, metrics.errors.counts.false, metrics.errors.counts.misses) == (1, 2, 2)
    assert metrics.errors.false_per_hour == 1
    assert metrics.edit == 1  # the order is right
    assert metrics.delay is not None
    assert (metrics.delay.median, metrics.delay.found, metrics.delay.events) == (2.0, 1, 3)
    assert [(one.name, one.events, one.counts.hits) for one in metrics.classes] == [("fall", 2, 1), ("wave", 1, 0)]
    assert "1 found (tIoU 0.5), 2 missed, 2 false: 1.0 an hour" in "\n".join(metrics.lines())


def test_an_evaluation_has_figures_a_report_and_time_lines(causal: Path, streams: Path, tmp_path: Path) -> None:
    found = clipshift.evaluate_events(causal, streams / "annotations.json", rate=RATE, out=tmp_path / "out", workers=0)
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text())
    truth = read_annotations(streams / "annotations.json")
    assert stored["kind"] == "events"
    assert stored["events"] == sum(len(one.segments) for one in truth) == found.metrics.events
    assert (stored["videos"], stored["hours"]) == (2, pytest.approx(40 / 3600))
    assert stored["found"] + stored["missed"] == stored["events"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('class="plot"') == 2
    assert 'href="videos/0000/timeline.html"' in page
    assert page.count("<img src=") == 4 * page.count('class="strip"') > 0
    assert (tmp_path / "out" / "videos" / "0001" / "segments.json").is_file()
    again = clipshift.evaluate_events(causal, streams / "annotations.json", rate=RATE, out=tmp_path / "out", workers=0)
    assert again.metrics == found.metrics
    assert clipshift.evaluate_events(causal, streams / "annotations.csv", rate=RATE, workers=0).metrics == found.metrics


def test_a_video_that_cannot_be_read_has_missed_events(causal: Path, streams: Path, tmp_path: Path) -> None:
    shutil.copy(streams / "0000.mp4", tmp_path)
    (tmp_path / "0001.mp4").write_text("no video")
    found = clipshift.evaluate_events(causal, streams / "annotations.json", videos=tmp_path, rate=RATE, workers=0)
    [(name, reason)] = found.failed
    assert name.endswith("0001.mp4")
    assert "not a video" in reason
    assert found.metrics.events == sum(len(one.segments) for one in read_annotations(streams / "annotations.json"))
    assert "its events count as missed" in found.to_text()


def test_rules_are_fitted_and_stored_in_the_model(causal: Path, streams: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(causal, tmp_path / "model"))
    before = json.loads((model / "model.json").read_text())
    fitted = clipshift.fit_events(model, streams / "annotations.json", rate=RATE, workers=0)
    after = json.loads((model / "model.json").read_text())
    assert {**after, "events": None} == {**before, "events": None}
    loaded = clipshift.load(model)
    assert loaded.spec.events == fitted.fitted.rules
    assert fitted.stored == model / "model.json"
    assert set(fitted.fitted.classes) == set(loaded.classes)
    assert "stored in" in fitted.to_text()
    line = clipshift.timeline(loaded, streams / "0000.mp4", out=tmp_path / "line", rate=RATE)[0]
    assert isinstance(line, clipshift.Timeline)
    rules = json.loads((tmp_path / "line" / "segments.json").read_text())["cause"]["rules"]
    assert EventRules.model_validate_json(json.dumps(rules)) == fitted.fitted.rules


def test_annotations_that_cannot_be_meant(causal: Path, streams: Path, tmp_path: Path) -> None:
    def write(*segments: Segment, duration: float | None = 20.0) -> Path:
        write_annotations(tmp_path / "a.json", [Annotation(str(streams / "0000.mp4"), segments, duration)])
        return tmp_path / "a.json"

    with pytest.raises(DataError, match="does not know a class"):
        clipshift.evaluate_events(causal, write(Segment("juggle", 1, 2)), rate=RATE)
    with pytest.raises(DataError, match="milliseconds"):
        clipshift.evaluate_events(causal, write(Segment("left_to_right", 1000, 2000)), rate=RATE)
    with pytest.raises(DataError, match="no true segments"):
        clipshift.evaluate_events(causal, write(), rate=RATE, workers=0)
    with pytest.raises(DataError, match="cannot be read"):
        clipshift.evaluate_events(causal, tmp_path / "gone.json", rate=RATE)
    with pytest.raises(ConfigError, match="no such measure"):
        clipshift.fit_events(causal, write(), measure="ap", rate=RATE)  # type: ignore[arg-type]


def test_the_validation_part_is_measured_on() -> None:
    parts = [Annotation("a", subset="training"), Annotation("b", subset="validation"), Annotation("c", subset="test")]
    assert [one.path for one in choose_subset(parts, None, Path("x"))] == ["b"]
    assert [one.path for one in choose_subset(parts, "training", Path("x"))] == ["a"]
    assert [one.path for one in choose_subset(parts[:1], None, Path("x"))] == ["a"]
    with pytest.raises(DataError, match="no annotated video"):
        choose_subset(parts, "val", Path("x"))
