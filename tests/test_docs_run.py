"""Commands of the pages run as they stand, in the order of their page, on small things of the names that they use.

What is not run says why; `tests/test_docs.py` at least parses it.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipshift.config import InputConfig
from clipshift.datasets.motion import write_motion_clips
from clipshift.datasets.motion_streams import write_motion_streams
from tests.exporting.making import CAUSAL, save_model
from tests.forking import ROOT, Commands

DOCS = ROOT / "docs"
SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "train.epochs=1", "train.batch_size=4", "input.segments=2",
    "input.resize=36", "input.crop=32", "data.workers=0", "train.probe=false", "train.examine=false",
)  # fmt: skip
NOT_RUN = {
    "is tried with trackers by tests/training/test_tracking.py": ("--track",),
    "takes clips of its page, as tests/probing make them": ("clipshift check gym", "learning-curve gym"),
    "needs a network or weights that nobody may pass on": (
        "hf://", "OWNER/NAME", "--fetch", "-k400", ".pdparams", ".pth", ".pt", "imagenet1k",
    ),
    "needs a camera or a server": ("rtsp:", "/dev/video0", "clipshift serve"),
    "takes minutes; tests/exporting does the same on less": ("int8", "exported_"),
    "needs a data set, as tests/datasets make one": ("data/ucf5", "UCF-101", "runs/ucf5", "other_place"),
    "is a training of a whole recipe, as tests/training do one": ("docs/models/", "docs/training.md", "runs/v2"),
    "needs a stream and its recipe, as tests/training/test_spans.py has them": (
        "finetune-online", "motion-demo-online", "runs/streams", "--streams",
    ),
    "fuses two runs, as tests/evaluation does": ("--fuse",),
}  # fmt: skip


def commands() -> dict[str, list[str]]:
    """Those that are run, by their page."""
    found: dict[str, list[str]] = {}
    for path in sorted(DOCS.rglob("*.md")):
        page = path.relative_to(ROOT).as_posix()
        for line in re.findall(r"^\$ (clipshift .*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            if not any(part in f"{page} {line}" for parts in NOT_RUN.values() for part in parts):
                found.setdefault(page, []).append(line)
    return found


@pytest.fixture(scope="module")
def clipshift() -> Iterator[Commands]:
    with Commands(draws=False) as commands:
        yield commands


def write_regions(folder: Path, clips: list[Path]) -> None:
    """The lists of docs/regions.md."""
    named = [(path.relative_to(folder), path.parent.name) for path in clips]
    rows = {
        "seats": [f"{path},{label},0 0 0.5 1" for path, label in named],
        "labeled_tracks": [f"{path},1,{time},2,3,24,30,{label}" for path, label in named for time in (0, 0.2)],
        "stream_tracks": [f"match.mp4,1,{time},4,4,20,20," for time in (0, 3)],
        "tracks": [f"clip.mp4,1,{time},2,3,24,30," for time in (0, 0.2)],
    }
    for name, lines in rows.items():
        header = "path,label,region" if name == "seats" else "path,track,time,x,y,w,h,label"
        (folder / f"{name}.csv").write_text("\n".join([header, *lines]), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, clipshift: Commands) -> Path:
    """A folder with what the pages take for granted."""
    folder = tmp_path_factory.mktemp("pages")
    made = write_motion_clips(folder / "made", clips_per_class=5, validation_per_class=6, frames=8, size=40)
    shutil.copytree(made, folder / "my_videos")
    shutil.copytree(made / "val" / "left_to_right", folder / "archive")
    clip = made / "val" / "left_to_right" / "0000.mp4"
    for name in ("new_clip.mp4", "clip.mp4"):
        shutil.copy(clip, folder / name)
    write_regions(folder, sorted(made.rglob("*.mp4")))
    streams = write_motion_streams(folder / "streams", streams=1, seconds=10, size=32)
    for path in streams.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "match.mp4").symlink_to(streams / "0000.mp4")
    save_model(folder / "runs" / "live", model=CAUSAL, input=InputConfig(segments=4, resize=36, crop=32))
    done = clipshift.run(["train", "my_videos", *SMALL, "--out", "runs/gym"], folder)
    assert done.code == 0, done.errors
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", commands())
def test_the_commands_of_a_page_run(page: str, place: Path, clipshift: Commands) -> None:
    for number, command in enumerate(commands()[page]):
        _, *words = shlex.split(command)
        if words[0] == "train":
            words += [*SMALL, "--out", str(place / "runs" / f"{Path(page).stem}-{number}")]
        done = clipshift.run(words, place)
        assert done.code == 0, f"{command}\n{done.output}\n{done.errors}"


def test_enough_is_run() -> None:
    assert sum(map(len, commands().values())) >= 15
