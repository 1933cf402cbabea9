"""`clipshift prepare NAME`: a command of its own for each data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from cyclopts import App

from clipshift.cli.arguments import Fetch, Text
from clipshift.console import progress_bar, say
from clipshift.errors import ConfigError

PrepareName = Literal["ucf101", "hmdb51", "kinetics400", "sthv2", "jester", "folder"]

app = App(name="prepare", help="Make or convert data sets.")


@app.command
def motion(folder: str, *, seed: int = 0, streams: int | None = None, seconds: float | None = None) -> None:
    """Generate small MP4 clips of moving shapes whose classes differ only in the order of time.

    Args:
        folder: Where train/ and val/ are written.
        seed: Another seed gives other clips.
        streams: Generate so many long videos with events of known times in place of the clips, with
            annotations.json (ActivityNet's form) and annotations.csv.
        seconds: Length of each of the long videos, at least 10; by default 60.
    """
    from clipshift.datasets.motion import write_motion_clips
    from clipshift.datasets.motion_streams import check_sizes, write_motion_streams

    if streams is not None:
        length = 60.0 if seconds is None else seconds
        check_sizes(streams, length, seed)
        say(f"Wrote {write_motion_streams(Path(folder), streams=streams, seconds=length, seed=seed)}")
        return
    if seconds is not None:
        raise ConfigError("--seconds is the length of long videos.", remedy="add --streams N")
    say(f"Wrote {write_motion_clips(Path(folder), seed=seed)}")


@app.command
def ucf101(
    videos: str, *, to: Text, lists: Text | None = None, split: int = 1, decode: bool = False, fetch: Fetch = False
) -> None:
    """Lists of UCF-101 with an official split; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder (or zip, tar) of the class folders; nothing in it is changed.
        to: Folder for the lists and the data.yaml.
        lists: Folder (or zip) ucfTrainTestlist; by default looked for in and beside the videos.
        split: 1, 2 or 3.
        decode: Open every clip, to find broken ones.
        fetch: Fetch the split lists and UCF101.rar into VIDEOS first; the same command again goes on.
    """
    _prepare("ucf101", videos, to, lists=lists, split=split, decode=decode, fetch=fetch)


@app.command
def hmdb51(
    videos: str, *, to: Text, lists: Text | None = None, split: int = 1, decode: bool = False, fetch: Fetch = False
) -> None:
    """Lists of HMDB51 with an official split; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder (or zip, tar) of the class folders; nothing in it is changed.
        to: Folder for the lists and the data.yaml.
        lists: Folder (or zip) testTrainMulti_7030_splits; by default looked for in and beside the videos.
        split: 1, 2 or 3.
        decode: Open every clip, to find broken ones.
        fetch: Say what to fetch from where.
    """
    _prepare("hmdb51", videos, to, lists=lists, split=split, decode=decode, fetch=fetch)


@app.command
def kinetics400(
    videos: str, *, to: Text, lists: Text | None = None, decode: bool = False, fetch: Fetch = False
) -> None:
    """Lists of Kinetics-400; clips that are no longer available are noted.

    Args:
        videos: Folder of ID_START_END.mp4, flat or in any folders, or of the archives of these.
        to: Folder for the lists and the data.yaml.
        lists: Folder of train.csv and val.csv; by default looked for in and beside the videos.
        decode: Open every clip, to find broken ones.
        fetch: Fetch the lists and all archives of train and val (hundreds of gigabytes) into VIDEOS first; the same
            command again goes on.
    """
    _prepare("kinetics400", videos, to, lists=lists, decode=decode, fetch=fetch)


@app.command
def sthv2(videos: str, *, to: Text, lists: Text | None = None, decode: bool = False, fetch: Fetch = False) -> None:
    """Lists of Something-Something V2; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder of NUMBER.webm.
        to: Folder for the lists and the data.yaml.
        lists: Folder of labels.json, train.json and validation.json; by default looked for in and beside the videos.
        decode: Open every clip, to find broken ones.
        fetch: Say what to fetch from where: a person has to agree to its license.
    """
    _prepare("sthv2", videos, to, lists=lists, decode=decode, fetch=fetch)


@app.command
def jester(videos: str, *, to: Text, lists: Text | None = None, decode: bool = False, fetch: Fetch = False) -> None:
    """Lists of Jester; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder of the frame folders.
        to: Folder for the lists and the data.yaml.
        lists: Folder of jester-v1-train.csv and so on; by default looked for in and beside the videos.
        decode: Open every clip, to find broken ones.
        fetch: Say what to fetch from where: a person has to agree to its license.
    """
    _prepare("jester", videos, to, lists=lists, decode=decode, fetch=fetch)


@app.command
def folder(videos: str, *, to: Text, lists: Text | None = None, split: int = 1, decode: bool = False) -> None:
    """Lists of an own folder with split lists as UCF-101's; exit code 1 if clips are missing or broken.

    Args:
        videos: Folder (or zip, tar) of the class folders; nothing in it is changed.
        to: Folder for the lists and the data.yaml.
        lists: Folder of trainlist01.txt, testlist01.txt, perhaps classInd.txt; by default in or beside the videos.
        split: Number of the split, from 1.
        decode: Open every clip, to find broken ones.
    """
    _prepare("folder", videos, to, lists=lists, split=split, decode=decode)


def _prepare(
    name: PrepareName,
    videos: str,
    to: str,
    *,
    lists: str | None = None,
    split: int = 1,
    decode: bool = False,
    fetch: bool = False,
) -> None:
    import clipshift

    with progress_bar("fetching and decoding" if fetch else "decoding") as progress:
        prepared = clipshift.prepare_data(
            name, videos, to, lists=lists, split=split, decode=decode, fetch=fetch, progress=progress
        )
    for line in prepared.lines():
        say(line)
    sys.exit(0 if prepared.ok else 1)
