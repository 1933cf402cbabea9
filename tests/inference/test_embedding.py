"""Embeddings: what the classifier reads, from every kind of network, over views, as lines and as a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import clipshift
from clipshift.cli import app
from clipshift.config import ModelSpec
from clipshift.errors import DataError, UserError
from clipshift.inference.embedding import embedding_width
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.inference.predictor import Model
from clipshift.inference.sources import find_clips
from clipshift.models import Recognizer
from clipshift.models.zoo import ZOO
from tests.exporting.making import SETTINGS


@pytest.mark.parametrize("name", ["tsn-r50", "tsm-r50", "pptsm-r50", "pptsmv2"])
def test_the_classifier_makes_the_logits_of_the_vector(name: str, small_clips: Path) -> None:
    # A small backbone: what pools the features is the network's own, with its dropout.
    small = {"backbone": "test_resnet", "pretrained": False, "classifier_std": 0.1}
    model = ZOO[name].model.model_copy(update=small)
    network = Recognizer(model, segments=4, classes=5).eval()
    spec = ModelSpec(clipshift="0", model=model, input=SETTINGS, classes=tuple("abcde"))
    scorer = NetworkScorer(network, spec, torch.device("cpu"))
    loaded = Model(scorer)
    clip = next(small_clips.rglob("*.mp4"))
    views = loaded.views(clips=2, crops="three")
    (found,) = clipshift.embed(loaded, clip, clips=2, crops="three")
    assert isinstance(found, clipshift.Embedding)
    assert found.vector.dtype == np.float32
    assert found.vector.shape == (embedding_width(loaded),)
    with torch.inference_mode():
        logits = network.classifier(torch.from_numpy(found.vector)).numpy()
    (expected,) = scorer.stream(find_clips([clip], spec.reading), views, workers=0)
    assert expected.logits is not None
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=1e-5 * np.abs(expected.logits).max())


def test_lines_and_tables_hold_every_bit(small_model: Path, small_clips: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    model, sources, out = clipshift.load(small_model), (small_clips, broken), tmp_path / "out"
    answers = list(clipshift.embed(model, *sources))
    assert isinstance(answers[-1], clipshift.Failure)
    vectors = [answer.vector for answer in answers if isinstance(answer, clipshift.Embedding)]
    assert len({vector.tobytes() for vector in vectors}) == len(vectors) == 8
    for shard in ("1/2", "2/2"):
        clipshift.predict_shard(model, *sources, out=out, shard=shard, embed=True)
    lines = [json.loads(line) for line in clipshift.merge_answers(out).read_text().splitlines()]
    assert lines[-1] == answers[-1].to_json()
    for line, vector in zip(lines, vectors, strict=False):
        assert np.array_equal(np.asarray(line["embedding"], dtype=np.float32), vector)
    table = parquet.read_table(clipshift.merge_answers(out, tmp_path / "table.parquet"))
    assert table.schema.field("embedding").type.list_size == len(vectors[0])
    assert table["embedding"].to_pylist() == [*(vector.tolist() for vector in vectors), None]
    assert table["error"].to_pylist() == [None] * 8 + [answers[-1].error]
    with pytest.raises(DataError, match="numbers of an embedding"):
        clipshift.predict_shard(model, *sources, out=out, shard="1/2")


def test_commands(small_model: Path, small_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(small_model), str(next(small_clips.rglob("*.mp4"))), "--embed"]
    app([*words, "--json", str(tmp_path / "vectors.jsonl")], result_action="return_value")
    assert "numbers, length" in capsys.readouterr().out
    app([*words, "--json", str(tmp_path / "vectors.jsonl")], result_action="return_value")  # the same kind of file
    app([*words, "--out", str(tmp_path / "out")], result_action="return_value")
    merged = clipshift.merge_answers(tmp_path / "out")
    assert merged.read_bytes() == (tmp_path / "vectors.jsonl").read_bytes()
    with pytest.raises(UserError, match="no set of classes"):
        app([*words, "--coverage", "0.9"], result_action="return_value")
