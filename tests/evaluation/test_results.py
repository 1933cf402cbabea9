from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from clipshift.errors import RunError
from clipshift.evaluation.results import ClipScore, load_evaluation
from tests.evaluation.synthetic import make_evaluation


def test_saving_and_loading_give_the_same_evaluation(tmp_path: Path) -> None:
    evaluation = replace(make_evaluation(tmp_path, ("jump", "ходьба", "\udcff")), model={"path": "m", "sha256": "0"})
    evaluation.save(tmp_path / "new" / "folder")
    assert load_evaluation(tmp_path / "new" / "folder") == evaluation
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "metrics.json",
        "predictions.jsonl",
    ]


def test_a_line_per_video_says_everything(tmp_path: Path) -> None:
    classes = tuple(f"class {index}" for index in range(7))
    evaluation = make_evaluation(tmp_path, classes, bad=1)
    evaluation.save(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 21
    assert lines[0] == {
        "name": "clip0.mp4",
        "path": str(tmp_path / "clip0.mp4"),
        "label": 0,
        "class": "class 0",
        "predicted": None,
        "correct": False,
        "probabilities": {},
        "logits": None,
        "error": "The file is cut off.",
    }
    assert lines[1]["predicted"] == "class 2"
    assert lines[1]["correct"] is False
    assert lines[2]["correct"] is True
    shares = list(lines[2]["probabilities"].values())
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert next(iter(lines[2]["probabilities"])) == "class 2"


def test_metrics_json_states_protocol_totals_and_versions(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path, ("a", "b", "c"), bad=2)
    evaluation.save(tmp_path)
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert (values["total"], values["scored"], values["bad"], values["bad_policy"]) == (9, 7, 2, "wrong")
    assert values["protocol"] == evaluation.protocol
    assert set(values["versions"]) == {"clipshift", "torch", "python"}
    assert values["confusion"] == [list(row) for row in evaluation.metrics.confusion]


def test_the_summary_starts_with_the_totals_and_lists_the_worst(tmp_path: Path) -> None:
    classes = tuple(f"class {index}" for index in range(30))
    lines = make_evaluation(tmp_path, classes, bad=12).to_text().splitlines()
    assert lines[0] == "videos      90 total, 78 scored, 12 bad (counted as wrong)"
    assert lines[1].startswith("top-1")
    assert "95 % interval" in lines[1]
    assert lines[2].startswith("top-5")
    rows = [line for line in lines if line.startswith("class ") and "%" in line]
    assert len(rows) == 20
    shares = [float(row.split("%")[0].split()[-1]) for row in rows]
    assert shares == sorted(shares)
    assert "... 10 more in metrics.json" in lines
    assert "bad videos (12, counted as wrong):" in lines
    assert "  clip9.mp4: The file is cut off." in lines
    assert "  ... 2 more in predictions.jsonl" in lines


def test_the_summary_keeps_columns_and_control_characters_in_check(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path, ("\x1b[31mred", "сальто 跳远" * 9, "b"), bad=0)
    text = evaluation.to_text()
    assert "\x1b" not in text
    rows = text.splitlines()
    header = next(index for index, row in enumerate(rows) if row.startswith("class"))
    assert any("…" in row for row in rows[header:])
    assert "bad videos" not in text


def test_equal_logits_are_the_lower_class_in_scores_too() -> None:
    assert ClipScore("a", "/a", 1, (0.0, 2.0, 2.0), None).predicted == 1
    assert ClipScore("a", "/a", 1, None, "gone").predicted is None
    assert not ClipScore("a", "/a", 1, None, "gone").correct


@pytest.mark.parametrize("content", ["{", "[]", '{"total": 3}'])
def test_a_damaged_evaluation_is_a_run_error(tmp_path: Path, content: str) -> None:
    make_evaluation(tmp_path, ("a", "b")).save(tmp_path)
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(RunError, match="cannot be read"):
        load_evaluation(tmp_path)
    with pytest.raises(RunError, match="cannot be read"):
        load_evaluation(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        make_evaluation(tmp_path, ("a", "b")).save(tmp_path / "file")
