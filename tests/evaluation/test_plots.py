from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from clipshift.evaluation.report.canvas import DARK, LIGHT, Plot, plot_label, render, save_plots
from clipshift.evaluation.report.plots import evaluation_plots, reliability, training_plots
from clipshift.evaluation.results import ClipScore
from tests.evaluation.synthetic import make_evaluation, make_records


def picture(plot: Plot, dark: bool = False) -> Image.Image:
    return Image.open(io.BytesIO(render(plot, DARK if dark else LIGHT))).convert("RGB")


@pytest.mark.parametrize("classes", [1, 2, 7, 30, 60])
def test_every_number_of_classes_is_drawn(tmp_path: Path, classes: int) -> None:
    names = [f"class {index}" for index in range(classes)]
    plots = evaluation_plots(make_evaluation(tmp_path, names, bad=0, confused=classes > 1))
    assert [plot.name for plot in plots] == ["confusion", "classes", "reliability"]
    for plot in plots:
        image = picture(plot)
        assert image.size == pytest.approx((160 * plot.size[0], 160 * plot.size[1]), abs=1)
        assert len(image.getcolors(1 << 20) or []) > 10
    assert "weakest" in plots[1].title if classes > 30 else plots[1].title == "Accuracy per class"


def test_the_confusion_matrix_shows_the_shares() -> None:
    # Two classes: three right of class 0; class 1 always taken for 0.
    scores = [ClipScore("a", "/a", label, (2.0, 0.0), None) for label in (0, 0, 0, 1)]
    evaluation = make_evaluation(Path("/x"), ("a", "b"))
    numbers = replace(evaluation.metrics, confusion=((3, 0), (1, 0)))
    plot = evaluation_plots(replace(evaluation, scores=tuple(scores), metrics=numbers))[0]
    pixels = np.asarray(picture(plot)).astype(int)
    full = np.abs(pixels - np.array([0x24, 0x58, 0xD3])).sum(axis=2) < 12
    # The full color fills the left cells, and a strip of the color bar: a tall block, not the right half.
    columns = np.flatnonzero(full.mean(axis=0) > 0.3)
    assert len(columns) > 0.2 * pixels.shape[1]
    assert columns.max() < 0.6 * pixels.shape[1]


def test_themes_differ_in_their_paper(tmp_path: Path) -> None:
    plot = evaluation_plots(make_evaluation(tmp_path, ("a", "b")))[2]
    assert picture(plot).getpixel((2, 2)) == (255, 255, 255)
    assert picture(plot, dark=True).getpixel((2, 2)) == (0x17, 0x1B, 0x22)


def test_global_settings_are_left_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    render(evaluation_plots(make_evaluation(tmp_path, ("a", "b")))[1], DARK)
    assert dict(matplotlib.rcParams) == before


def test_names_that_are_formulas_or_foreign_do_no_harm(tmp_path: Path) -> None:
    names = ("$\\frac{a}{$", "跳远\U0001f3c3", "naïve  Übung", "", "x" * 90)
    assert plot_label(names[1], 1) in {"class 1", names[1]}
    assert plot_label("\U0001f3c3\uffff", 4) == "class 4"
    assert plot_label(names[2], 2) == "naïve Übung"
    assert plot_label(names[3], 3) == "class 3"
    assert plot_label(names[4], 4) == "x" * 27 + "…"
    for plot in evaluation_plots(make_evaluation(tmp_path, names)):
        render(plot)


def test_training_curves_are_drawn_for_what_there_is(tmp_path: Path) -> None:
    full = make_records(epochs=3, top5=True)
    assert [plot.name for plot in training_plots(full)] == ["loss", "accuracy", "learning_rate"]
    assert training_plots([]) == []
    within_an_epoch = [record for record in full if record["kind"] == "step"][:3]
    assert [plot.name for plot in training_plots(within_an_epoch)] == ["loss", "learning_rate"]
    without_numbers = [*full[:-1], {**full[-1], "validation": {"top1": None, "loss": math.nan}}]
    unvalidated = [{key: value for key, value in record.items() if key != "validation"} for record in full]
    assert [plot.name for plot in training_plots(unvalidated)] == ["loss", "learning_rate"]
    for records in (full, within_an_epoch, without_numbers, unvalidated):
        paths = save_plots(tmp_path / "plots", training_plots(records))
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_nothing_scored_draws_nothing(tmp_path: Path) -> None:
    assert evaluation_plots(make_evaluation(tmp_path, ("a", "b"), per_class=1, bad=2)) == []


def test_reliability_bins_by_hand() -> None:
    # Two classes, probabilities 3/4 (right, wrong) and 0.9 (right), in ten bins.
    evaluation = make_evaluation(Path("/x"), ("a", "b"))
    scores = [
        ClipScore("a", "/a", label, (math.log(odds), 0.0), None) for label, odds in ((0, 3.0), (1, 3.0), (0, 10.0))
    ]
    found = reliability(replace(evaluation, scores=tuple(scores)), bins=10)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 0, 0, 2, 0, 1]
    assert found.accuracy[[7, 9]].tolist() == [0.5, 1.0]
    np.testing.assert_allclose(found.confidence[[7, 9]], [0.75, 10 / 11])
    assert np.isnan(found.accuracy[0])
