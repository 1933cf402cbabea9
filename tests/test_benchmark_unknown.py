"""The benchmark of unknown clips: its figures by hand, and one class left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import unknown

from clipshift.datasets.motion import write_motion_clips


def test_figures_by_hand() -> None:
    known, others = np.array([3.0, 2.0, 1.0, 4.0]), np.array([0.0, 2.0, 1.0])
    assert unknown.auroc(known, others) == pytest.approx((3 + 2 + 0.5 + 3 + 1 + 0.5) / 12)
    assert unknown.false_positives(known, others) == pytest.approx(2 / 3)
    assert unknown.false_positives(known, others, kept=0.5) == 0


def test_the_distance_of_mahalanobis_is_that_of_the_shrunk_covariance() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(400, 3)) * [1, 2, 4]
    rows -= rows.mean(axis=0)
    found = unknown.mahalanobis(rows)(rows[:5])
    exact = np.einsum("nd,de,ne->n", rows[:5], np.linalg.inv(rows.T @ rows / len(rows)), rows[:5])
    np.testing.assert_allclose(found, exact, rtol=0.05)


def test_a_class_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_motion_clips(tmp_path / "clips", clips_per_class=2, validation_per_class=1, frames=6, size=40)
    settings = (
        "model.backbone=test_resnet", "model.pretrained=false", "input.segments=2", "input.crop=32", "input.resize=36",
        "train.epochs=1", "train.probe=false", "data.workers=0", "train.device=cpu",
    )  # fmt: skip
    words = [data, *settings, "--only", "right_to_left", "--foreign", data / "val" / "left_and_back"]
    places = ["--to", tmp_path / "to", "--json", tmp_path / "figures.json"]
    monkeypatch.setattr(sys, "argv", ["unknown.py", *map(str, [*words, *places])])
    unknown.main()
    rows = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert {(row["kind"], row["known"], row["unknown"]) for row in rows} == {("left out", 3, 3), ("foreign", 3, 1)}
    assert len(rows) == 10
    assert all(0 <= row["auroc"] <= 1 for row in rows)
    assert "| left out | nearest clip |" in capsys.readouterr().out
