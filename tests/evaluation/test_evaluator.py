from __future__ import annotations

import multiprocessing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from clipshift._version import __version__
from clipshift.config import DataConfig, EvaluateConfig, InputConfig, ModelConfig, ModelSpec
from clipshift.datasets.manifest import Manifest
from clipshift.device import Amp, pick_device
from clipshift.errors import ConfigError, DataError, DivergedError, WeightsError
from clipshift.evaluation.evaluator import describe_protocol, evaluate, evaluate_manifest, score_clips
from clipshift.evaluation.results import Evaluation, load_evaluation
from clipshift.inference.network_scorer import NetworkScorer, evaluating
from clipshift.inference.views import read_views
from clipshift.models.bundle import load_bundle, save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.parallel.prefetch import pick_threads
from clipshift.preprocessing.transforms import normalize
from tests.evaluation.synthetic import CLASSES, SETTINGS, SmallNetwork, make_manifest

DATA = DataConfig()


def run(
    manifest: Manifest, network: nn.Module | None = None, protocol: EvaluateConfig | None = None, workers: int = 0
) -> Evaluation:
    chosen = network or SmallNetwork()
    with evaluating(chosen):
        return evaluate_manifest(scorer(chosen), manifest, protocol or EvaluateConfig(), workers=workers)


def scorer(network: nn.Module, amp: Amp = "fp32") -> NetworkScorer:
    spec = ModelSpec(clipshift="0", model=ModelConfig(), input=SETTINGS, reading=DATA.reading, classes=CLASSES)
    return NetworkScorer(network.eval(), spec, torch.device("cpu"), amp, as_trained=True)


def logits_of(evaluation: Evaluation) -> np.ndarray:
    return np.array([score.logits for score in evaluation.scores if score.logits is not None])


@pytest.mark.parametrize("crops", ["center", "three", "ten"])
def test_logits_are_the_average_over_the_views(tmp_path: Path, crops: str) -> None:
    manifest = make_manifest(tmp_path, clips=3)
    protocol = EvaluateConfig.model_validate({"crops": crops, "clips": 2, "batch_size": 4})
    found = run(manifest, protocol=protocol)
    network = SmallNetwork().eval()
    for clip, score in zip(manifest.clips, found.scores, strict=True):
        views_VTCHW = read_views(clip, SETTINGS, DATA, crops=protocol.crops, clips=2)
        with torch.inference_mode():
            expected = network(normalize(views_VTCHW, SETTINGS.mean, SETTINGS.std)).mean(dim=0)
        assert score.logits == pytest.approx(expected.tolist(), abs=1e-5)
        assert (score.name, score.path, score.label) == (clip.name, str(clip.path), clip.label)


def test_batch_size_and_workers_change_nothing(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path, clips=11, broken=[4])
    reference = run(manifest, protocol=EvaluateConfig(batch_size=8, crops="three"))
    for batch_size, workers in ((1, 0), (3, 2), (8, 3), (64, 1)):
        found = run(manifest, protocol=EvaluateConfig(batch_size=batch_size, crops="three"), workers=workers)
        np.testing.assert_allclose(logits_of(found), logits_of(reference), atol=1e-5)
        assert [score.predicted for score in found.scores] == [score.predicted for score in reference.scores]
        assert [score.name for score in found.scores] == [clip.name for clip in manifest.clips]
        assert found.metrics.confusion == reference.metrics.confusion
        assert found.metrics.top1 == reference.metrics.top1


def test_the_network_never_sees_more_views_than_the_batch_size(tmp_path: Path) -> None:
    network = SmallNetwork()
    run(make_manifest(tmp_path, clips=3), network, EvaluateConfig(crops="ten", clips=2, batch_size=7))
    assert max(network.batches) == 7
    assert sum(network.batches) == 3 * 20


@pytest.mark.parametrize(("bad", "top1_of"), [("wrong", 20), ("exclude", 19)])
def test_one_broken_video_in_twenty_is_listed_and_counted(tmp_path: Path, bad: str, top1_of: int) -> None:
    manifest = make_manifest(tmp_path, clips=20, broken=[7])
    found = run(manifest, protocol=EvaluateConfig.model_validate({"bad": bad}))
    assert (found.metrics.total, found.metrics.scored, found.metrics.bad) == (20, 19, 1)
    right = sum(score.correct for score in found.scores)
    assert found.metrics.top1 == right / top1_of
    broken = found.scores[7]
    assert broken.logits is None
    assert broken.error
    assert "\n" not in broken.error
    assert all(score.error is None for score in found.scores if score is not broken)


@pytest.mark.parametrize("bad", ["wrong", "exclude"])
def test_a_set_of_only_broken_videos_gives_no_figure(tmp_path: Path, bad: Literal["wrong", "exclude"]) -> None:
    manifest = make_manifest(tmp_path, clips=2, broken=[0, 1])
    with pytest.raises(DataError, match="Not one of the clips can be read") as caught:
        run(manifest, protocol=EvaluateConfig(bad=bad))
    assert str(caught.value.got).startswith(manifest.clips[0].name)


def test_modes_gradients_and_statistics_are_left_as_they_were(tmp_path: Path) -> None:
    network = SmallNetwork().train()
    network.frozen.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    run(make_manifest(tmp_path, clips=3), network)
    assert [network.training, network.norm.training, network.frozen.training] == [True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_modes_are_restored_after_an_error(tmp_path: Path) -> None:
    class Failing(SmallNetwork):
        def forward(self, clips_BTCHW: Tensor) -> Tensor:
            raise RuntimeError(f"a bug with {len(clips_BTCHW)} clips")

    network = Failing().train()
    with pytest.raises(RuntimeError, match="a bug"):
        run(make_manifest(tmp_path, clips=4), network, workers=2)
    assert network.norm.training


def test_bf16_is_used_when_asked_for(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path, clips=3)
    full = score_clips(scorer(SmallNetwork()), manifest.clips, EvaluateConfig())
    mixed = score_clips(scorer(SmallNetwork(), "bf16"), manifest.clips, EvaluateConfig())
    one, other = [np.array([score.logits for score in scores]) for scores in (full, mixed)]
    assert 0 < np.abs(one - other).max() < 0.1 * np.abs(one).max()


def test_progress_counts_every_video(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    manifest = make_manifest(tmp_path, clips=3, broken=[1])
    score_clips(
        scorer(SmallNetwork()),
        manifest.clips,
        EvaluateConfig(),
        workers=0,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_infinite_answers_name_the_video(tmp_path: Path) -> None:
    network = SmallNetwork()
    with torch.no_grad():
        network.classifier.bias[1] = torch.nan
    with pytest.raises(DivergedError, match=r"NaN.*\n.*jump/00"):
        run(make_manifest(tmp_path, clips=2), network)


def test_clips_without_a_label_and_empty_sets_are_refused(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path, clips=1)
    unlabeled = replace(manifest, clips=(replace(manifest.clips[0], label=None),))
    with pytest.raises(DataError, match="no label"):
        run(unlabeled)
    with pytest.raises(DataError, match="no clip"):
        run(replace(manifest, clips=()))


def _one_rank(rank: int, root: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{root}/meeting", rank=rank, world_size=2, timeout=timedelta(seconds=1800)
    )
    try:
        clips = make_manifest(root / f"clips{rank}", clips=7, broken=[2])
        found = evaluate_manifest(scorer(SmallNetwork()), clips, EvaluateConfig(), workers=1, rank=rank, ranks=2)
    finally:
        dist.destroy_process_group()
    found.save(root / f"rank{rank}")


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    other = multiprocessing.get_context("spawn").Process(target=_one_rank, args=(1, tmp_path))
    other.start()
    _one_rank(0, tmp_path)
    other.join()
    assert other.exitcode == 0
    alone = run(make_manifest(tmp_path / "clips", clips=7, broken=[2]))
    for rank in range(2):
        found = load_evaluation(tmp_path / f"rank{rank}")
        assert found.metrics.confusion == alone.metrics.confusion
        assert found.metrics.summary() == pytest.approx(alone.metrics.summary(), abs=1e-6)
        assert [score.name for score in found.scores] == [score.name for score in alone.scores]
        assert [score.predicted for score in found.scores] == [score.predicted for score in alone.scores]
        np.testing.assert_allclose(logits_of(found), logits_of(alone), atol=1e-5)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    settings = ModelConfig(architecture="tsn", backbone="mobilenetv2_035", pretrained=False)
    network = Recognizer(settings, segments=2, classes=len(CLASSES))
    spec = ModelSpec(clipshift=__version__, model=settings, input=SETTINGS, classes=CLASSES)
    save_bundle(tmp_path / "run" / "model", network, spec)
    return tmp_path / "run"


def test_the_public_call_reads_a_run_and_a_folder(tmp_path: Path, model: Path) -> None:
    make_manifest(tmp_path / "data", clips=7, broken=[3])
    found = evaluate(model, tmp_path / "data", device="cpu", workers=1, clips=2, out=tmp_path / "out")
    assert (found.metrics.total, found.metrics.scored, found.metrics.bad) == (7, 6, 1)
    assert found.classes == CLASSES
    assert found.model["path"] == str(model / "model")
    assert len(found.model["sha256"]) == 64
    assert "2 clips" in found.protocol
    assert (tmp_path / "out" / "predictions.jsonl").is_file()
    assert (tmp_path / "out" / "metrics.json").is_file()


def test_the_public_call_takes_the_models_own_views(tmp_path: Path, model: Path) -> None:
    make_manifest(tmp_path / "data", clips=3)
    network, spec = load_bundle(model / "model")
    own = spec.model_copy(update={"crops": "three", "clips": 2, "average": "probabilities"})
    found = evaluate((network, own), tmp_path / "data", device="cpu", workers=0)
    assert found.protocol.startswith("2 frames, 2 clips x 3 crops")
    assert found.protocol.endswith(", probabilities averaged over them")
    for logits in logits_of(found):
        assert np.exp(logits).sum() == pytest.approx(1, abs=1e-5)
    asked = evaluate((network, own), tmp_path / "data", crops="center", clips=1, device="cpu", workers=0)
    assert "1 clip x 1 center crop" in asked.protocol
    ends = spec.model_copy(update={"input": spec.input.model_copy(update={"sampling": "ends"})})
    with pytest.raises(ConfigError, match=r"clips=2 with input\.sampling=ends"):
        evaluate((network, ends), tmp_path / "data", clips=2, device="cpu", workers=0)


def test_the_public_call_says_what_is_wrong(tmp_path: Path, model: Path) -> None:
    make_manifest(tmp_path / "data", clips=1)
    with pytest.raises(ConfigError, match=r"evaluate\.clips"):
        evaluate(model, tmp_path / "data", clips=0)
    with pytest.raises(WeightsError):
        evaluate(tmp_path, tmp_path / "data")
    with pytest.raises(ConfigError, match="device"):
        evaluate(model, tmp_path / "data", device="tpu")
    with pytest.raises(ConfigError, match="fp16"):
        evaluate(model, tmp_path / "data", device="cpu", amp="fp16")
    (tmp_path / "data" / "jump").rename(tmp_path / "data" / "fly")
    with pytest.raises(DataError, match="fly"):
        evaluate(model, tmp_path / "data", device="cpu")


def test_protocols_are_described() -> None:
    assert describe_protocol(SETTINGS, EvaluateConfig()) == (
        "2 frames, 1 clip x 1 center crop of 12 px from short side 16 px"
    )
    assert describe_protocol(SETTINGS, EvaluateConfig(crops="three", clips=10)) == (
        "2 frames, 10 clips x 3 crops of 16 px from short side 16 px, logits averaged over them"
    )


def test_protocols_name_another_sampling_and_aspect() -> None:
    settings = InputConfig(sampling="block_middle", aspect="four_thirds")
    assert describe_protocol(settings, EvaluateConfig(crops="ten"), "probabilities") == (
        "8 frames (block_middle), 1 clip x 10 crops of 224 px from short side 256 px at 4:3, "
        "probabilities averaged over them"
    )


def test_devices_and_threads() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"cuda:77"):
        pick_device("cuda:77")
    with pytest.raises(ConfigError, match="no such device"):
        pick_device("cuda:x")
    assert pick_threads(3) == 3
    assert pick_threads("auto") >= 1
