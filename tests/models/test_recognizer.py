from __future__ import annotations

import pickle

import huggingface_hub
import pytest
import timm
import torch

from clipshift.config import resolve
from clipshift.config.schema import ModelConfig
from clipshift.errors import ConfigError, WeightsError
from clipshift.models import pretrained
from clipshift.models.recognizer import Recognizer, build_recognizer

TSM = ModelConfig(architecture="tsm", backbone="test_resnet", pretrained=False, dropout=0.5)
TSN = TSM.model_copy(update={"architecture": "tsn"})


def _clips(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("model", [TSM, TSN])
def test_forward_is_features_then_classify(model: ModelConfig) -> None:
    network = build_recognizer(model, segments=3, classes=5).eval()
    clips = _clips(2, 3, 3, 32, 32)
    features = network.features(clips)
    assert features.shape == (2, 3, network.classifier.in_features)
    logits = network(clips)
    assert logits.shape == (2, 5)
    assert torch.equal(logits, network.classify(features))
    torch.testing.assert_close(logits, network.classifier(features).mean(dim=1))


def test_dropout_is_before_the_mean_in_tsm_and_after_it_in_tsn() -> None:
    features = torch.ones(1, 64, 512)
    for model, dropped in ((TSN, True), (TSM, False)):
        network = Recognizer(model, segments=64, classes=2).train()
        seen: list[torch.Tensor] = []
        network.classifier = torch.nn.Linear(512, 2)
        network.classifier.register_forward_pre_hook(lambda _module, inputs, seen=seen: seen.append(inputs[0]))
        network.classify(features)
        # A feature dropped after the mean is zero; one dropped in some of 64 frames is not.
        assert bool((seen[0] == 0).any()) == dropped


@pytest.mark.parametrize("model", [TSM, TSN])
def test_a_classifier_that_reads_motion_gets_the_changes_over_one_frame_two_and_more(model: ModelConfig) -> None:
    network = Recognizer(model.model_copy(update={"motion": True}), segments=5, classes=2)
    assert network.classifier.in_features == 3 * 96
    features = torch.zeros(1, 5, 96)
    features[0, :, 0] = torch.tensor([3.0, 3.0, 0.0, 0.0, 1.0])
    found = network.eval().embed(features).reshape(1, 3, 96)
    assert found[0, :, 1:].abs().max() == 0
    torch.testing.assert_close(found[0, :, 0], torch.tensor([7 / 5, (0 + 3 + 0 + 1) / 4, (3 + 3 + 1) / 3]))
    # What is dropped is dropped from all of a clip: else still frames would seem to move.
    still = network.train().embed(torch.ones(1, 5, 96)).reshape(1, 3, 96)
    assert still[0, 1:].abs().max() == 0
    assert set(still[0, 0].tolist()) == {0.0, 2.0}


def test_motion_needs_its_number_of_frames() -> None:
    network = Recognizer(TSN.model_copy(update={"motion": True}), segments=4, classes=2)
    with pytest.raises(ValueError, match="takes clips of 4 frames, got 6"):
        network(_clips(2, 6, 3, 32, 32))
    with pytest.raises(ConfigError, match=r"input\.segments of at least 2"):
        resolve(settings=["model.motion=true", "input.segments=1"])
    with pytest.raises(ConfigError, match=r"model\.shift\.order=past_only is for streams"):
        resolve("finetune-online", settings=["model.motion=true"])


def test_classifier_initialization() -> None:
    for std in (0.01, 0.001):
        network = Recognizer(TSM.model_copy(update={"classifier_std": std}), segments=2, classes=100)
        assert float(network.classifier.weight.detach().std()) == pytest.approx(std, rel=0.05)
        assert float(network.classifier.bias.detach().abs().max()) == 0
    seeded = [Recognizer(TSM, segments=2, classes=9, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    first, again, other = (network.state_dict() for network in seeded)
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in ("classifier.weight", "backbone.conv1.0.weight"):
        assert not torch.equal(first[name], other[name]), name


def test_number_of_frames() -> None:
    tsm, tsn = (Recognizer(model, segments=4, classes=2).eval() for model in (TSM, TSN))
    with pytest.raises(ValueError, match="takes clips of 4 frames, got 6"):
        tsm(_clips(2, 6, 3, 32, 32))
    assert tsn(_clips(2, 6, 3, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (1, 4, 4, 32, 32)])
def test_shape_is_checked(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must have the shape"):
        Recognizer(TSM, segments=4, classes=2)(_clips(*shape))


def test_frames_of_another_size_for_a_transformer() -> None:
    model = ModelConfig(architecture="tsn", backbone="test_vit3", pretrained=False)
    network = Recognizer(model, segments=2, classes=2, crop=64)
    assert network(_clips(1, 2, 3, 64, 64)).shape == (1, 2)
    with pytest.raises(ConfigError, match="another size") as caught:
        network(_clips(1, 2, 3, 96, 96))
    assert "input.crop=64" in str(caught.value.remedy)


def test_pickled_copy_gives_the_same() -> None:
    network = Recognizer(TSM, segments=2, classes=3).eval()
    clips = _clips(1, 2, 3, 32, 32)
    assert torch.equal(pickle.loads(pickle.dumps(network))(clips), network(clips))  # noqa: S301


def test_graph_is_whole_for_any_number_of_clips() -> None:
    network = Recognizer(TSM, segments=2, classes=3).eval()
    clips = _clips(2, 2, 3, 32, 32)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(network, (clips,), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(exported(_clips(5, 2, 3, 32, 32)), network(_clips(5, 2, 3, 32, 32)))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(clips), network(clips))


def test_pretrained_weights_fill_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    published = timm.create_model("test_resnet", num_classes=1000).state_dict()
    monkeypatch.setattr(pretrained, "_check_hub", lambda *_: None)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_args, **_kwargs: dict(published))
    network = build_recognizer(TSM.model_copy(update={"pretrained": True}), segments=2, classes=3)
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, published[name]), name


@pytest.mark.parametrize("error", [ConnectionError("no route to host"), huggingface_hub.errors.OfflineModeIsEnabled()])
def test_offline_is_said_at_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_args, **_kwargs: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    with pytest.raises(WeightsError) as caught:
        build_recognizer(ModelConfig(backbone="resnet18"), segments=2, classes=3)
    assert "--weights FILE" in str(caught.value.remedy)
    assert "model.pretrained=false" in str(caught.value.remedy)
    assert "resnet18" in str(caught.value.where)


def test_no_published_weights() -> None:
    with pytest.raises(WeightsError, match="cannot be had") as caught:
        build_recognizer(ModelConfig(backbone="efficientnet_lite1"), segments=2, classes=3)
    assert "publishes no weights" in str(caught.value.got)
