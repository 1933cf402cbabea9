"""Checkpoints: whole or not there, checked when read, the older one used when the newer is damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from clipshift.errors import RunError
from clipshift.training import checkpoint as module
from clipshift.training.checkpoint import TrainingProgress, load_checkpoint, save_checkpoint

IDENTITY = {"train.epochs": 3}


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"network.weight": torch.full((3, 2), value), "network.count": torch.tensor(7)}


def save(folder: Path, update: int) -> Path:
    return save_checkpoint(
        folder, tensors(float(update)), TrainingProgress(update=update, loss_sum=0.1 + 0.2), IDENTITY
    )


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    save(tmp_path / "new" / "checkpoints", 5)
    found = load_checkpoint(tmp_path / "new" / "checkpoints")
    assert found is not None
    loaded, progress, identity, damaged = found
    assert torch.equal(loaded["network.weight"], tensors(5.0)["network.weight"])
    assert loaded["network.count"].dtype == torch.int64
    assert progress == TrainingProgress(update=5, loss_sum=0.1 + 0.2)
    assert identity == IDENTITY
    assert damaged == []


def test_nothing_there(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "checkpoints") is None


def test_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    for update in (1, 2, 10, 11):
        save(tmp_path, update)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["update-00000010-0000", "update-00000011-0000"]
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[1].update == 11


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
def test_a_flipped_byte_is_noticed_and_the_older_one_used(tmp_path: Path, file: str) -> None:
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    content = bytearray((newest / file).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / file).write_bytes(content)
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[1].update == 1
    assert len(found[3]) == 1
    assert newest.name in found[3][0]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (TrainingProgress(update=2, epoch=-1), "no number of epochs"),
        (TrainingProgress(update=2, seconds=float("nan")), "no number of seconds"),
        (TrainingProgress(update=2, seconds=-1.0), "no number of seconds"),
    ],
)
def test_progress_that_cannot_be(tmp_path: Path, wrong: TrainingProgress, text: str) -> None:
    save(tmp_path, 1)
    save_checkpoint(tmp_path, tensors(2.0), wrong, IDENTITY)
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert (found.progress.update, len(found.damaged)) == (1, 1)
    assert text in found.damaged[0]


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
def test_a_missing_or_cut_file_is_noticed(tmp_path: Path, file: str) -> None:
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    (newest / file).write_bytes((newest / file).read_bytes()[:20])
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[1].update == 1
    (newest / file).unlink()
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[1].update == 1


def test_all_damaged_is_an_error_that_says_so(tmp_path: Path) -> None:
    for update in (1, 2):
        (save(tmp_path, update) / "state.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match="No checkpoint of this run can be read") as caught:
        load_checkpoint(tmp_path)
    assert len(str(caught.value).splitlines()) <= 8


@pytest.mark.parametrize("step", ["save_file", "sha256_of_file", "sync"])
def test_killed_while_writing_leaves_the_old_one(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt  # like a kill, it is not an error that the writer handles

    with monkeypatch.context() as patch:
        patch.setattr(module, step, die)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2)
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[1].update == 1
    save(tmp_path, 3)
    assert not list(tmp_path.glob(".partial*"))


def test_no_space_left_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(RunError) as caught:
        save(tmp_path, 2)
    text = str(caught.value)
    assert "No space left on device" in text
    assert "update-00000001-0000" in text
    assert load_checkpoint(tmp_path) is not None
    assert not list(tmp_path.glob(".partial*"))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 1) / "state.json"
    state = json.loads(path.read_text())
    del state["json_sha256"]
    state["format"] = 99
    state["json_sha256"] = module._digest(state)
    path.write_text(json.dumps(state))
    with pytest.raises(RunError, match="format 99"):
        load_checkpoint(tmp_path)
