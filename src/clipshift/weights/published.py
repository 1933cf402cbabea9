"""The weights that PaddleVideo, mmaction2 and MIT published for TSN, TSM and their PP networks, by name.

They stand in `published.yaml`, which also says how the names are made; here is what an entry consists of. The file is
read and checked once, when it is first asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from clipshift.config.schema import Crops
from clipshift.config.yaml import YamlError, read_yaml
from clipshift.errors import ConfigError

_FILE = files("clipshift.weights") / "published.yaml"
_MMACTION2 = "mmaction2"
_MMACTION2_DIGEST = re.compile(r"-([0-9a-f]{8})\.pth$")
_CROPS: dict[Crops, int] = {"center": 1, "three": 3, "three_small": 3, "ten": 10}
_USUAL_SEGMENTS = 8
_ERRORS_SHOWN = 3

_STRICT = ConfigDict(extra="forbid")
Count = Annotated[int, Field(ge=1)]
PerCent = Annotated[float, Field(gt=0, lt=100)]
Text = Annotated[str, Field(min_length=1)]
Address = Annotated[str, Field(pattern=r"^https?://\S+$")]


@dataclass(frozen=True, config=_STRICT)
class DataSetInfo:
    """A data set that published weights classify.

    Attributes:
        title: What people call it.
        classes: Number of its classes.
    """

    title: Text
    classes: Count


@dataclass(frozen=True, config=_STRICT)
class Project:
    """A source project: who published a file.

    Attributes:
        name: What people call it.
        license: SPDX name of the license of its repository; no project names another one for the weights.
    """

    name: Text
    license: Text


@dataclass(frozen=True, config=_STRICT)
class Views:
    """What of a video an accuracy was measured on.

    Attributes:
        frames: Frames of one clip.
        clips: Clips of one video.
        crops: Crops of each frame.
        side: Side of a crop in pixels, of frames whose short side is 256 pixels.
        sampling: Frames spread over the whole video, or taken from windows of 64 frames.
    """

    frames: Count
    clips: Count = 1
    crops: Crops = "center"
    side: Count = 224
    sampling: Literal["uniform", "dense"] = "uniform"

    def __str__(self) -> str:
        if self.frames == 1:
            return f"images, {self.crops} crop of {self.side} px"
        clips = f"{self.clips} {'dense ' if self.sampling == 'dense' else ''}clip{'s' * (self.clips > 1)}"
        crops = _CROPS[self.crops]
        return f"{clips} of {self.frames} frames, {crops} crop{'s' * (crops > 1)} of {self.side} px"


@dataclass(frozen=True, config=_STRICT)
class Measured:
    """A published accuracy; clipshift did not measure it.

    Attributes:
        top1: Per cent of the validation videos whose first class is right.
        top5: Per cent whose class is among the first five, or None where it is not published.
        views: What each video was seen through.
    """

    top1: PerCent
    top5: PerCent | None
    views: Views

    def __str__(self) -> str:
        top5 = "" if self.top5 is None else f", top 5 {self.top5} %"
        return f"{self.top1} %{top5} ({self.views})"


@dataclass(frozen=True, config=_STRICT)
class PublishedWeights:
    """A published file of weights.

    Attributes:
        what: The network and its training, in one phrase.
        model: Name of the zoo's model; for a backbone, of the model that starts from it.
        data: What the classifier was trained on: a key of [data_sets][clipshift.weights.published.data_sets].
        segments: Frames per clip in training; 1 for networks of single images.
        url: Where the file lies.
        project: Who published it.
        page: The page that links it.
        measured: Published accuracies.
        temporal_attention: Whether the network weighs the frames before its shift.
        size: Bytes, where known.
        sha256: SHA-256 of the file in hexadecimal digits, where known.
        note: Where the pages disagree, or what else to know.
    """

    what: Text
    model: Text
    data: Text
    segments: Count
    url: Address
    project: Project
    page: Address
    measured: tuple[Measured, ...] = ()
    temporal_attention: bool = False
    size: Count | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    note: Text | None = None

    @property
    def classes(self) -> int:
        """Number of classes of the classifier."""
        return data_sets()[self.data].classes

    @property
    def network(self) -> str:
        """Name of the zoo's model with the frames of the training; a TSN has the same network for any number."""
        usual = self.segments in (1, _USUAL_SEGMENTS) or self.model.startswith(("tsn", "pptsn"))
        return self.model + ("" if usual else f"-{self.segments}f") + "-attention" * self.temporal_attention

    @property
    def file_name(self) -> str:
        """Name of the published file."""
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def sha256_prefix(self) -> str | None:
        """How the SHA-256 must begin: all of it, the 8 digits in the names of mmaction2's files, or None."""
        if self.sha256 is not None:
            return self.sha256
        match = _MMACTION2_DIGEST.search(self.url) if self.project.name == _MMACTION2 else None
        return match.group(1) if match is not None else None


@dataclass(frozen=True, config=_STRICT)
class Table:
    """The content of `published.yaml`, its references put in.

    Attributes:
        data_sets: Every data set by its name.
        weights: Every file by its name.
    """

    data_sets: dict[str, DataSetInfo]
    weights: dict[str, PublishedWeights]


@cache
def _table() -> Table:
    return read_table(_FILE.read_text(encoding="utf-8"), str(_FILE))


def data_sets() -> dict[str, DataSetInfo]:
    """Every data set of the table by its name."""
    return _table().data_sets


def published_weights() -> dict[str, PublishedWeights]:
    """Every published file by its name."""
    return _table().weights


def read_table(text: str, where: str) -> Table:
    """A table of published weights from its YAML text.

    Args:
        text: As `published.yaml`.
        where: The file, for errors.

    Raises:
        ConfigError: It is not valid; the first errors are listed.
    """
    try:
        content = read_yaml(text)
        tree = {"data_sets": content["data_sets"], "weights": {}}
        for name, entry in content["weights"].items():
            tree["weights"][name] = _put_in(entry, content["projects"], content["pages"])
        table = TypeAdapter(Table).validate_python(tree)
        for entry in table.weights.values():
            table.data_sets[entry.data]
    except ValidationError as error:
        found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:_ERRORS_SHOWN]]
        raise ConfigError("The table of published weights is not valid.", where=where, got="; ".join(found)) from error
    except (YamlError, KeyError, TypeError, AttributeError) as error:
        got = f"{type(error).__name__} {error}".replace("\n", " ")
        raise ConfigError("The table of published weights is not valid.", where=where, got=got) from error
    return table


def _put_in(entry: Mapping[str, Any], projects: Mapping[str, Any], pages: Mapping[str, str]) -> dict[str, Any]:
    """An entry of the file as its class has it: project and page in place of their keys, views in their own object."""
    values = dict(entry)
    values["project"], values["page"] = projects[values.pop("project")], pages[values["page"]]
    values["measured"] = [
        {"top1": result.pop("top1"), "top5": result.pop("top5", None), "views": result}
        for result in map(dict, values.get("measured", ()))
    ]
    return values


def find_published(name: str) -> PublishedWeights:
    """The entry of the table.

    Raises:
        ConfigError: The table has no such name.
    """
    if name in published_weights():
        return published_weights()[name]
    near = nearest_published(name)
    raise ConfigError(
        "There are no published weights of this name.",
        got=name,
        allowed=f"nearest names: {', '.join(near)}" if near else None,
        remedy="clipshift models lists all names",
    )


def nearest_published(name: str) -> list[str]:
    """Up to five names of the table that `name` may have meant, the nearest first."""
    return get_close_matches(name, published_weights(), n=5)


def with_nearest_names(error: ConfigError, name: str) -> ConfigError:
    """The error that no network is called `name`, with the names of the table that may have been meant, if any."""
    near = nearest_published(name)
    if not near:
        return error
    allowed = f"nearest names of published weights: {', '.join(near)}"
    if error.allowed is not None:
        allowed += f"; of networks: {error.allowed.removeprefix('nearest names: ')}"
    return ConfigError(
        "There are no published weights and no network of this name.", got=name, allowed=allowed, remedy=error.remedy
    )


def list_published() -> list[tuple[str, str]]:
    """(name, what the file is and how accurate) of every entry."""
    return [(name, _summary(entry)) for name, entry in published_weights().items()]


def _summary(entry: PublishedWeights) -> str:
    frames = "" if entry.segments == 1 else f"{entry.segments} frames"
    best = max((result.top1 for result in entry.measured), default=None)
    accuracy = "" if best is None else f"{best} %"
    return ", ".join(part for part in (entry.what, frames, data_sets()[entry.data].title, accuracy) if part)


def results_of(network: str) -> list[str]:
    """`NAME: DATA, ACCURACY` of every published accuracy of a model of the zoo, in the table's order.

    Args:
        network: Name of the zoo's model.
    """
    return [
        f"{name}: {data_sets()[entry.data].title}, {result}"
        for name, entry in published_weights().items()
        if entry.network == network and entry.segments > 1
        for result in entry.measured
    ]
