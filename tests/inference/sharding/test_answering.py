"""Answers of shards: the bytes of one run that never stopped, whatever stops and however the work is parted."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.cli import app
from clipshift.errors import ConfigError, DataError, ExportError, UserError
from clipshift.inference.predictor import Model
from clipshift.inference.sharding.shard import Shard
from clipshift.inference.writing import write_predictions
from tests.conftest import MakeExport


@pytest.fixture(scope="module")
def videos(small_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of 22 names of few clips, one of them broken and one no text, and a video that is not there."""
    folder = tmp_path_factory.mktemp("archive")
    clips = sorted(small_clips.rglob("*.mp4"))
    for number in range(20):
        (folder / f"clip{number:02}.mp4").symlink_to(clips[number % len(clips)])
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / os.fsdecode(b"caf\xe9.mp4")).symlink_to(clips[0])
    return folder, folder / "missing.mp4"


@pytest.fixture(scope="module")
def model(exported: MakeExport) -> Model:
    return clipshift.load(exported("onnx").folder, mode="throughput")


@pytest.fixture(scope="module")
def expected(model: Model, videos: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What `clipshift predict --json` writes."""
    file = tmp_path_factory.mktemp("plain") / "answers.jsonl"
    assert write_predictions(clipshift.predict(model, *videos), str(file), top=1, say=lambda _: None) == 2
    return file.read_bytes()


class Killed(BaseException):
    """In place of a signal."""


def stopping(model: Model, after: int) -> Model:
    """The model, whose process ends after so many answers."""

    class Stopping(Model):
        def predict_clips(self, *words: object, **options: object) -> Iterator[object]:  # type: ignore[override]
            for number, answer in enumerate(model.predict_clips(*words, **options)):  # type: ignore[arg-type]
                if number == after:
                    raise Killed
                yield answer

    return Stopping(model.scorer, model.opening)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_any_number_of_shards_gives_the_bytes_of_one_run(
    model: Model, videos: tuple[Path, Path], expected: bytes, tmp_path: Path, count: int
) -> None:
    order = list(range(1, count + 1))
    random.Random(count).shuffle(order)  # machines begin and end as they like
    failed = 0
    for number in order:
        result = clipshift.predict_shard(model, *videos, out=tmp_path, shard=f"{number}/{count}")
        assert (result.before, result.answers) == (0, len(Shard(number, count).rows(23)))
        failed += result.failed
    assert failed == 2
    merged = clipshift.merge_answers(tmp_path)
    assert merged == tmp_path / "answers.jsonl"
    assert merged.read_bytes() == expected


def test_kills_lose_no_answer(model: Model, videos: tuple[Path, Path], expected: bytes, tmp_path: Path) -> None:
    """After each kill, in the middle of a line too, what was answered is there and is not asked for again."""
    partial = tmp_path / (Shard().file_name + ".partial")
    kills = there = 0
    for after, torn in ((0, 0), (5, 0), (1, 3), (2, 60), (7, 1)):
        with pytest.raises(Killed):
            clipshift.predict_shard(stopping(model, after), *videos, out=tmp_path)
        kills, there = kills + 1, there + after
        assert partial.read_bytes() == b"".join(expected.splitlines(keepends=True)[:there])
        with partial.open("ab") as file:
            file.write(expected.splitlines()[there][:torn])
    result = clipshift.predict_shard(model, *videos, out=tmp_path)
    assert (result.before, result.answers) == (there, 23)
    assert "(15 were there)" in result.to_text()
    assert clipshift.merge_answers(tmp_path).read_bytes() == expected
    again = clipshift.predict_shard(stopping(model, 0), *videos, out=tmp_path)  # nothing is asked
    assert (again.before, again.answers) == (23, 23)


def test_the_list_of_videos_is_the_one_of_the_first_process(
    model: Model, videos: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(3):
        shutil.copy(videos[0] / "clip00.mp4", folder / f"{number}.mp4")
    clipshift.predict_shard(model, folder, out=tmp_path / "out", shard="1/2")
    shutil.copy(folder / "0.mp4", folder / "00.mp4")
    clipshift.predict_shard(model, folder, out=tmp_path / "out", shard="2/2")
    rows = [json.loads(line) for line in clipshift.merge_answers(tmp_path / "out").read_text().splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["0.mp4", "1.mp4", "2.mp4"]


def test_a_folder_of_other_answers(model: Model, videos: tuple[Path, Path], tmp_path: Path) -> None:
    clipshift.predict_shard(model, *videos, out=tmp_path, shard="1/2")
    for sources, options, what in (
        (videos, {"shard": "1/3"}, "the number of shards"),
        (videos[:1], {"shard": "2/2"}, "what is predicted"),
        (videos, {"shard": "2/2", "crops": "three"}, "the views"),
    ):
        with pytest.raises(DataError, match=what):
            clipshift.predict_shard(model, *sources, out=tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="1 shard of 2 have not finished") as caught:
        clipshift.merge_answers(tmp_path)
    assert caught.value.remedy is not None
    assert "--shard 2/2" in caught.value.remedy
    (tmp_path / "videos.jsonl").write_bytes((tmp_path / "videos.jsonl").read_bytes() + b"{}\n")
    with pytest.raises(DataError, match="changed or damaged"):
        clipshift.predict_shard(model, *videos, out=tmp_path, shard="2/2")
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="cannot be read"):
        clipshift.merge_answers(tmp_path)


def test_parts_that_were_changed(model: Model, videos: tuple[Path, Path], tmp_path: Path) -> None:
    clipshift.predict_shard(model, *videos, out=tmp_path)
    part = tmp_path / Shard().file_name
    part.write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="not an answer for each video"):
        clipshift.merge_answers(tmp_path)
    assert not (tmp_path / "answers.jsonl").exists()


def test_nothing_and_a_model_without_a_file(model: Model, videos: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Nothing was named"):
        clipshift.predict_shard(model, out=tmp_path)
    with pytest.raises(ConfigError, match="know a model by its file"):
        clipshift.predict_shard(Model(model.scorer), *videos, out=tmp_path)


def test_an_exported_model_has_no_embeddings(model: Model, videos: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no embeddings"):
        clipshift.embed(model, *videos)
    with pytest.raises(ExportError, match="no embeddings"):
        clipshift.predict_shard(model, *videos, out=tmp_path, embed=True)
    assert not (tmp_path / "manifest.json").exists()


def test_a_table(model: Model, videos: tuple[Path, Path], expected: bytes, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    clipshift.predict_shard(model, *videos, out=tmp_path)
    table = parquet.read_table(clipshift.merge_answers(tmp_path, tmp_path / "table.parquet"))
    rows, answers = table.to_pylist(), [json.loads(line) for line in expected.splitlines()]
    assert tuple(json.loads(table.schema.metadata[b"classes"])) == model.classes
    assert len(rows) == len(answers) == 23
    for row, answer in zip(rows, answers, strict=True):
        assert row["error"] == answer.get("error")
        assert row["label"] == answer.get("label")
        if row["label"] is not None:
            chances = [answer["probabilities"][name] for name in model.classes]
            np.testing.assert_allclose(row["probabilities"], chances, atol=1e-6)
            assert row["probability"] == pytest.approx(max(chances), abs=1e-6)


def test_commands(
    exported: MakeExport, videos: tuple[Path, Path], expected: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = str(exported("onnx").folder), str(tmp_path / "out")
    for shard in ("1/2", "2/2"):
        with pytest.raises(SystemExit, match="1"):  # each has one that cannot be read
            app(["predict", folder, *map(str, videos), "--out", out, "--shard", shard], result_action="return_value")
    printed = capsys.readouterr().out
    assert "shard 2 of 2: 12 answers; 1 video could not be read" in printed
    app(["merge", out, "--to", str(tmp_path / "all.jsonl")], result_action="return_value")
    assert (tmp_path / "all.jsonl").read_bytes() == expected
    with pytest.raises(UserError, match="one of them"):
        app(["predict", folder, *map(str, videos), "--out", out, "--json", "x"], result_action="return_value")
    with pytest.raises(UserError, match="add --out"):
        app(["predict", folder, *map(str, videos), "--shard", "1/2"], result_action="return_value")
