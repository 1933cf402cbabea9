"""What is known of public data sets: how many clips their lists name, where they are, how they are unpacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

PublicName = Literal["ucf101", "hmdb51", "kinetics400", "sthv2", "jester"]


@dataclass(frozen=True)
class PublicFile:
    """A file that the publisher of a data set gives to everyone who asks for it."""

    url: str
    folder: str = ""
    """Where it goes within the folder of the videos: not at all deeper, or to `train`, `val` or `test`."""
    lists_others: bool = False
    """Whether it is a text of addresses, one a line, of further files that go to the same folder."""


@dataclass(frozen=True)
class PublicSet:
    """One public data set."""

    title: str
    classes: int
    splits: Sequence[Mapping[str, int]]
    """For each split the clips of its parts; no number where the publisher's lists themselves differ."""
    videos: str
    """How to get the videos."""
    lists: str
    """How to get the lists."""
    files: Sequence[PublicFile] = ()
    """Lists and archives for `--fetch`; none where a page wants a person to agree to a license."""
    complete: bool = True
    """Whether everyone can have every clip, so that a missing one is a fault."""
    frame_pattern: str | None = None
    """The names of frames, where the data set is handed out as frames."""


_UCF101 = "https://www.crcv.ucf.edu/data/UCF101"
_HMDB51 = "https://serre.lab.brown.edu/hmdb51.html"
_SOMETHING = "https://www.qualcomm.com/developer/software/something-something-v-2-dataset/downloads"
_JESTER = "https://www.qualcomm.com/developer/software/jester-dataset/downloads"
_KINETICS = "https://s3.amazonaws.com/kinetics/400"

PUBLIC: Mapping[str, PublicSet] = {
    "ucf101": PublicSet(
        title="UCF-101",
        classes=101,
        splits=(
            {"train": 9537, "test": 3783},
            {"train": 9586, "test": 3734},
            {"train": 9624, "test": 3696},
        ),
        videos=f"curl -LO {_UCF101}/UCF101.rar, then unrar x UCF101.rar (--fetch does the first)",
        lists=f"curl -LO {_UCF101}/UCF101TrainTestSplits-RecognitionTask.zip (or --fetch)",
        files=(
            PublicFile(f"{_UCF101}/UCF101TrainTestSplits-RecognitionTask.zip"),
            PublicFile(f"{_UCF101}/UCF101.rar"),
        ),
    ),
    "hmdb51": PublicSet(
        title="HMDB51",
        classes=51,
        splits=({"train": 3570, "test": 1530},) * 3,
        videos=(
            f"fetch hmdb51_org.rar from {_HMDB51}, then unrar x hmdb51_org.rar, "
            'and in that folder: for f in *.rar; do unrar x "$f"; done'
        ),
        lists=f"fetch test_train_splits.rar from {_HMDB51}, then unrar x test_train_splits.rar",
    ),
    "kinetics400": PublicSet(
        title="Kinetics-400",
        classes=400,
        splits=({"train": 0, "val": 0, "test": 0},),
        videos=(
            f"curl -LO {_KINETICS}/train/k400_train_path.txt (also val/k400_val_path.txt), then fetch every address in "
            "it: wget -c -i k400_train_path.txt, in a folder train (or val) (--fetch does all of it)"
        ),
        lists=f"curl -LO {_KINETICS}/annotations/train.csv (also val.csv) (or --fetch)",
        files=(
            PublicFile(f"{_KINETICS}/annotations/train.csv"),
            PublicFile(f"{_KINETICS}/annotations/val.csv"),
            PublicFile(f"{_KINETICS}/replacement_for_corrupted_k400.tgz"),
            PublicFile(f"{_KINETICS}/val/k400_val_path.txt", folder="val", lists_others=True),
            PublicFile(f"{_KINETICS}/train/k400_train_path.txt", folder="train", lists_others=True),
        ),
        complete=False,
    ),
    "sthv2": PublicSet(
        title="Something-Something V2",
        classes=174,
        splits=({"train": 168913, "val": 24777},),
        videos=(
            f"fetch the parts from {_SOMETHING} (its license is agreed to there), then: "
            "cat 20bn-something-something-v2-?? | tar -xz"
        ),
        lists=f"fetch the labels (labels.json, train.json, validation.json) from {_SOMETHING}",
    ),
    "jester": PublicSet(
        title="Jester",
        classes=27,
        splits=({"train": 118562, "val": 14787},),
        videos=(
            f"fetch the parts from {_JESTER} (its license is agreed to there), then: cat 20bn-jester-v1-?? | tar -xz"
        ),
        lists=f"fetch the labels (jester-v1-labels.csv, -train.csv, -validation.csv) from {_JESTER}",
        frame_pattern="{:05d}.jpg",
    ),
}
"""The data sets that `clipshift prepare` knows, by name."""
