"""The benchmark of wrong labels: what is planted, and its figures on clips that are easy to tell apart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import wrong_labels


def test_as_many_labels_as_asked_for_are_planted() -> None:
    labels = np.arange(60) % 3
    planted = wrong_labels.plant(labels, 0.05, 3, seed=4)
    assert (planted != labels).sum() == 3
    assert set(planted.tolist()) <= {0, 1, 2}
    assert (wrong_labels.plant(labels, 0.05, 3, seed=4) == planted).all()


def test_planted_labels_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{name}/take_{number}.mp4" for name in ("run", "sit") for number in range(20)]
    for name in names:
        (tmp_path / "gym" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "gym" / name).write_bytes(name.encode())
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 2, 10)).astype(np.float32)
    features[:20, 0, 0] += 12
    np.savez(
        tmp_path / "features.npz", names=names, mean=features[:, 0], deviation=features[:, 1], inner=features[:, 0]
    )
    words = [tmp_path / "gym", "--features", tmp_path / "features.npz", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", ["wrong_labels.py", *map(str, words)])
    wrong_labels.main()
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("| 0 |"))
    assert [cell.strip() for cell in row.strip("|").split("|")][1:3] == ["2", "1"]
