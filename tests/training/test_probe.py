"""The linear probe that a classifier starts from."""

from __future__ import annotations

import torch

from clipshift.training.probe import fit_linear_probe


def blobs(shift: float = 0.0, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centers = torch.tensor([[3.0, 0, 0, 0, 0], [0, 3.0, 0, 0, 0], [0, 0, 3.0, 0, 0]])
    return (centers[labels] + torch.randn(60, 5, generator=generator)) * scale + shift, labels


def test_it_separates_what_is_separable() -> None:
    features, labels = blobs()
    weight, bias = fit_linear_probe(features, labels, 3)
    assert weight.shape == (3, 5)
    assert bias.shape == (3,)
    assert ((features @ weight.T + bias).argmax(1) == labels).float().mean() > 0.9


def test_scale_and_offset_of_the_features_do_not_matter() -> None:
    logits = []
    for shift, scale in ((0.0, 1.0), (100.0, 0.01)):
        features, labels = blobs(shift, scale)
        weight, bias = fit_linear_probe(features.double(), labels, 3)
        logits.append(features.double() @ weight.double().T + bias.double())
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-2, atol=1e-2)


def test_a_constant_feature_gets_no_weight() -> None:
    features, labels = blobs()
    features[:, 4] = 7.0
    weight, _ = fit_linear_probe(features, labels, 3)
    assert weight[:, 4].abs().max() == 0


def test_it_does_not_depend_on_chance() -> None:
    features, labels = blobs()
    torch.manual_seed(1)
    one = fit_linear_probe(features, labels, 3)
    torch.manual_seed(2)
    two = fit_linear_probe(features, labels, 3)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_of_several_parts_all_weigh_the_same() -> None:
    features, labels = blobs()
    logits = []
    for factor in (1.0, 0.01):
        both = torch.cat([features, features.flip(0) * factor], dim=1).double()
        weight, bias = fit_linear_probe(both, labels, 3, parts=2)
        logits.append(both @ weight.double().T + bias.double())
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-2, atol=1e-2)
