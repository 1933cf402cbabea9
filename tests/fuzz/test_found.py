"""Input that the campaign found to end in a traceback, the smallest of each kind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from clipshift.config import DataConfig, resolve
from clipshift.datasets.lists import gives_labels
from clipshift.datasets.manifest import read_dataset
from clipshift.errors import ConfigError, DataError, ExportError, OutputError, RunError, UserError, WeightsError
from clipshift.evaluation.results import METRICS, PREDICTIONS, load_evaluation
from clipshift.files import from_json
from clipshift.training.checkpoint import TrainingProgress, load_checkpoint, save_checkpoint
from clipshift.training.reporting import Reporter, truncate_metrics
from tests.evaluation.synthetic import make_evaluation

DEEP = "[" * 100_000


def test_brackets_without_end_are_no_json() -> None:
    with pytest.raises(ValueError, match="too many brackets"):
        from_json(DEEP)
    assert from_json('{"a": [1]}') == {"a": [1]}


def test_an_empty_csv_gives_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text("\n")
    with pytest.raises(DataError, match="list is empty"):
        gives_labels(path)


def test_the_folder_of_a_user_that_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("train: ~nobody-of-this-name/clips\n")
    with pytest.raises(DataError, match="The path of `train` does not exist"):
        read_dataset(path, DataConfig())


@pytest.mark.parametrize(
    "text",
    [
        "&a [*a]",
        "&a {b: *a}",
        "\n"
        + "\n".join(f"  k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" if n else "  k0: &a0 [1]" for n in range(12)),
    ],
    ids=["list", "mapping", "much of little"],
)
def test_yaml_that_stands_for_more_than_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"data: {text}\n")
    with pytest.raises(ConfigError, match="without an end"):
        resolve(file=path)


def test_values_that_are_referred_to_twice_are_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("optim: {lr: &rate 0.5, weight_decay: *rate}\n")
    assert resolve(file=path).config.optim.weight_decay == 0.5


def test_keywords_that_no_file_can_hold() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (loop, 10**5000):
        with pytest.raises(ConfigError, match="cannot be written down"):
            resolve(settings=[{"train.epochs": value}])


def test_names_of_recipes_that_are_longer_than_any() -> None:
    for name in ("a" * 300, "a" * 300 + ".yaml"):
        with pytest.raises(ConfigError, match="There is no"):
            resolve(name)


def test_long_names_end_in_words() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clipshift", "predict", "a" * 300, "x.mp4"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr


def test_every_line_of_an_error_is_bounded() -> None:
    error = UserError(
        "x" * 9999 + "\nsecond", where="y" * 9999, got="z" * 9999, allowed=["k" * 9999], remedy="r" * 9999
    )
    assert len(str(error).split("\n")) == 6
    assert max(map(len, str(error).split("\n"))) < 4200


def _resign(checkpoint: Path, **progress: object) -> None:
    state = json.loads((checkpoint / "state.json").read_text())
    state["progress"] |= progress
    del state["json_sha256"]
    state["json_sha256"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (checkpoint / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("text", [DEEP, "1", '"a"', "[]", "null", "{}"])
def test_a_checkpoint_that_says_something_else(tmp_path: Path, text: str) -> None:
    checkpoint = save_checkpoint(tmp_path, {"a": torch.zeros(2)}, TrainingProgress(update=3, best=(0.5, -1.0)), {})
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == TrainingProgress(update=3, best=(0.5, -1.0))
    (checkpoint / "state.json").write_text(text)
    with pytest.raises(RunError, match="No checkpoint of this run can be read"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "progress", [{"epoch": "x"}, {"epoch": 1.5}, {"step": None}, {"update": -1}, {"epoch": 10**400}, {"scaler": 3}]
)
def test_a_checkpoint_whose_progress_is_none(tmp_path: Path, progress: dict[str, object]) -> None:
    checkpoint = save_checkpoint(tmp_path, {"a": torch.zeros(2)}, TrainingProgress(update=3), {})
    _resign(checkpoint, **progress)
    with pytest.raises(RunError, match="No checkpoint of this run can be read"):
        load_checkpoint(tmp_path)


def test_damaged_lines_of_metrics_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = '{"kind": "step", "update": 1, "epoch": 0}'
    path.write_text(f'{good}\n1\n[]\n{{"update": "x", "kind": "step"}}\n{{"kind": "step"}}\n{DEEP}\n')
    truncate_metrics(path, update=2, epoch=1)
    assert path.read_text() == good + "\n"


@pytest.mark.parametrize(
    "change",
    [
        {"logits": [1, 2]},
        {"logits": [[1], [2]]},
        {"logits": "x"},
        {"label": 99},
        {"label": True},
        {"name": 3},
        {"error": []},
    ],
    ids=str,
)
def test_a_stored_score_that_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    make_evaluation(tmp_path, ["up", "down", "still"]).save(tmp_path)
    assert load_evaluation(tmp_path).classes == ("up", "down", "still")
    lines = (tmp_path / PREDICTIONS).read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | change)
    (tmp_path / PREDICTIONS).write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match="cannot be read"):
        load_evaluation(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"confusion": [[1]]}, {"confusion": 3}, {"total": 10**30}, {"per_class": [1]}, {"scored": -1}, {"top1": {}}],
    ids=str,
)
def test_stored_metrics_that_are_none(tmp_path: Path, change: dict[str, object]) -> None:
    make_evaluation(tmp_path, ["up", "down", "still"]).save(tmp_path)
    metrics = json.loads((tmp_path / METRICS).read_text())
    (tmp_path / METRICS).write_text(json.dumps(metrics | change))
    with pytest.raises(RunError, match="cannot be read"):
        load_evaluation(tmp_path)


def test_descriptions_of_models_and_exports_without_end(tmp_path: Path) -> None:
    from clipshift.config.model_spec import WEIGHTS_FILE
    from clipshift.inference.export_folder import find_export, read_export
    from clipshift.models.bundle import read_bundle

    (tmp_path / "model.json").write_text(DEEP)
    (tmp_path / "model.onnx").write_bytes(b"x")
    (tmp_path / WEIGHTS_FILE).write_bytes(b"x")
    assert find_export(tmp_path) == tmp_path
    with pytest.raises(ExportError, match="cannot be read"):
        read_export(tmp_path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_bundle(tmp_path)


def test_a_log_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(tmp_path, speaks=True)
    (tmp_path / "train.log").symlink_to("/dev/full")
    with reporter.logging_to_file():
        reporter.say("a line")
    assert "Traceback" not in capsys.readouterr().err
    (tmp_path / "train.log").unlink()
    (tmp_path / "train.log").mkdir()
    with pytest.raises(RunError, match="cannot be written"), reporter.logging_to_file():
        pass


def test_links_that_may_not_be_looked_at_are_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `/proc/1/cwd`: here a link to itself stands for it, which the system does not follow either."""
    from clipshift.config import ReadingConfig
    from clipshift.datasets import folders
    from clipshift.inference.sources import find_clips

    for name in ("up", "down"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.mp4").write_bytes(b"no video")
    for place in (tmp_path, tmp_path / "up"):
        (place / "forbidden").symlink_to("forbidden")
    assert [path.name for path in folders.subfolders(tmp_path)] == ["down", "up"]
    assert folders.file_names(tmp_path / "up") == ["clip.mp4"]
    found = folders.find_clips(tmp_path, "img_{:05d}.jpg")
    assert ([path.parent.name for path in found.clips], found.ignored) == (["down", "up"], ["forbidden"] * 2)
    assert [clip.path.parent.name for clip in find_clips([tmp_path], ReadingConfig())] == ["down", "up"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
def test_what_the_system_refuses_is_said_in_a_few_lines(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clipshift.cli import entry

    def refused(_: object) -> None:
        raise OSError(code, os.strerror(code), "some/file")

    monkeypatch.setattr(entry, "app", refused)
    with pytest.raises(SystemExit) as end:
        entry.main()
    said = capsys.readouterr().err
    assert (end.value.code, said.splitlines()[1:]) == (2, ["  where:   some/file", f"  got:     {os.strerror(code)}"])


def test_a_start_that_was_killed_while_it_wrote_is_no_strange_folder(tmp_path: Path) -> None:
    from clipshift.training.run_folder import RunFolder

    (tmp_path / ".run.json.123.partial").write_text("{")
    (tmp_path / "train.log").write_text("")
    with RunFolder(tmp_path) as folder:
        folder.claim(overwrite=False)
    (tmp_path / "notes.txt").write_text("")
    with RunFolder(tmp_path) as folder, pytest.raises(RunError, match="not of a clipshift run"):
        folder.claim(overwrite=False)


def test_an_output_never_replaces_an_input_or_a_file_of_another_kind(tmp_path: Path) -> None:
    from clipshift.cli.check import check
    from clipshift.cli.predict import predict

    video, listed, old = tmp_path / "clip.mp4", tmp_path / "clips.jsonl", tmp_path / "old.jsonl"
    video.write_bytes(b"a video")
    listed.write_text('{"path": "clip.mp4", "error": "as a list may say"}\n')
    old.write_text('{"path": "clip.mp4", "label": "up"}\n')
    kept = {path: path.read_bytes() for path in (video, listed, old)}
    for file, what in ((video, "is an input"), (listed, "is an input"), (old, "holds something else")):
        with pytest.raises(OutputError, match=what):
            predict("model", str(video), str(listed), json_file=str(file))
        with pytest.raises(OutputError, match="is an input" if file == listed else "holds something else"):
            check(str(listed), json_file=str(file))
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_run_that_holds_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    from clipshift.training.run_folder import RunFolder

    for name in ("run.json", "model/model.json"):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("{}")
    with RunFolder(tmp_path / "run") as folder:
        with pytest.raises(RunError, match="holds what this training reads"):
            folder.claim(overwrite=True, inputs=["kinetics400", tmp_path / "run" / "model"])
        folder.claim(overwrite=True, inputs=["kinetics400", tmp_path])
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_fusion_does_not_replace_its_parts(tmp_path: Path) -> None:
    import clipshift

    for name in ("one", "two"):
        make_evaluation(tmp_path / name, ["up", "down", "still"]).save(tmp_path / name)
    before = (tmp_path / "one" / METRICS).read_text()
    with pytest.raises(ConfigError, match="holds scores that it is made of"):
        clipshift.fuse([tmp_path / "one", tmp_path / "two" / METRICS], out=tmp_path / "one")
    assert (tmp_path / "one" / METRICS).read_text() == before
    clipshift.fuse([tmp_path / "one", tmp_path / "two"], out=tmp_path / "three")


def test_a_list_is_not_replaced_by_a_part_of_itself(tmp_path: Path) -> None:
    from clipshift import write_lists

    for label in ("up", "down"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "clips" / label / f"{number}.mp4").write_bytes(b"no video")
    written = write_lists(tmp_path / "clips", tmp_path / "lists")
    before = written.lists["train"].read_text()
    with pytest.raises(DataError, match="one of those that would be replaced"):
        write_lists(written.lists["train"], tmp_path / "lists")
    assert written.lists["train"].read_text() == before
    assert write_lists(written.data, tmp_path / "lists").lists["train"].read_text() == before
