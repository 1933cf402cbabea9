"""The benchmark of explanations: what it plants, and a run of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import explanations
import numpy as np
import pytest


@pytest.mark.parametrize("kind", explanations.KINDS)
def test_only_the_span_depends_on_the_class(kind: str) -> None:
    for number in range(3):
        one, other = (explanations.planted(kind, label, np.random.default_rng(number)) for label in (0, 1))
        assert one.span == other.span
        assert sum(one.in_span(frame) for frame in range(1, explanations.FRAMES, 3)) == explanations.SPAN[kind] / 3
        differs = (one.frames != other.frames).any(axis=(1, 2, 3))
        inside = np.array([one.in_span(frame) for frame in range(explanations.FRAMES)])
        assert not differs[~inside].any()
        assert differs[inside].sum() >= explanations.SPAN[kind] - 1  # half of the circle is the same both ways
        rows, columns = np.nonzero((one.frames != other.frames).any(axis=(0, 3)))
        assert np.hypot(columns - one.place[0], rows - one.place[1]).max() <= one.reach + 2


def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        *(
            "sign",
            "--clips",
            "4",
            "--held-out",
            "4",
            "--places",
            "2",
            "--epochs",
            "1",
            "--settings",
            "input.segments=4",
        ),
        *("--to", tmp_path / "to", "--json", tmp_path / "figures.json"),
    ]
    monkeypatch.setattr(sys, "argv", ["explanations.py", *map(str, words)])
    explanations.main()
    rows = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["rows"]
    assert [row["how"] for row in rows] == ["neighbor", "mean", "blurred", "grad-cam", "occlusion"]
    assert [row["clips"] for row in rows] == [4, 4, 4, 2, 2]
    assert all(0 <= row["found"] <= row["clips"] for row in rows)
    assert "| sign | grad-cam |" in capsys.readouterr().out
