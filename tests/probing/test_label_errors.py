"""Confident learning by hand, and folds that keep clips of a source together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipshift.probing.label_errors import margins, suspicious
from clipshift.training.folds import compact, deal_folds, out_of_fold, sources_of_classes
from clipshift.training.probe import fit_linear_probe


def test_the_confident_joint_by_hand() -> None:
    # Mean probability of the label: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.7 + 0.45) / 2 = 0.575.
    chances = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.55, 0.45]])
    labels = np.array([0, 0, 0, 1, 1])
    # The last one is likelier of class 0, but less than clips of class 0 mostly are.
    assert suspicious(chances, labels).tolist() == [False, False, True, False, False]
    np.testing.assert_allclose(margins(chances, labels), [0.8, 0.6, -0.8, 0.4, -0.1])


def test_a_class_without_clips_is_no_other_class() -> None:
    chances = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.1, 0.0, 0.9]])
    assert suspicious(chances, np.array([0, 0, 2, 2])).tolist() == [False] * 4


def test_folds_keep_groups_and_spread_classes() -> None:
    groups = [[0, 1, 2], [3], [4], [5], [6, 7], [8], [9], [10, 11]]
    labels = [0] * 6 + [1] * 6
    for seed in range(5):
        fold = deal_folds(groups, labels, 3, seed=seed)
        assert all(len(set(fold[group].tolist())) == 1 for group in groups)
        for label in (0, 1):
            counts = np.bincount(fold[np.array(labels) == label], minlength=3)
            assert counts.min() >= 1
            assert counts.max() <= 3
        assert np.bincount(fold, minlength=3).tolist() == [4, 4, 4] or np.bincount(fold, minlength=3).max() <= 5
    assert sources_of_classes([[0, 6], [1, 2, 3, 4, 5]], labels[:7], 3) == [2, 1, 0]


def test_compact_features_give_the_same_probe() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(30, 2, 40)).astype(np.float32) * np.array([[1], [7]], dtype=np.float32)
    labels = torch.arange(30) % 3
    small = compact((features[:, 0], features[:, 1]))
    assert small.shape == (30, 30)
    scaled = (features - features.mean(axis=0)) / np.sqrt(features.var(axis=0).sum(axis=-1))[:, None]
    answers = []
    for x in map(torch.from_numpy, (scaled.reshape(30, 80), small)):
        weight, bias = fit_linear_probe(x[:20], labels[:20], 3, decay=1e-3)
        answers.append((x[20:] @ weight.T + bias).softmax(dim=1))
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=1e-4)


def test_out_of_fold_answers_know_nothing_of_the_clip_or_its_source() -> None:
    """Copies of one clip under random labels: a probe that saw its siblings would know their labels."""
    random = np.random.default_rng(1)
    sources = np.repeat(np.arange(30), 3)
    features = random.normal(size=(30, 100)).astype(np.float32)[sources]
    labels = random.integers(0, 2, 30)[sources]
    groups = [[3 * number, 3 * number + 1, 3 * number + 2] for number in range(30)]
    apart = out_of_fold([features], labels, groups, classes=2, folds=5, repeats=2, seed=0)
    np.testing.assert_allclose(apart.sum(axis=1), 1, atol=1e-6)
    together = out_of_fold([features], labels, [[n] for n in range(90)], classes=2, folds=5, repeats=2, seed=0)
    right = [(chances.argmax(axis=1) == labels).mean() for chances in (apart, together)]
    assert right[0] < 0.75
    assert right[1] > 0.9


@pytest.mark.parametrize("left", [0, 1])
def test_clips_that_are_left_out_teach_nothing(left: int) -> None:
    features = np.concatenate([np.full((10, 2), -1.0), np.full((10, 2), 1.0)]).astype(np.float32)
    features += np.random.default_rng(2).normal(size=features.shape).astype(np.float32) * 0.1
    labels = np.repeat([0, 1], 10)
    chances = out_of_fold(
        [features], labels, [[n] for n in range(20)], classes=2, folds=4, repeats=1, seed=0, learn=labels != left
    )
    assert (chances.argmax(axis=1) == 1 - left).all()
