"""The table of published weights: names follow the rule, and what an entry says agrees with itself."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from clipshift.errors import ConfigError
from clipshift.models.zoo import ZOO
from clipshift.weights.published import (
    Measured,
    PublishedWeights,
    Views,
    data_sets,
    find_published,
    list_published,
    nearest_published,
    published_weights,
    read_table,
    results_of,
)

PUBLISHED, DATA_SETS = published_weights(), data_sets()
SHORT = {"kinetics400": "k400"}
PROJECTS = {
    "PaddleVideo": ("paddlevideo", "bcebos.com"),
    "PaddleClas": ("paddle", "bcebos.com"),
    "mmaction2": ("mmaction2", "download.openmmlab.com"),
    "MIT temporal-shift-module": ("mit", "file.lzhu.me"),
}
VARIANTS = r"(-from-(imagenet|k400|mit))?(-dense)?(-distilled|-dml)?(-student)?(-100e)?(-amp)?(-nhwc)?"
BACKBONE = re.compile(r"(r50|r50vd|r101vd|mobilenetv2|mobilenetv3|pplcnetv2)-imagenet1k(-ssld)?-paddle")

entries = pytest.mark.parametrize(("name", "entry"), PUBLISHED.items(), ids=str)


@entries
def test_name_follows_the_rule(name: str, entry: PublishedWeights) -> None:
    if entry.data == "imagenet1k":
        assert BACKBONE.fullmatch(name)
        assert entry.segments == 1
        return
    own = entry.model.startswith("pp")  # PaddleVideo's own networks, with 8 frames unless the name says otherwise
    frames = "" if own and entry.segments == 8 else f"-{entry.segments}f"
    project = "" if own else f"-{PROJECTS[entry.project.name][0]}"
    rule = f"{re.escape(entry.model)}{frames}-{SHORT.get(entry.data, entry.data)}{VARIANTS}{project}"
    assert re.fullmatch(rule, name)


@entries
def test_entry_is_sound(name: str, entry: PublishedWeights) -> None:
    assert entry.model in ZOO
    assert entry.url.startswith("https://")
    host = entry.url.split("/")[2]
    assert host.endswith(PROJECTS[entry.project.name][1])
    assert entry.page.startswith("https://github.com/")
    assert entry.project.license in {"Apache-2.0", "MIT"}
    assert entry.classes == DATA_SETS[entry.data].classes
    assert entry.file_name.endswith((".pdparams", ".pth"))
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.size is None or entry.size > 1_000_000


@entries
def test_accuracies_are_per_cent(name: str, entry: PublishedWeights) -> None:
    assert entry.measured or name == "r50-imagenet1k-paddle"
    for result in entry.measured:
        assert 0 < result.top1 < 100
        assert result.top5 is None or result.top1 < result.top5 < 100


def test_dense_networks_were_measured_on_dense_clips() -> None:
    for name, entry in PUBLISHED.items():
        samplings = {result.views.sampling for result in entry.measured}
        # MIT's TSN was measured both ways; its file has one name.
        assert ("dense" in samplings) == ("-dense" in name or name == "tsn-r50-5f-k400-mit"), name


def test_mmaction2_files_name_the_start_of_their_digest() -> None:
    for name, entry in PUBLISHED.items():
        if name.endswith("-mmaction2"):
            assert re.fullmatch("[0-9a-f]{8}", entry.sha256_prefix or ""), name
        else:
            assert entry.sha256_prefix is None


def test_files_are_listed_once() -> None:
    assert len({entry.url for entry in PUBLISHED.values()}) == len(PUBLISHED)
    # The cache stores files under these names.
    assert len({entry.file_name.lower() for entry in PUBLISHED.values()}) == len(PUBLISHED)


def test_names_are_of_published_weights_only() -> None:
    assert not set(PUBLISHED) & set(ZOO)


def test_classes_of_the_data_sets() -> None:
    classes = [data.classes for data in DATA_SETS.values()]
    assert list(DATA_SETS) == ["kinetics400", "ucf101", "hmdb51", "sthv1", "sthv2", "jester", "imagenet1k"]
    assert classes == [400, 101, 51, 174, 174, 27, 1000]


def test_lookup() -> None:
    assert find_published("pptsm-r50-k400") is PUBLISHED["pptsm-r50-k400"]
    assert nearest_published("pptsm-r50-k40")[0] == "pptsm-r50-k400"
    with pytest.raises(ConfigError, match="nearest names: pptsm-r50-k400"):
        find_published("pptsm-r50-k40")
    with pytest.raises(ConfigError, match="no published weights of this name"):
        find_published("%%%")


def test_list_says_what_and_how_accurate() -> None:
    listed = dict(list_published())
    assert list(listed) == list(PUBLISHED)
    assert listed["pptsm-r50-k400"] == "PP-TSM on ResNet-50-D, 8 frames, Kinetics-400, 74.54 %"
    assert listed["r50-imagenet1k-paddle"].endswith("ImageNet-1k")


def test_networks_are_those_of_the_zoo() -> None:
    assert {entry.network for entry in PUBLISHED.values()} <= set(ZOO)
    for name, entry in PUBLISHED.items():
        if entry.segments > 1 and not entry.model.startswith(("tsn", "pptsn")):
            assert ZOO[entry.network].segments == entry.segments, name
        assert ZOO[entry.network].model.temporal_attention is entry.temporal_attention, name


def test_results_of_a_network_are_those_of_its_files() -> None:
    assert results_of("tsm-r101") == [
        f"tsm-r101-8f-{data}: {title}, {result} % ({views})"
        for data, title, result, views in (
            (
                "sthv2-mmaction2",
                "Something-Something V2",
                "63.7 %, top 5 88.28",
                "2 clips of 8 frames, 3 crops of 256 px",
            ),
            ("sthv1-mit", "Something-Something V1", "46.9", "1 clip of 8 frames, 1 crop of 224 px"),
            ("sthv1-mit", "Something-Something V1", "48.7", "2 clips of 8 frames, 3 crops of 256 px"),
            ("sthv2-mit", "Something-Something V2", "63.3", "2 clips of 8 frames, 3 crops of 256 px"),
        )
    ]
    assert [line.partition(":")[0] for line in results_of("pptsmv2-16f")] == ["pptsmv2-16f-k400"]
    assert results_of("tsm-r18") == []
    listed = [line.partition(":")[0] for network in ZOO for line in results_of(network)]
    assert {name for name, entry in PUBLISHED.items() if entry.segments > 1} == set(listed)


SMALL = """
data_sets:
  a: {title: A, classes: 3}
projects:
  mit: {name: MIT, license: MIT}
pages:
  mit: https://example.org
weights:
  x:
    what: TSM
    model: tsm-r18
    data: a
    segments: 8
    url: https://example.org/x.pth
    project: mit
    page: mit
    measured: [{top1: 50, frames: 8}]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("classes: 3", "classes: 0", "data_sets.a.classes: Input should be greater than or equal to 1"),
        ("segments: 8", "segments: eight", "weights.x.segments: Input should be a valid integer"),
        ("segments: 8", "frames: 8", "weights.x.segments: Field required"),
        ("top1: 50", "top1: 150", "weights.x.measured.0.top1: Input should be less than 100"),
        ("frames: 8}", "frames: 8, crops: nine}", "weights.x.measured.0.views.crops: Input should be"),
        ("url: https:", "url: ftp:", "weights.x.url: String should match"),
        ("page: mit", "page: mt", "KeyError 'mt'"),
        ("data: a", "data: b", "KeyError 'b'"),
        ("  x:", "  x: {}\n  x:", "key 'x' is there twice"),
        ("weights:", "files:", "KeyError 'weights'"),
    ],
)
def test_a_broken_table_is_told(old: str, new: str, said: str) -> None:
    assert read_table(SMALL, "t.yaml").weights["x"].measured == (Measured(50, None, Views(8)),)
    with pytest.raises(ConfigError, match="table of published weights is not valid") as caught:
        read_table(SMALL.replace(old, new, 1), "t.yaml")
    assert said in str(caught.value.got)
    assert caught.value.where == "t.yaml"


def test_listing_needs_no_pytorch() -> None:
    code = "import sys; from clipshift.cli import app; app(['models'], result_action='return_value');"
    code += "assert not {'torch', 'timm', 'av', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tsm-r50-8f-k400-mit" in done.stdout


def test_views_in_words() -> None:
    assert str(Views(8)) == "1 clip of 8 frames, 1 crop of 224 px"
    assert str(Views(8, 10, "three", 256, "dense")) == "10 dense clips of 8 frames, 3 crops of 256 px"
    assert str(Views(1)) == "images, center crop of 224 px"
