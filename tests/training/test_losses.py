"""The loss and mixup."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipshift.training.losses import classification_loss, inverse_frequency, mixup, mutual_loss, soft_target_loss


def test_smoothed_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = logits.log_softmax(1)[0]
    target = torch.tensor([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    loss = classification_loss(logits, torch.tensor([0]), smoothing=0.1)
    assert float(loss) == pytest.approx(float(-(target * log_p).sum()), rel=1e-6)


def test_mixed_loss_is_the_blend() -> None:
    logits, labels, order = torch.randn(4, 5), torch.tensor([0, 1, 2, 3]), torch.tensor([3, 2, 1, 0])
    mixed = classification_loss(logits, labels, mixed_with=order, share=0.3)
    one, other = classification_loss(logits, labels), classification_loss(logits, labels[order])
    assert float(mixed) == pytest.approx(0.3 * float(one) + 0.7 * float(other), rel=1e-6)


def test_mixup_blends_whole_clips_and_is_a_function_of_the_generator() -> None:
    clips = torch.arange(6.0).reshape(6, 1, 1, 1, 1).expand(6, 2, 3, 4, 4)
    mixed, order, share = mixup(clips, 0.2, np.random.default_rng(3))
    again, same_order, same_share = mixup(clips, 0.2, np.random.default_rng(3))
    assert torch.equal(mixed, again)
    assert torch.equal(order, same_order)
    assert share == same_share
    assert 0 <= share <= 1
    assert sorted(order.tolist()) == list(range(6))
    torch.testing.assert_close(mixed, share * clips + (1 - share) * clips[order])


def test_mixup_share_follows_the_beta_distribution() -> None:
    shares = np.array([mixup(torch.zeros(1, 1), 0.2, np.random.default_rng(seed))[2] for seed in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    # Var of Beta(a, a) = 1 / (4 (2 a + 1))
    assert shares.var() == pytest.approx(1 / (4 * 1.4), abs=0.015)


def test_equal_to_paddlevideos_losses(shared: Path) -> None:
    folder = shared / "reference" / "training"
    expected, arrays = json.loads((folder / "losses.json").read_text()), np.load(folder / "losses.npz")
    scores = torch.from_numpy(arrays["scores"])
    a, b = (torch.from_numpy(arrays[name][:, 0]).long() for name in ("labels_a", "labels_b"))
    assert float(classification_loss(scores, a)) == pytest.approx(expected["valid"]["loss"], rel=1e-6)
    smoothed = classification_loss(scores, a, smoothing=0.1)
    assert float(smoothed) == pytest.approx(expected["ls_train"]["loss"], rel=1e-6)
    share = float(arrays["lam"][0])
    other = classification_loss(scores, b, smoothing=0.1)
    mixed = share * smoothed + (1 - share) * other
    assert float(mixed) == pytest.approx(expected["ls_mixup"]["loss"], rel=1e-6)
    # Its eps of 1e-12 inside the logarithms is below float32's digits here.
    others = torch.from_numpy(arrays["scores2"])
    assert float(mutual_loss(scores, others)) == pytest.approx(expected["dml"], rel=1e-6)


def test_mutual_loss_by_hand_with_gradients_to_both() -> None:
    one, other = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for temperature in (1.0, 3.0):
        p, q = (logits / temperature for logits in (one, other))
        p, q = p.softmax(1), q.softmax(1)
        by_hand = temperature**2 * 0.5 * ((p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)).mean()
        loss = mutual_loss(one, other, temperature=temperature)
        assert float(loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-5)
        expected = torch.autograd.grad(by_hand, (one, other))
        for gradient, right in zip(torch.autograd.grad(loss, (one, other)), expected, strict=True):
            torch.testing.assert_close(gradient, right, rtol=1e-4, atol=1e-6)


def test_soft_targets_by_hand() -> None:
    logits, teacher = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    target = (teacher / 2).softmax(1)
    by_hand = 4 * (target * (target / (logits / 2).softmax(1)).log()).sum(1).mean()
    assert float(soft_target_loss(logits, target, temperature=2.0)) == pytest.approx(float(by_hand), rel=1e-5)
    assert float(soft_target_loss(teacher, target, temperature=2.0)) == pytest.approx(0, abs=1e-6)
    left_out = torch.cat([target, torch.zeros(3, 4)])
    halved = soft_target_loss(torch.cat([logits, logits]), left_out, temperature=2.0)
    assert float(halved) == pytest.approx(float(by_hand) / 2, rel=1e-5)


def test_class_weights_scale_each_clip_by_its_label() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    weights = torch.tensor([2.0, 0.5, 1.0])
    single = [float(classification_loss(logits[i : i + 1], labels[i : i + 1], smoothing=0.1)) for i in range(4)]
    by_hand = (2 * single[0] + 0.5 * single[1] + single[2] + 0.5 * single[3]) / 4
    assert float(classification_loss(logits, labels, smoothing=0.1, weights=weights)) == pytest.approx(by_hand)
    order = torch.tensor([1, 0, 3, 2])
    mixed = classification_loss(logits, labels, weights=weights, mixed_with=order, share=0.3)
    one, other = (classification_loss(logits, each, weights=weights) for each in (labels, labels[order]))
    assert float(mixed) == pytest.approx(0.3 * float(one) + 0.7 * float(other))


def test_inverse_frequencies_have_the_mean_one_over_the_clips() -> None:
    weights = inverse_frequency([6, 2, 0, 1])
    assert weights.tolist() == pytest.approx([0.5, 1.5, 1.0, 3.0])
    assert (6 * weights[0] + 2 * weights[1] + weights[3]) / 9 == pytest.approx(1.0)


def test_focal_loss_by_hand() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    p = logits.softmax(1)[torch.arange(5), labels]
    assert float(classification_loss(logits, labels, gamma=2.0)) == pytest.approx(
        float(-((1 - p) ** 2 * p.log()).mean())
    )
    nearly = classification_loss(logits, labels, smoothing=0.1, gamma=1e-9)
    assert float(nearly) == pytest.approx(float(classification_loss(logits, labels, smoothing=0.1)), rel=1e-6)
    sure = torch.tensor([[100.0, 0.0]], requires_grad=True)
    classification_loss(sure, torch.tensor([0]), gamma=0.5).backward()  # type: ignore[no-untyped-call]
    assert sure.grad is not None
    assert torch.isfinite(sure.grad).all()
