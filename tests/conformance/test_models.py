"""Every network keeps every contract; at 64 px, with batch norms made random so that no branch is silent.

A new entry of the zoo is held to all of them by itself; another network by one line in `_MORE`.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from clipshift.config import ModelSpec
from clipshift.config.schema import InputConfig, ModelConfig, ShiftConfig
from clipshift.exporting.onnx_graph import network_to_onnx
from clipshift.exporting.openvino_graph import from_onnx
from clipshift.inference.engines.openvino import the_core
from clipshift.models.backbones import feature_width, timm_name
from clipshift.models.bundle import load_bundle, save_bundle
from clipshift.models.folding import fold_branches
from clipshift.models.paddle_backbones import PADDLE_BACKBONES
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO
from clipshift.weights.formats.paddlevideo import shift_of_paddle
from tests.shallow import shallow

SEGMENTS, CLASSES, CROP = 4, 3, 64


def _more(architecture: str, backbone: str, **settings: object) -> ModelConfig:
    return ModelConfig.model_validate({"architecture": architecture, "backbone": backbone, **settings})


_MORE = {
    "pptsm-r26 as PaddleVideo shifts": ZOO["pptsm-r50"].model.model_copy(
        update={"backbone": "resnet26d", "shift": shift_of_paddle(SEGMENTS)}
    ),
    "pptsmv2 as PaddleVideo shifts": ZOO["pptsmv2"].model.model_copy(update={"shift": shift_of_paddle(SEGMENTS)}),
    "tsm resnet26d": _more("tsm", "resnet26d"),
    "tsm test_resnet": _more("tsm", "test_resnet", shift=ShiftConfig(fold_div=3).model_dump()),
    "tsm test_resnet that reads motion": _more("tsm", "test_resnet", motion=True),
    "tsm resnest14d": _more("tsm", "resnest14d"),
    "tsm regnety_002": _more("tsm", "regnety_002"),
    "tsm mobilenetv2_050": _more("tsm", "mobilenetv2_050"),
    "tsm mobilenetv4_conv_small": _more("tsm", "mobilenetv4_conv_small"),
    "tsm lcnet_050": _more("tsm", "lcnet_050"),
    "tsm mobilenetv1_100": _more("tsm", "mobilenetv1_100"),
    "tsn lcnetv2_base": _more("tsn", "lcnetv2_base"),
    "tsn test_convnext2": _more("tsn", "test_convnext2"),
    "tsn test_vit": _more("tsn", "test_vit"),
}
MODELS = {**{name: entry.model for name, entry in ZOO.items()}, **_MORE}
# The same network with another number of frames is tried once.
NAMES = [name for name in MODELS if next(other for other in MODELS if MODELS[other] == MODELS[name]) == name]


def of(names: list[str]) -> pytest.MarkDecorator:
    """One test for each network; of several processes, one takes all tests of a network, which it builds once."""
    marked = [pytest.param(name, marks=pytest.mark.xdist_group(f"network {name}")) for name in names]
    return pytest.mark.parametrize("name", marked)


every_model = of(NAMES)


def _kinds() -> list[str]:
    """The names of networks of which no two are the same but for their depth; those that are shallow get one."""
    kinds: list[str] = []
    for name in NAMES:
        model = shallow(MODELS[name])
        if model not in [MODELS[other] for other in kinds]:
            kinds.append(name if model == MODELS[name] else f"{name} as deep as r26")
            MODELS[kinds[-1]] = model
    return kinds


KINDS = _kinds()
every_kind = of(KINDS)
# One of each kind of block that a compiler, an exporter or a training could spoil: bottlenecks with leaky ReLUs (and
# the stem of ResNet-D), both orders and roundings of the shift, basic blocks with a shift of thirds, inverted residuals
# with a shift of the past, hard-swish with squeeze-and-excitation, parallel branches with one shift and attention over
# time, layer norms, a vision transformer. Others differ from these in depth and width, or inside blocks of timm's.
_ONE_OF_A_KIND = [
    "pptsm-r26 as PaddleVideo shifts",
    "tsm test_resnet",
    "tsm-mobilenetv2-online",
    "tsm-mobilenetv3",
    "pptsmv2-16f-attention",
    "tsn test_convnext2",
    "tsn test_vit",
]
one_of_a_kind = of(_ONE_OF_A_KIND)


def _build(name: str, segments: int = SEGMENTS) -> Recognizer:
    model = MODELS[name].model_copy(update={"pretrained": False})
    return Recognizer(model, segments=segments, classes=CLASSES, crop=CROP)


@cache
def _network(name: str) -> Recognizer:
    network = _build(name)
    random = torch.Generator().manual_seed(1)
    nn.init.normal_(network.classifier.weight, generator=random)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.6, 1.0, generator=random)
        nn.init.normal_(norm.bias, std=0.1, generator=random)
        norm.momentum = None
    # Without statistics of its own, a network of depthwise convolutions hardly hears its input.
    with torch.no_grad():
        network.train()(_clips(clips=8))
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()


def _spec(name: str) -> ModelSpec:
    settings = InputConfig(segments=SEGMENTS, resize=CROP, crop=CROP)
    return ModelSpec(clipshift="0", model=_network(name).model, input=settings, classes=("a", "b", "c"))


def _clips(segments: int = SEGMENTS, clips: int = 2) -> torch.Tensor:
    """Noise in blocks of 16 px: in noise of single pixels, deep random networks blow up every rounding error."""
    blocks = torch.randn(clips, segments, 3, CROP // 16, CROP // 16, generator=torch.Generator().manual_seed(2))
    return blocks.repeat_interleave(16, dim=-1).repeat_interleave(16, dim=-2)


@cache
def _logits(name: str) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(_network(name)(_clips()))


@cache
def _exact_logits(name: str) -> torch.Tensor:
    """In double precision: deep networks of random weights make much of every rounding error."""
    with torch.no_grad():
        return torch.as_tensor(copy.deepcopy(_network(name)).double()(_clips().double()))


def _difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(((first - second).abs().max() / first.abs().max()).detach())


@every_model
def test_shapes(name: str) -> None:
    network = _network(name)
    with torch.no_grad():
        features = network.features(_clips())
        embedded = network.embed(features)
    assert features.shape == (2, SEGMENTS, feature_width(network.backbone))
    assert embedded.shape == (2, network.classifier.in_features)
    assert _logits(name).shape == (2, CLASSES)
    assert torch.isfinite(_logits(name)).all()


@every_model
def test_names_are_those_of_timm(name: str) -> None:
    network = _network(name)
    backbone = network.model.backbone
    names = [entry for entry in network.state_dict() if "temporal_attention" not in entry]
    assert names[-2:] == ["classifier.weight", "classifier.bias"]
    if backbone in PADDLE_BACKBONES:  # another first block, and no bias before the classifier
        return
    with torch.device("meta"):
        expected = list(timm.create_model(timm_name(backbone), num_classes=0).state_dict())
    assert names[:-2] == [f"backbone.{entry}" for entry in expected]


@every_model
def test_order_of_frames_counts_in_tsm_only_and_in_its_clip_only(name: str) -> None:
    backwards = _clips()
    backwards[0] = backwards[0].flip(0)
    with torch.no_grad():
        logits = _network(name)(backwards)
    expected = _logits(name)
    if MODELS[name].architecture == "tsm":
        assert _difference(expected[:1], logits[:1]) > 1e-2
    else:
        assert _difference(expected[:1], logits[:1]) < 1e-3
    assert _difference(expected[1:], logits[1:]) < 1e-3


@every_kind
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = _network(name)
    # In evaluation mode: the batch norms' statistics stay as they are for the other tests.
    logits = network(_clips())
    gradients = torch.autograd.grad(logits.logsumexp(1).sum(), list(network.parameters()), allow_unused=True)
    names = [name for name, _ in network.named_parameters()]
    silent = [n for n, gradient in zip(names, gradients, strict=True) if gradient is None or not gradient.any()]
    assert silent == []


@every_model
def test_other_batch_sizes_and_numbers_of_frames(name: str) -> None:
    network = _network(name)
    with torch.no_grad():
        one_by_one = torch.cat([network(clip[None]) for clip in _clips()])
        assert _difference(_logits(name), one_by_one) < 1e-3
        if MODELS[name].architecture == "tsn":
            assert network(_clips(segments=1)).shape == network(_clips(segments=5)).shape == (2, CLASSES)
        else:
            with pytest.raises(ValueError, match=f"takes clips of {SEGMENTS} frames, got 5"):
                network(_clips(segments=5))


@pytest.mark.parametrize("segments", [1, 16])
@of(["tsm-mobilenetv2", "pptsmv2-16f-attention", "tsm test_resnet"])
def test_built_for_other_numbers_of_frames(name: str, segments: int) -> None:
    with torch.no_grad():
        logits = _build(name, segments).eval()(_clips(segments, clips=1))
    assert logits.shape == (1, CLASSES)
    assert torch.isfinite(logits).all()


@every_kind
def test_memory_order_and_folding_keep_the_numbers(name: str) -> None:
    network, clips = copy.deepcopy(_network(name)).double(), _clips(clips=1).double()
    expected = _exact_logits(name)[:1]
    with torch.no_grad():
        assert _difference(expected, fold_branches(network)(clips)) < 1e-9
        assert _difference(expected, network.to(memory_format=torch.channels_last)(clips)) < 1e-9


@one_of_a_kind
def test_compiling_keeps_the_numbers(name: str) -> None:
    # The graph as it is rewritten for a compiler of C++, without that compiler, which not every machine has.
    compiled = torch.compile(_network(name), backend="aot_eager", fullgraph=True)
    try:
        with torch.no_grad():
            assert _difference(_logits(name), compiled(_clips())) < 1e-5
    finally:
        torch.compiler.reset()


@every_kind
def test_half_precision_errs_as_its_digits_tell(name: str) -> None:
    exact = _exact_logits(name)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = _network(name)(_clips()).double()
    # bfloat16 has 16 binary digits fewer than float32.
    assert _difference(exact, half) < 0.02 + 2**17 * _difference(exact, _logits(name).double())


@every_kind
def test_bundle_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    save_bundle(tmp_path, _network(name), _spec(name))
    loaded, _ = load_bundle(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(_clips()), _logits(name))


_EXPORT_ERROR = 1e-4
"""Of the logits, relative to the largest, in float32. Deep networks of random weights enlarge rounding errors: of
tsm-r101, PyTorch itself was seen to be 1.1e-4 from double precision, ONNX Runtime 0.6e-4."""


@one_of_a_kind
def test_exports_give_the_logits(name: str) -> None:
    network, clips = _network(name), _clips().numpy()
    spec = _spec(name)
    model = network_to_onnx(network, spec)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = the_core().compile_model(from_onnx(model), "CPU", settings)
    for count in (2, 1):
        expected = _logits(name)[:count]
        for found in (session.run(["logits"], {"clips": clips[:count]})[0], compiled([clips[:count]])["logits"]):
            assert _difference(expected, torch.from_numpy(np.asarray(found))) < _EXPORT_ERROR


@one_of_a_kind
def test_overfits_four_clips(name: str) -> None:
    # Without dropout nothing is drawn, and the loss falls alike at every run.
    model = MODELS[name].model_copy(update={"pretrained": False, "dropout": 0.0})
    network = Recognizer(model, segments=SEGMENTS, classes=CLASSES, crop=CROP).train()
    clips, labels = _clips(clips=4), torch.arange(4) % CLASSES
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0)
    for _ in range(_MOST_UPDATES):
        loss = F.cross_entropy(network(clips), labels)
        if loss < 0.1:
            return
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    pytest.fail(f"the loss is still {loss:.3f} after {_MOST_UPDATES} updates")


_MOST_UPDATES = 300
