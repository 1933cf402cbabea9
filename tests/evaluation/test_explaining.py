"""Explanations find what a network goes by: by hand, in a network that learnt planted evidence, in exports."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import explanations
import numpy as np
import pytest
import torch
from PIL import Image

import clipshift
from clipshift.cli import app
from clipshift.config import InputConfig, ModelConfig, ModelSpec
from clipshift.errors import ConfigError, DataError, ExportError, OutputError, RunError, UserError, VideoError
from clipshift.evaluation.explaining.explanation import Explanation, HeatMaps
from clipshift.evaluation.explaining.grad_cam import grad_cam, has_maps, normalized_center
from clipshift.evaluation.explaining.heat import heat_layer
from clipshift.evaluation.explaining.making import explain_with, log_odds
from clipshift.evaluation.explaining.occlusion import Occlusion, Seen, blurred
from clipshift.evaluation.report.page import write_report
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.models.recognizer import Recognizer
from tests.conftest import MakeExport
from tests.exporting.making import noise

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clip(small_clips: Path) -> Path:
    return min(small_clips.rglob("*.mp4"))


@pytest.fixture(scope="module")
def model(small_model: Path) -> clipshift.Model:
    return clipshift.load(small_model, device="cpu")


def sums(frames_THWC: np.ndarray) -> np.ndarray:
    """A model that adds up what its frames show, later ones with more weight."""
    weights = np.arange(1, len(frames_THWC) + 1)
    total = float((frames_THWC[:, :, :, 0].mean(axis=(1, 2)) * weights).sum())
    return np.array([total, 0.0], np.float32)


def gray(*levels: int) -> np.ndarray:
    return np.stack([np.full((8, 10, 3), level, np.uint8) for level in levels])


def test_frames_are_hidden_wherever_they_stand() -> None:
    seen = Seen(gray(10, 20, 60), (0, 4, 9), None, ((0, 1, 2), (1, 1, 2)))
    occlusion = Occlusion(sums, seen)
    whole = occlusion.whole()
    assert whole[:, 0].tolist() == [10 + 40 + 180, 20 + 40 + 180]
    neighbor = [row[0] for row in occlusion.without_frames(whole, "neighbor")]
    assert neighbor == [(20 + 40 + 180 + 240) / 2, (10 + 20 + 180 + 360) / 2, (10 + 40 + 60 + 20 + 40 + 60) / 2]
    mean = [row[0] for row in occlusion.without_frames(whole, "mean")]
    assert mean == [(40 + 40 + 180 + 240) / 2, (10 + 70 + 180 + 360) / 2, (10 + 40 + 45 + 20 + 40 + 60) / 2]
    assert [row[0] for row in occlusion.without_frames(whole, "blurred")] == [235.0] * 3


def test_places_are_hidden_in_all_frames() -> None:
    frames = gray(0, 0)
    frames[:, 6:, 8:] = 240
    occlusion = Occlusion(sums, Seen(frames, (0, 1), None, ((0, 1),)))
    rows = [float(row[0]) for row in occlusion.without_places(4, 5)]
    whole = float(occlusion.whole()[0, 0])
    assert int(np.argmax(whole - np.array(rows))) == 19
    assert rows[0] == rows[6] == whole
    assert blurred(frames[0])[7, 9].mean() < 240


def test_the_logarithm_of_the_odds() -> None:
    spec = ModelSpec(clipshift="0", model=ModelConfig(), input=InputConfig(), classes=("a", "b", "c"))
    logits = np.array([1.0, 3.0, -2.0], np.float32)
    chances = np.exp(logits) / np.exp(logits).sum()
    assert log_odds(logits, 1, spec) == pytest.approx(np.log(chances[1] / (1 - chances[1])))
    assert log_odds(logits + 700, 1, spec) == pytest.approx(log_odds(logits, 1, spec))
    assert log_odds(logits, 1, spec.model_copy(update={"labels": "several"})) == 3


def train(kind: str, clips: int, updates: int) -> NetworkScorer:
    """A small TSM that has learnt planted evidence, the same at every call."""
    settings = InputConfig(segments=explanations.SEGMENTS, resize=32, crop=32)
    spec = ModelSpec(
        clipshift="0",
        model=ModelConfig(backbone="test_resnet", pretrained=False, dropout=0.0),
        input=settings,
        classes=explanations.CLASSES,
    )
    network = Recognizer(spec.model, segments=settings.segments, classes=2)
    made = [explanations.planted(kind, number % 2, np.random.default_rng([0, number])) for number in range(clips)]
    inputs = torch.stack([normalized_center(each.frames[1::3], settings) for each in made])
    labels = torch.tensor([each.label for each in made])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    order = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(updates):
        batch = torch.randperm(clips, generator=order)[:16]
        loss = torch.nn.functional.cross_entropy(network(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return NetworkScorer(network.eval(), spec, torch.device("cpu"))


def test_the_span_of_planted_evidence_is_found() -> None:
    """In 95 % of held-out clips the frame whose hiding costs most shows the evidence; by chance in two of eight."""
    scorer = train("sign", clips=64, updates=40)
    found = 0
    for number in range(40):
        clip = explanations.planted("sign", number % 2, np.random.default_rng([1, number]))
        explanation = explain_with(scorer, clip.frames, index=clip.label, where="none")
        assert explanation.decisive is not None
        found += clip.in_span(explanation.frames[explanation.decisive].index)
    assert found >= 38


def test_hiding_a_frame_is_answering_without_it(model: clipshift.Model) -> None:
    frames = noise(4, 36, 48)
    found = clipshift.explain(model, frames, label=model.classes[2])
    np.testing.assert_allclose(found.probabilities, model.predict(frames).probabilities, atol=1e-6)
    assert found.label == model.classes[2]
    assert [frame.index for frame in found.frames] == [0, 1, 2, 3]
    changed = frames.copy()
    changed[1] = np.rint(frames[[0, 2, 3]].mean(axis=0, dtype=np.float32))
    without, frame = float(model.predict(changed).probabilities[2]), found.frames[1]
    assert frame.probability == pytest.approx(without, abs=1e-6)
    assert frame.drop == pytest.approx(found.probability - without, abs=1e-6)
    odds = [np.log(chance / (1 - chance)) for chance in (found.probability, without)]
    assert frame.logit_drop == pytest.approx(odds[0] - odds[1], abs=1e-4)


def test_views_are_those_of_prediction(model: clipshift.Model, clip: Path) -> None:
    told = []
    found = clipshift.explain(
        model, clip, crops="three", clips=2, where="none", progress=lambda done, total: told.append((done, total))
    )
    expected = model.predict(clip, crops="three", clips=2)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    assert len(found.frames) == 8
    assert told == [(done, 10) for done in range(1, 11)]


def test_grad_cam_of_a_linear_end_is_the_map_of_each_class(model: clipshift.Model) -> None:
    """After pooling and a linear classifier the gradient is its weight (Zhou et al. 2016): the map by hand."""
    scorer = model.scorer
    assert isinstance(scorer, NetworkScorer)
    network = scorer.network
    assert isinstance(network, Recognizer)
    large = replace(
        scorer, spec=scorer.spec.model_copy(update={"input": InputConfig(segments=4, resize=160, crop=160)})
    )
    assert has_maps(large)
    frames = noise(4, 160, 200)
    with torch.no_grad():
        maps = network.backbone.forward_features(normalized_center(frames, large.spec.input))  # type: ignore[operator]
        expected = torch.einsum("k,tkhw->thw", network.classifier.weight[1], maps).relu() / (4 * maps[0, 0].numel())
    np.testing.assert_allclose(grad_cam(large, frames, 1), expected, atol=1e-6)
    found = explain_with(large, frames, index=1)
    assert found.heat is not None
    assert found.heat.box == (20 / 200, 0.0, 160 / 200, 1.0)
    np.testing.assert_allclose(found.heat.maps, expected, atol=1e-6)


def test_small_crops_show_maps_of_an_earlier_stage(model: clipshift.Model) -> None:
    scorer = model.scorer
    assert isinstance(scorer, NetworkScorer)
    network = scorer.network
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    heat = grad_cam(scorer, noise(4, 36, 36), 0)
    assert heat.shape == (4, 8, 8)
    assert heat.min() == 0 < heat.max()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(before[name], parameter) for name, parameter in network.named_parameters())


def test_several_threads_can_ask_at_once(model: clipshift.Model) -> None:
    scorer, frames = model.scorer, noise(4, 36, 36)
    assert isinstance(scorer, NetworkScorer)
    labels = [index % 4 for index in range(16)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda label: grad_cam(scorer, frames, label), labels))
    for label, heat in zip(labels, found, strict=True):
        np.testing.assert_allclose(heat, grad_cam(scorer, frames, label), atol=1e-6)
    assert all(isinstance(each, torch.nn.Parameter) for each in scorer.network.parameters())


def test_heat_lies_where_the_maps_do() -> None:
    heat = HeatMaps("grad-cam", (0.5, 0.0, 0.5, 1.0), np.array([[[0.0, 2.0]], [[1.0, 0.0]]], np.float32))
    layer = heat_layer(heat, 0, 40, 20)
    assert layer.shape == (20, 40, 4)
    assert layer[:, :20, 3].max() == 0
    assert layer[10, 38, 3] > 150
    assert layer[10, 22, 3] < 20
    assert heat.hottest(0) == (0.875, 0.5)
    assert heat.of_frame(1).max() == 0.5


@pytest.fixture(scope="module")
def made(small_model: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Explanation, Path]:
    """The small model's explanation of a file, and its folder."""
    out = tmp_path_factory.mktemp("explained") / "why"
    return clipshift.explain(small_model, clip, out=out, device="cpu"), out


def test_the_data(made: tuple[Explanation, Path], model: clipshift.Model, clip: Path) -> None:
    found, out = made
    data = json.loads((out / "explanation.json").read_text(encoding="utf-8"))
    assert (data["kind"], data["format"], data["path"]) == ("explanation", 1, str(clip))
    assert data["label"] == model.predict(clip).label
    assert data["probability"] == pytest.approx(found.probability, abs=1e-6)
    assert [frame["index"] for frame in data["frames"]] == [1, 3, 5, 7]
    assert [frame["time"] for frame in data["frames"]] == pytest.approx([each / 12 for each in (1, 3, 5, 7)], abs=1e-3)
    assert data["heat"]["method"] == "grad-cam"
    assert np.array(data["heat"]["maps"]).shape[0] == 4
    assert set(data["model"]) == {"path", "sha256"}


def test_the_page_needs_nothing_else(made: tuple[Explanation, Path]) -> None:
    found, out = made
    html = (out / "explanation.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|src=\"(?!data:)", html)
    assert html.count('<img src="data:image/jpeg') == html.count('<img class="heat" src="data:image/png') == 4
    assert "default-src 'none'" in html
    assert found.sentence() in html
    with Image.open(out / "explanation.png") as picture:
        assert picture.width > picture.height > 200


def test_a_span_has_the_numbers_and_times_of_the_file(model: clipshift.Model, clip: Path) -> None:
    found = clipshift.explain(model, f"{clip}#t=0.3,0.6", where="none")
    assert [frame.index for frame in found.frames] == [3, 4, 6, 7]
    assert [frame.time for frame in found.frames] == pytest.approx([3 / 12, 4 / 12, 6 / 12, 7 / 12], abs=1e-3)


def test_exports_are_explained_by_hiding(
    exported: MakeExport, model: clipshift.Model, clip: Path, tmp_path: Path
) -> None:
    folder = exported("onnx").folder
    # A file scales frames after they are hidden: of a mean other roundings would come.
    found = clipshift.explain(folder, clip, fill="neighbor", device="cpu")
    expected = clipshift.explain(model, clip, fill="neighbor", where="occlusion")
    for ours, theirs in zip(found.frames, expected.frames, strict=True):
        assert ours.logit_drop == pytest.approx(theirs.logit_drop, abs=1e-3)
    assert found.heat is not None
    assert expected.heat is not None
    assert found.heat.method == "occlusion"
    assert found.heat.maps.shape == expected.heat.maps.shape == (1, 7, 7)
    assert any("no gradients" in note for note in found.notes)
    with pytest.raises(ExportError, match="no gradients"):
        clipshift.explain(folder, clip, where="grad-cam", device="cpu", out=tmp_path / "why")
    assert not (tmp_path / "why").exists()
    with pytest.raises(ConfigError, match="crops are inside"):
        clipshift.explain(folder, clip, crops="three", device="cpu")


def test_networks_that_end_in_tokens_are_explained_by_hiding() -> None:
    spec = ModelSpec(
        clipshift="0",
        model=ModelConfig(architecture="tsn", backbone="test_vit", pretrained=False),
        input=InputConfig(segments=2, resize=160, crop=160),
        classes=("a", "b"),
    )
    scorer = NetworkScorer(Recognizer(spec.model, segments=2, classes=2, crop=160).eval(), spec, torch.device("cpu"))
    found = explain_with(scorer, noise(2, 32, 32))
    assert found.heat is not None
    assert found.heat.method == "occlusion"
    assert any("vision transformers" in note for note in found.notes)
    with pytest.raises(ConfigError, match="maps of features"):
        explain_with(scorer, noise(2, 32, 32), where="grad-cam")


def test_short_clips(model: clipshift.Model) -> None:
    found = clipshift.explain(model, noise(3, 36, 36))
    assert [frame.index for frame in found.frames] == [0, 1, 2]
    assert any("The clip is short" in note for note in found.notes)
    one = clipshift.explain(model, noise(1, 36, 36))
    assert one.decisive is None
    assert one.frames[0].drop is None
    assert "cannot be told" in one.to_text()
    assert any("one frame" in note for note in one.notes)


def test_what_cannot_be_explained(model: clipshift.Model, small_clips: Path, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no class of this name[^$]*nearest names: left_to_right"):
        clipshift.explain(model, clip, label="left_to_rihgt")
    with pytest.raises(DataError, match="One clip is explained at a time"):
        clipshift.explain(model, small_clips)
    with pytest.raises(DataError, match="no such file"):
        clipshift.explain(model, tmp_path / "none.mp4")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:600])
    with pytest.raises(VideoError):
        clipshift.explain(model, broken, out=tmp_path / "why")
    assert not (tmp_path / "why").exists()
    with pytest.raises(ConfigError, match="settings that it was loaded with"):
        clipshift.explain(model, clip, settings="data.max_seconds=1")
    with pytest.raises(UserError, match="One clip"):
        app(["explain", "gym", "a.mp4", "b.mp4"], result_action="return_value")


def test_nothing_else_is_written_over(model: clipshift.Model, small_model: Path, clip: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="no folder"):
        clipshift.explain(model, clip, out=file)
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, frame in enumerate(noise(4, 36, 36), start=1):
        Image.fromarray(frame).save(frames / f"img_{number:05d}.jpg")
    for source, out in ((frames, frames), (clip, small_model)):
        with pytest.raises(OutputError, match="is an input"):
            clipshift.explain(small_model, source, out=out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "explanation.json").write_text("{}", encoding="utf-8")
    with pytest.raises(OutputError, match="something else"):
        clipshift.explain(model, clip, out=other)
    assert (other / "explanation.json").read_text(encoding="utf-8") == "{}"
    # Of the same kind may be replaced; a frame folder has no times.
    for source in (clip, frames):
        found = clipshift.explain(model, source, out=tmp_path / "why", where="none")
    assert found.frames[0].time is None
    assert json.loads((tmp_path / "why" / "explanation.json").read_text(encoding="utf-8"))["path"] == str(frames)


def test_the_command(small_model: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [small_model, clip, "--out", tmp_path / "why", "--label", "right_to_left", "--where", "none", "--device"]
    app(["explain", *map(str, words), "cpu"], result_action="return_value")
    text = capsys.readouterr().out
    assert "explained: right_to_left. " in text
    assert len(re.findall(r"^ +\d+ +0\.\d\d s +\d+\.\d%", text, flags=re.MULTILINE)) == 4
    assert text.endswith(f"{tmp_path / 'why' / 'explanation.html'}\n")


def test_the_worst_mistakes_of_a_report(small_model: Path, small_clips: Path, tmp_path: Path) -> None:
    evaluation = clipshift.evaluate(small_model, small_clips, device="cpu", out=tmp_path)
    wrong = sum(not score.correct for score in evaluation.scores)
    assert wrong
    without = write_report(tmp_path).read_text(encoding="utf-8")
    assert 'class="adds"' not in without
    html = write_report(tmp_path, explain=True).read_text(encoding="utf-8")
    assert html.count('class="adds"') == 4 * wrong
    # Without its model's description the report shows eight frames of a clip, of which the model sees four.
    assert without.count("data:image/jpeg") - html.count("data:image/jpeg") == 4 * wrong
    replace(evaluation, model={}).save(tmp_path)
    with pytest.raises(RunError, match="does not tell which model"):
        write_report(tmp_path, explain=True)
