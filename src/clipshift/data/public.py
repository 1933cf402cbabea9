"""What is known of public data sets: how many clips their lists name, where they are, how they are unpacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

PublicName = Literal["ucf101", "hmdb51", "kinetics400", "sthv2", "jester"]


@dataclass(frozen=True)
class PublicSet:
    """One public data set."""

    title: str
    classes: int
    splits: Sequence[Mapping[str, int]]
    """For each split the clips of its parts; no number where the home's lists themselves differ."""
    videos: str
    """How to get the videos."""
    lists: str
    """How to get the lists."""
    complete: bool = True
    """Whether everyone can have every clip, so that a missing one is a fault."""
    frame_pattern: str | None = None
    """The names of frames, where the data set is handed out as frames."""


PUBLIC: Mapping[str, PublicSet] = {
    "ucf101": PublicSet(
        title="UCF-101",
        classes=101,
        splits=(
            {"train": 9537, "test": 3783},
            {"train": 9586, "test": 3734},
            {"train": 9624, "test": 3696},
        ),
        videos="curl -LO https://www.crcv.ucf.edu/data/UCF101/UCF101.rar, then unrar x UCF101.rar",
        lists="curl -LO https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip",
    ),
    "hmdb51": PublicSet(
        title="HMDB51",
        classes=51,
        splits=({"train": 3570, "test": 1530},) * 3,
        videos=(
            "fetch hmdb51_org.rar from the page of HMDB51 (Serre lab, Brown University), then unrar x hmdb51_org.rar, "
            'and in that folder: for f in *.rar; do unrar x "$f"; done'
        ),
        lists="fetch test_train_splits.rar from the same page, then unrar x test_train_splits.rar",
    ),
    "kinetics400": PublicSet(
        title="Kinetics-400",
        classes=400,
        splits=({"train": 0, "val": 0, "test": 0},),
        videos=(
            "curl -LO https://s3.amazonaws.com/kinetics/400/train/k400_train_path.txt (also val, test), then "
            "fetch every address in it: wget -c -i k400_train_path.txt"
        ),
        lists="curl -LO https://s3.amazonaws.com/kinetics/400/annotations/train.csv (also val.csv, test.csv)",
        complete=False,
    ),
    "sthv2": PublicSet(
        title="Something-Something V2",
        classes=174,
        splits=({"train": 168913, "val": 24777},),
        videos=(
            "fetch the parts from Qualcomm's page of the data set (its licence is agreed to there), then: "
            "cat 20bn-something-something-v2-?? | tar -xz"
        ),
        lists="fetch the labels (labels.json, train.json, validation.json) from the same page",
    ),
    "jester": PublicSet(
        title="Jester",
        classes=27,
        splits=({"train": 118562, "val": 14787},),
        videos=(
            "fetch the parts from Qualcomm's page of the data set (its licence is agreed to there), then: "
            "cat 20bn-jester-v1-?? | tar -xz"
        ),
        lists="fetch the labels (jester-v1-labels.csv, -train.csv, -validation.csv) from the same page",
        frame_pattern="{:05d}.jpg",
    ),
}
"""The data sets that `clipshift prepare` knows, by name."""
