"""Data sets as other tools lay them out: folders of Hugging Face and FiftyOne, tasks of Label Studio and CVAT.

Clips stay where they are. Where a tool wants them below its folder, links lead to them.

https://huggingface.co/docs/datasets/video_dataset,
https://docs.voxel51.com/user_guide/import_datasets.html (VideoClassificationDirectoryTree and
FiftyOneTemporalDetectionDataset), https://labelstud.io/guide/tasks,
https://docs.cvat.ai/docs/dataset_management/formats/xml_format/
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from clipshift.config import ReadingConfig
from clipshift.datasets.clip import Clip, absolute, some
from clipshift.datasets.folders import LABELS, METADATA, TEST_NAMES, TRAIN_NAMES, VALIDATION_NAMES, VIDEOS
from clipshift.errors import DataError
from clipshift.files import to_json
from clipshift.temporal.annotations.cvat import write_cvat
from clipshift.temporal.annotations.fiftyone import write_fiftyone
from clipshift.temporal.annotations.label_studio import write_choices, write_label_studio
from clipshift.temporal.annotations.model import Annotation, Place
from clipshift.temporal.segments import Segment

ToolFormat = Literal["videofolder", "fiftyone", "labelstudio"]
TOOL_FORMATS: tuple[ToolFormat, ...] = get_args(ToolFormat)
PARTS = ("train", "val", "test")
TOOL_FILES = tuple(f"{part}.json" for part in PARTS) + tuple(
    f"{part}/{name}" for part in PARTS for name in (*METADATA, LABELS, VIDEOS)
)
"""What is written here, from the folder."""


@dataclass
class ToolFiles:
    """What a form consists of.

    Attributes:
        lists: Of each part what is read again: a file, or a folder of classes.
        texts: Files and their text.
        links: Links to be made, and the clips that they lead to.
    """

    lists: dict[str, Path] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    links: dict[Path, Path] = field(default_factory=dict)

    def link(self, wanted: Path, clip: Path) -> Path:
        """The link to a clip: of the wanted name, or of one with a number where another clip has that."""
        path, number = wanted, 1
        while self.links.setdefault(path, clip) != clip:
            number += 1
            path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        return path


def tool_files(
    form: ToolFormat, folder: Path, classes: Sequence[str], parts: Mapping[str, Sequence[Clip]], root: Path
) -> ToolFiles:
    """What is to be written for a tool.

    Args:
        form: The tool's form.
        folder: Where it goes.
        classes: Names of the classes.
        parts: Labeled clips by the name of their part.
        root: The folder that names start from.

    Raises:
        DataError: The form has no way to say this.
    """
    _check_whole_pictures(form, parts, root)
    made = ToolFiles()
    writer = {"videofolder": _videofolder, "fiftyone": _fiftyone, "labelstudio": _label_studio}[form]
    if form != "labelstudio":
        _check_videos(form, parts)
    spans = any(clip.span is not None for clips in parts.values() for clip in clips)
    for name, clips in parts.items():
        part = _Part(name, clips, folder, root, lambda clip: [classes[label] for label in _labels(clip)], spans)
        writer(part, made)
    return made


@dataclass(frozen=True)
class _Part:
    name: str
    clips: Sequence[Clip]
    folder: Path
    root: Path
    labels_of: Callable[[Clip], list[str]]
    spans: bool
    """Whether any clip of the data set is a span."""

    def path_of(self, clip: Clip) -> str:
        normal = absolute(clip.path)
        return normal.relative_to(self.root).as_posix() if normal.is_relative_to(self.root) else normal.as_posix()

    def below(self, clip: Clip) -> Path:
        """A clip's place below the part's folder: from the root, without a folder that names a part already."""
        normal = absolute(clip.path)
        if not normal.is_relative_to(self.root):
            return Path("elsewhere") / normal.name
        inner = normal.relative_to(self.root)
        named = inner.parts[0].lower() in (*TRAIN_NAMES, *VALIDATION_NAMES, *TEST_NAMES)
        return Path(*inner.parts[1:]) if named and len(inner.parts) > 1 else inner

    def annotations(self, form: str) -> list[Annotation]:
        """The videos with their spans."""
        found: dict[str, list[Segment]] = {}
        for clip in self.clips:
            if clip.span is None:
                raise DataError(
                    f"Some clips are spans and some whole videos, which {form} cannot hold together.",
                    where=self.root,
                    got=clip.name,
                    remedy="write two data sets, or give the whole videos their times",
                )
            found.setdefault(self.path_of(clip), []).extend(
                Segment(label, *clip.span) for label in self.labels_of(clip)
            )
        return [Annotation(path, tuple(segments)) for path, segments in found.items()]


def cvat_tasks(
    folder: Path, classes: Sequence[str], parts: Mapping[str, Sequence[Clip]], reading: ReadingConfig
) -> dict[Path, str]:
    """A document of CVAT for each video: `cvat/PART/VIDEO.xml`. The label of a whole video is a track from end to end.

    Args:
        folder: Where they go.
        classes: Names of the classes.
        parts: Labeled clips by the name of their part.
        reading: The settings for reading: the videos are opened for their rates.

    Raises:
        DataError: A clip is a folder of frames, or a video does not tell its rate.
        VideoError: A video cannot be read.
    """
    _check_whole_pictures("cvat", parts, folder)
    _check_videos("cvat", parts)
    texts: dict[Path, str] = {}
    for name, clips in parts.items():
        marks: dict[Path, list[Clip]] = {}
        for clip in clips:
            marks.setdefault(clip.path, []).append(clip)
        for path, own in marks.items():
            with replace(own[0], span=None).open(reading) as reader:
                fps, end = reader.info.fps, reader.stretch.end
            segments = [Segment(classes[label], *(clip.span or (0.0, end))) for clip in own for label in _labels(clip)]
            wanted = folder / "cvat" / name / path.with_suffix(".xml").name
            number = 1
            while wanted in texts:
                number += 1
                wanted = wanted.with_name(f"{path.stem}-{number}.xml")
            texts[wanted] = write_cvat([Annotation(path.name, tuple(segments), end)], Place(wanted), fps)
    return texts


def _labels(clip: Clip) -> tuple[int, ...]:
    assert clip.label is not None  # noqa: S101 - manifests of data sets are labeled
    return clip.labels or (clip.label,)


def _videofolder(part: _Part, made: ToolFiles) -> None:
    base, lines = part.folder / part.name, []
    for clip in part.clips:
        link = made.link(base / part.below(clip), clip.path)
        labels = part.labels_of(clip)
        # All rows have the same keys: the library takes its columns from them.
        row: dict[str, object] = {"file_name": link.relative_to(base).as_posix()}
        row["label"] = labels if clip.labels else labels[0]
        if part.spans:
            row["start"], row["end"] = clip.span or (None, None)
        lines.append(to_json(row) + "\n")
    made.lists[part.name] = base / METADATA[0]
    made.texts[base / METADATA[0]] = "".join(lines)


def _fiftyone(part: _Part, made: ToolFiles) -> None:
    base = part.folder / part.name
    if not part.spans:
        for clip in part.clips:
            labels = part.labels_of(clip)
            if len(labels) > 1 or not _is_folder_name(labels[0]):
                raise DataError(
                    "A clip has several labels, or one that cannot be the name of a folder: FiftyOne's tree has those.",
                    where=part.root,
                    got=f"{clip.name}: {', '.join(labels)}",
                    allowed="the formats clipshift, videofolder and labelstudio",
                )
            made.link(base / labels[0] / clip.path.name, clip.path)
        made.lists[part.name] = base
        return
    annotations, paths = [], {}
    for video in part.annotations("fiftyone"):
        name = video.path.lstrip("/")
        identity = name if Path(name).stem in paths else Path(name).stem
        paths[identity] = str(absolute(part.root / video.path))
        annotations.append(Annotation(identity, video.segments))
    made.lists[part.name] = base / LABELS
    made.texts[base / LABELS] = write_fiftyone(annotations, Place(base / LABELS))
    made.texts[base / VIDEOS] = to_json(paths, indent=1) + "\n"


def _label_studio(part: _Part, made: ToolFiles) -> None:
    path = part.folder / f"{part.name}.json"
    made.lists[part.name] = path
    if part.spans:
        made.texts[path] = write_label_studio(part.annotations("labelstudio"), Place(path))
    else:
        made.texts[path] = write_choices({part.path_of(clip): part.labels_of(clip) for clip in part.clips})


def _is_folder_name(label: str) -> bool:
    return label not in (".", "..") and not set(label) & set("/\\\0") and not label.startswith(".")


def _check_whole_pictures(form: str, parts: Mapping[str, Sequence[Clip]], where: Path) -> None:
    regions = [clip.name for clips in parts.values() for clip in clips if clip.region is not None]
    if regions:
        raise DataError(
            f"The clips are regions of the picture, which {form} cannot say.",
            where=where,
            got=some(regions),
            allowed="the format clipshift",
            remedy="cut them into files: clipshift repack DATA --to FOLDER",
        )


def _check_videos(form: str, parts: Mapping[str, Sequence[Clip]]) -> None:
    folders = [clip.name for clips in parts.values() for clip in clips if clip.path.is_dir()]
    if folders:
        raise DataError(
            f"Clips are folders of frames, where {form} has videos.",
            got=some(folders),
            remedy="write videos of them: clipshift repack DATA --to FOLDER",
        )


def check_links(folder: Path, links: Mapping[Path, Path]) -> None:
    """Sees that no link would take the place of a file or folder.

    Raises:
        DataError: One would.
    """
    taken = [str(link) for link in links if (link.exists() or link.is_symlink()) and not link.is_symlink()]
    if taken:
        raise DataError(
            "Links would take the place of what is there.",
            where=folder,
            got=some(taken),
            remedy="name another folder",
        )


def replace_links(folder: Path, links: Mapping[Path, Path]) -> None:
    """Removes the links of an earlier writing below the folders of parts, and makes these.

    Raises:
        OSError: One cannot be removed or made.
    """
    for part in PARTS:
        for inside, folders, names in os.walk(folder / part):
            for name in (*folders, *names):
                path = Path(inside) / name
                if path.is_symlink():
                    path.unlink()
    for link, clip in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(absolute(clip))
