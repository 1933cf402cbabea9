from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clipshift.cli import app
from clipshift.cli.evaluate import evaluate as evaluate_command
from clipshift.errors import ConfigError, DataError, RunError, UserError
from clipshift.evaluation.fusion import fuse
from clipshift.evaluation.metrics import compute_metrics
from clipshift.evaluation.results import ClipScore, Evaluation, load_evaluation
from tests.evaluation.synthetic import CLASSES, make_evaluation


def shifted(evaluation: Evaluation, seed: int) -> Evaluation:
    """The same videos with other scores."""
    random = np.random.default_rng(seed)

    def noisy(score: ClipScore) -> ClipScore:
        if score.logits is None:
            return score
        noise = random.normal(0, 2, len(score.logits))
        changed = (np.array(score.logits) + noise).astype(np.float32)
        return replace(score, logits=tuple(changed.tolist()))

    return replace(evaluation, scores=tuple(noisy(score) for score in evaluation.scores))


def probabilities(evaluation: Evaluation) -> np.ndarray:
    logits = [score.logits for score in evaluation.scores if score.logits is not None]
    return torch.tensor(logits, dtype=torch.float64).softmax(dim=1).numpy()


def test_scores_are_weighted_averages_of_probabilities(tmp_path: Path) -> None:
    one = make_evaluation(tmp_path, CLASSES, per_class=10)
    two = shifted(one, 1)
    fused = fuse([one, two], weights=[1, 0.5])
    expected = (probabilities(one) + 0.5 * probabilities(two)) / 1.5
    np.testing.assert_allclose(probabilities(fused), expected, atol=1e-6)
    logits = torch.tensor(np.log(expected))
    labels = torch.tensor([score.label for score in one.scores if score.logits is not None])
    numbers = compute_metrics(logits, labels, CLASSES, bad_labels=[one.scores[0].label])
    assert (fused.metrics.top1, fused.metrics.total, fused.metrics.bad) == (numbers.top1, 30, 1)
    assert fused.metrics.loss == pytest.approx(numbers.loss, abs=1e-5)
    assert fused.scores[0].error == "The file is cut off."
    assert fused.protocol.startswith("probabilities averaged: 0.6667 x ")


def test_a_fusion_with_itself_changes_nothing_and_survives_tiny_probabilities(tmp_path: Path) -> None:
    one = make_evaluation(tmp_path, CLASSES, per_class=4, bad=0)
    extreme = replace(one, scores=tuple(replace(s, logits=tuple(900 * x for x in s.logits or ())) for s in one.scores))
    for evaluation in (one, extreme):
        fused = fuse([evaluation, evaluation])
        np.testing.assert_allclose(probabilities(fused), probabilities(evaluation), atol=1e-6)
        assert [score.predicted for score in fused.scores] == [score.predicted for score in evaluation.scores]
        assert all(np.isfinite(score.logits or ()).all() for score in fused.scores)


def test_other_orders_of_clips_and_classes_are_brought_together(tmp_path: Path) -> None:
    one = make_evaluation(tmp_path, CLASSES)
    two = shifted(one, 3)
    order = [2, 0, 1]

    def turned(score: ClipScore) -> ClipScore:
        logits = None if score.logits is None else tuple(score.logits[k] for k in order)
        return replace(score, label=order.index(score.label), logits=logits)

    other = replace(
        two, classes=tuple(CLASSES[k] for k in order), scores=tuple(turned(score) for score in reversed(two.scores))
    )
    assert fuse([one, other]).scores == fuse([one, two]).scores


def test_a_video_that_one_could_not_read_is_bad(tmp_path: Path) -> None:
    one = make_evaluation(tmp_path, CLASSES, bad=0)
    two = make_evaluation(tmp_path, CLASSES, bad=2)
    assert [score.error for score in fuse([one, two]).scores][:3] == ["The file is cut off."] * 2 + [None]
    assert fuse([one, two]).metrics.bad_policy == "wrong"
    assert fuse([one, two], bad="exclude").metrics.bad_policy == "exclude"


def test_stored_scores_of_runs_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = make_evaluation(tmp_path, CLASSES, per_class=4)
    two = shifted(one, 1)
    one.save(tmp_path / "run" / "evaluation")
    two.save(tmp_path / "scores")
    expected = fuse([one, two], weights=[2, 1])
    sources = [tmp_path / "run", tmp_path / "scores" / "predictions.jsonl"]
    found = fuse(sources, weights=[2, 1], out=tmp_path / "out")
    np.testing.assert_allclose(probabilities(found), probabilities(expected), atol=1e-6)
    assert load_evaluation(tmp_path / "out").scores == found.scores
    evaluate_command(fuse=[str(source) for source in sources], weights=[2, 1])
    assert f"{100 * found.metrics.top1:.2f} %" in capsys.readouterr().out


def test_what_cannot_be_fused(tmp_path: Path) -> None:
    one = make_evaluation(tmp_path, CLASSES)
    with pytest.raises(ConfigError, match="at least two"):
        fuse([one])
    with pytest.raises(ConfigError, match="1 weights for 2"):
        fuse([one, one], weights=[1])
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="must be positive"):
            fuse([one, one], weights=[1, wrong])
    with pytest.raises(DataError, match="other classes") as classes:
        fuse([one, replace(one, classes=("jump", "run", "fly"))])
    assert "1 only in the first, for example 'swim'; 1 only in the second, for example 'fly'" in str(classes.value)
    with pytest.raises(DataError, match="not of the same videos") as videos:
        fuse([one, replace(one, scores=one.scores[1:])])
    assert "1 only in the first, for example 'clip0.mp4'" in str(videos.value)
    moved = replace(one.scores[0], label=1)
    with pytest.raises(DataError, match="another label"):
        fuse([one, replace(one, scores=(moved, *one.scores[1:]))])
    with pytest.raises(DataError, match="the same name"):
        fuse([one, replace(one, scores=(*one.scores, one.scores[0]))])
    with pytest.raises(RunError, match="no stored scores") as missing:
        fuse([one, tmp_path / "nothing"])
    assert "--out" in str(missing.value)


def test_the_command_line_takes_a_fusion_or_a_model() -> None:
    with pytest.raises(UserError, match="A model and data are needed"):
        evaluate_command("run")
    with pytest.raises(UserError, match="takes no model"):
        evaluate_command("run", fuse=["a", "b"])
    with pytest.raises(UserError, match="or precision"):
        evaluate_command(fuse=["a", "b"], amp="bf16")
    with pytest.raises(UserError, match="Weights are those of a fusion"):
        evaluate_command("run", "data", weights=[1, 2])
    command, bound, _ = app.parse_args(["evaluate", "--fuse", "a", "b", "--weights", "1", "0.5"])
    assert command is evaluate_command
    assert (bound.arguments["fuse"], bound.arguments["weights"]) == (["a", "b"], [1.0, 0.5])


def test_a_fusion_of_nothing_is_no_figure(tmp_path: Path) -> None:
    one = make_evaluation(tmp_path, CLASSES, per_class=2)
    scores = list(one.scores)
    halves = (slice(0, len(scores) // 2), slice(len(scores) // 2, None))
    parts = []
    for half in halves:
        changed = list(scores)
        changed[half] = [replace(score, logits=None, error="It is cut off.") for score in scores[half]]
        parts.append(replace(one, scores=tuple(changed)))
    with pytest.raises(DataError, match="Not one of the clips can be read"):
        fuse(parts, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
