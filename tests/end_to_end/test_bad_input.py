"""What people get wrong: each case ends in a few lines that name the culprit and the remedy, and nothing is lost."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import clipshift
from clipshift.datasets.motion import write_motion_clips
from clipshift.errors import ConfigError, DataError, RunError, UserError, WeightsError

pytestmark = pytest.mark.usefixtures("blank_pictures")

SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "input.segments=4", "input.crop=32", "input.resize=36",
    "train.epochs=1", "train.batch_size=4", "data.workers=0", "train.device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_clips(
        tmp_path_factory.mktemp("motion") / "clips", clips_per_class=3, validation_per_class=1, frames=8, size=40
    )


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    clipshift.train(clips, *SMALL, out=out)
    return out


@pytest.fixture
def data(clips: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(clips, tmp_path / "data"))


def refused(kind: type[UserError], call: Callable[[], object], *parts: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert len(text.splitlines()) <= 8, text
    for part in parts:
        assert part in text, text


def test_a_misspelt_key_and_a_wrong_type(clips: Path, tmp_path: Path) -> None:
    refused(
        ConfigError,
        lambda: clipshift.train(clips, "train.epoch=3", "optim.lr=quick", out=tmp_path / "run"),
        "unknown key 'train.epoch'",
        "did you mean 'train.epochs'",
        "optim.lr: input should be a valid number, got 'quick'",
    )
    assert not (tmp_path / "run").exists()


def test_top5_of_four_classes(clips: Path, tmp_path: Path) -> None:
    refused(ConfigError, lambda: clipshift.train(clips, *SMALL, "train.metric=top5", out=tmp_path / "run"), "4 classes")


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        refused(DataError, lambda: clipshift.train(tmp_path / name, *SMALL, out=tmp_path / "run"), name)  # noqa: B023


def test_one_class_only(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips / "train" / "left_to_right", tmp_path / "data" / "left_to_right")
    refused(DataError, lambda: clipshift.train(tmp_path / "data", *SMALL, out=tmp_path / "run"), "left_to_right")


def test_an_empty_class(data: Path, tmp_path: Path) -> None:
    (data / "train" / "standing_still").mkdir()
    refused(DataError, lambda: clipshift.train(data, *SMALL, out=tmp_path / "run"), "standing_still")


def test_a_label_that_is_no_class(data: Path, tmp_path: Path) -> None:
    (data / "classes.txt").write_text("left_to_right\nright_to_left\n")
    (data / "train.txt").write_text("train/left_to_right/0000.mp4 0\ntrain/right_to_left/0000.mp4 7\n")
    refused(DataError, lambda: clipshift.train(data / "train.txt", *SMALL, out=tmp_path / "run"), "7", "train.txt:2")


def test_a_class_that_the_model_does_not_know(run: Path, data: Path) -> None:
    (data / "val" / "left_to_right").rename(data / "val" / "diving")
    refused(DataError, lambda: clipshift.evaluate(run, data / "val", device="cpu"), "diving")


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("this is no video\n")
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("how", ["empty", "text", "cut"])
def test_a_broken_video_is_named_in_prediction_and_the_rest_goes_on(run: Path, data: Path, how: str) -> None:
    broken = min((data / "val" / "left_to_right").glob("*.mp4"))
    spoil(broken, how)
    answers = list(clipshift.predict(run, data / "val", device="cpu"))
    failures = [answer for answer in answers if isinstance(answer, clipshift.Failure)]
    assert len(answers) == 4
    assert [failure.path for failure in failures] == [str(broken)]
    assert "\n" not in failures[0].error


def test_training_stops_at_too_many_bad_clips(data: Path, tmp_path: Path) -> None:
    broken = min((data / "train" / "left_to_right").glob("*.mp4"))
    spoil(broken, "cut")
    refused(
        DataError,
        lambda: clipshift.train(data, *SMALL, out=tmp_path / "run"),
        "1 of 12 training clips cannot be read",
        broken.name,
        "data.max_bad",
    )
    result = clipshift.train(data, *SMALL, "data.max_bad=0.2", out=tmp_path / "other")
    assert broken.name in (result.run / "bad_samples.jsonl").read_text()


def test_evaluation_counts_a_broken_video(run: Path, data: Path) -> None:
    broken = min((data / "val" / "left_to_right").glob("*.mp4"))
    spoil(broken, "empty")
    wrong = clipshift.evaluate(run, data / "val", device="cpu")
    left_out = clipshift.evaluate(run, data / "val", bad="exclude", device="cpu")
    assert (wrong.metrics.total, wrong.metrics.scored, wrong.metrics.bad) == (4, 3, 1)
    right = sum(score.correct for score in wrong.scores)
    assert wrong.metrics.top1 == right / 4
    assert left_out.metrics.top1 == right / 3
    assert broken.name in wrong.to_text()


def test_a_file_that_is_no_video_is_said_and_left_out(data: Path, tmp_path: Path) -> None:
    (data / "train" / "left_to_right" / "notes.txt").write_text("ten clips\n")
    result = clipshift.train(data, *SMALL, out=tmp_path / "run")
    assert "notes.txt" in (result.run / "train.log").read_text()


def test_an_output_folder_of_another_run(run: Path, clips: Path) -> None:
    before = sorted(run.rglob("*"))
    refused(
        RunError,
        lambda: clipshift.train(clips, *SMALL, "train.seed=5", out=run),
        "holds another run",
        "train.seed: 0 there, 5 now",
        "--overwrite",
    )
    assert sorted(run.rglob("*")) == before


def test_an_output_folder_with_other_files(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    refused(RunError, lambda: clipshift.train(clips, *SMALL, out=tmp_path), "thesis.tex", "--out")
    refused(RunError, lambda: clipshift.train(clips, *SMALL, out=tmp_path, overwrite=True), "thesis.tex")
    assert (tmp_path / "thesis.tex").exists()


def test_changed_data_is_another_run(run: Path, data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    next((data / "train" / "left_to_right").glob("*.mp4")).unlink()
    refused(RunError, lambda: clipshift.train(data, *SMALL, out=copy), "training clips: ")


def test_weights_of_other_classes_are_said(run: Path, data: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        shutil.rmtree(data / part / "left_to_right")
    result = clipshift.train(data, *SMALL, out=tmp_path / "run", weights=run)
    assert "new classifier: " in (result.run / "train.log").read_text()


def test_a_flipped_byte_in_the_model(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run / "model", tmp_path / "model"))
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 4
    (copy / "model.safetensors").write_bytes(content)
    refused(WeightsError, lambda: clipshift.load(copy, device="cpu"), "model.safetensors")


def test_a_flipped_byte_in_the_newest_checkpoint_uses_the_one_before(run: Path, clips: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    newest = max(copy.glob("checkpoints/update-*")) / "state.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 4
    newest.write_bytes(content)
    refused(RunError, lambda: clipshift.train(clips, *SMALL, out=copy), "checksum", newest.parent.name)


class _Harmful:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth"])
def test_a_pickle_offered_as_weights(name: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw.pt").write_bytes(pickle.dumps({"a": _Harmful()}))
    torch.save({"a": _Harmful()}, tmp_path / name)
    for path in (tmp_path / "raw.pt", tmp_path / name):
        refused(WeightsError, lambda: clipshift.train(clips, *SMALL, out=tmp_path / "run", weights=path), path.name)  # noqa: B023
    assert not (tmp_path / "harmed").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_fp16_and_a_gpu_that_is_not_there(clips: Path, tmp_path: Path) -> None:
    refused(
        ConfigError, lambda: clipshift.train(clips, *SMALL, out=tmp_path / "a", amp="fp16"), "fp16 needs a GPU", "bf16"
    )
    refused(
        ConfigError,
        lambda: clipshift.train(clips, *SMALL, "train.device=cuda", out=tmp_path / "b"),
        "does not have that GPU",
        "doctor",
    )


def test_pretrained_weights_without_a_network(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = (*SMALL, "model.backbone=resnet10t", "model.pretrained=true")
    refused(
        WeightsError,
        lambda: clipshift.train(clips, *settings, out=tmp_path / "run"),
        "--weights",
        "model.pretrained=false",
    )


def command_line(*words: str, blocks: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run clipshift; files that it writes may have so many blocks of 512 bytes."""
    command = [sys.executable, "-m", "clipshift", *words]
    if blocks is not None:
        # By a shell: this process has threads, of which a fork that goes on in Python may die.
        command = ["sh", "-c", f'ulimit -f {blocks} && exec "$@"', "sh", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_no_space_ends_in_words_and_keeps_what_is_there(clips: Path, tmp_path: Path) -> None:
    # A limit on the size of files stands in for a full disk: writing fails with an error of the same kind.
    done = command_line("train", str(clips), *SMALL, "--out", str(tmp_path / "run"), blocks=200)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot be written" in done.stderr or "could not be written" in done.stderr


def test_exit_codes_and_a_bug_that_keeps_its_traceback(run: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(min((data / "val" / "left_to_right").glob("*.mp4")), "text")
    some_failed = command_line("predict", str(run), str(data / "val"), "--json", str(data / "out.jsonl"))
    assert some_failed.returncode == 1, some_failed.stderr
    assert len((data / "out.jsonl").read_text().splitlines()) == 4
    refused_one = command_line("predict", str(data), str(data / "val"))
    assert refused_one.returncode == 2
    assert refused_one.stderr.startswith("error: ")
    assert "Traceback" not in refused_one.stderr

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    from clipshift import cli

    monkeypatch.setattr(clipshift, "evaluate", broken, raising=False)
    monkeypatch.setattr(sys, "argv", ["clipshift", "evaluate", str(run), "b"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
