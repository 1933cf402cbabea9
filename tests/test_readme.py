"""Every block of the README is run, or, where it installs or needs several GPUs, at least checked."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipshift.datasets.motion import write_motion_clips
from tests.forking import Commands

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)

# What makes the README's trainings small and independent of a network; everything else stays as it is written.
SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "train.epochs=1", "train.batch_size=2", "input.segments=2",
    "input.resize=36", "input.crop=32", "data.workers=0", "train.probe=false",
)  # fmt: skip
NOT_RUN = ("make ", "pip ")


def commands() -> list[str]:
    return [
        line.removeprefix("$ ")
        for language, block in BLOCKS
        if language == "console"
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README takes for granted: my_videos/ and new_clip.mp4."""
    folder = tmp_path_factory.mktemp("readme")
    clips = write_motion_clips(folder / "made", clips_per_class=10, validation_per_class=1, frames=8, size=40)
    (folder / "my_videos").mkdir()
    for made, name in (("left_to_right", "squat"), ("right_to_left", "push up")):
        shutil.copytree(clips / "train" / made, folder / "my_videos" / name)
    shutil.copy(clips / "val" / "left_to_right" / "0000.mp4", folder / "new_clip.mp4")
    return folder


@pytest.fixture(scope="module")
def clipshift() -> Iterator[Commands]:
    with Commands() as commands:
        yield commands


def test_the_commands_run_in_their_order(place: Path, clipshift: Commands) -> None:
    ran = 0
    for command in commands():
        if command.startswith(NOT_RUN):
            continue
        words = shlex.split(command)
        if words[:2] == ["clipshift", "train"]:
            settings = [word for word in words if "=" in word and not word.startswith("-")]
            assert settings == [] or words[2] == "my_videos/"
            words += SMALL
            if "runs/gym" in words and (place / "runs" / "gym").exists():
                continue  # the same command once more goes on with a run that is complete
        program, *arguments = words
        assert program == "clipshift"
        done = clipshift.run(arguments, place)
        assert done.code == 0, f"{command}\n{done.errors}"
        ran += 1
    assert ran >= 6


def test_the_python_block_runs_as_a_script(place: Path) -> None:
    (code,) = [block for language, block in BLOCKS if language == "python"]
    # With a worker process, which must not run the script again.
    settings = [setting for setting in SMALL if not setting.startswith("data.workers")] + ["data.workers=1"]
    small = ", ".join(repr(setting) for setting in settings)
    code = code.replace('"train.epochs=2"', f'"train.epochs=2", {small}')
    assert small in code
    (place / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=place, capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    assert "squat" in done.stdout


def test_the_files_that_a_run_leaves_are_the_ones_listed(place: Path, clipshift: Commands) -> None:
    assert clipshift.run(["train", "my_videos/", "--out", "runs/files", *SMALL], place).code == 0
    made = {path.name for path in (place / "runs" / "files").iterdir()}
    table = re.search(r"\| file \| what \|\n(.*?)\n\n", README, flags=re.DOTALL)
    assert table is not None
    listed = {
        name.rstrip("/")
        for name in re.findall(r"`([\w./]+)`", "\n".join(row.split("|")[1] for row in table[1].splitlines()))
    }
    assert made - {"run.json", "training_batch.npz"} <= listed
    assert listed - made <= {"bad_samples.jsonl"}, "only written where a clip is bad"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {command.split()[1] for command in commands() if command.startswith("make ")} <= targets


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target
