"""Wrong labels: planted ones are found, what cannot be checked is said, and the page holds its frames."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.cli import app
from clipshift.datasets.clip import Clip, Manifest
from clipshift.errors import ConfigError, DataError, OutputError
from clipshift.probing.features import ClipFeatures
from clipshift.probing.label_check import LabelCheck, rank_clips
from clipshift.probing.label_page import check_page_place, write_label_page
from clipshift.probing.strangers import distances_to_others, find_strangers

CLASSES = ("run", "sit", "wave")


def clips_of(labels: list[int], names: list[str] | None = None) -> tuple[Clip, ...]:
    names = names or [f"{CLASSES[label]}/take_{number}.mp4" for number, label in enumerate(labels)]
    return tuple(Clip(Path("/none") / name, name, label) for name, label in zip(names, labels, strict=True))


def features_of(labels: list[int], *, width: int = 40, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    means = random.normal(size=(3, width)) * 1.2
    return np.asarray(means[labels] + random.normal(size=(len(labels), width)), dtype=np.float32)


def check(clips: tuple[Clip, ...], features: np.ndarray) -> LabelCheck:
    manifest = Manifest(Path("/none"), CLASSES, clips)
    return rank_clips(manifest, ClipFeatures(clips, features, features, features), about="a test")


def test_planted_errors_are_found() -> None:
    truth = [0] * 20 + [1] * 20 + [2] * 20
    clips, wrong = list(clips_of(truth)), (3, 25, 50)
    for position in wrong:
        clips[position] = replace(clips[position], label=(truth[position] + 1) % 3)
    found = check(tuple(clips), features_of(truth))
    assert {clip.name for clip in found.ranked[:3]} == {clips[position].name for position in wrong}
    assert [clip.name for clip in found.suspects] == [clip.name for clip in found.ranked[:3]]
    assert all(CLASSES.index(clip.likely) == truth[int(re.findall(r"\d+", clip.name)[0])] for clip in found.suspects)
    assert len(found.ranked) == 60
    assert found.can_tell
    (finding,) = (each for each in found.findings("p.html") if each.kind == "label")
    assert finding.severity == "warning"
    assert "3 clips of 60 look as if they had a wrong label" in finding.text
    assert "p.html" in str(finding.remedy)


def test_right_labels_are_not_suspected() -> None:
    truth = [0] * 10 + [1] * 10 + [2] * 10
    found = check(clips_of(truth), features_of(truth))
    assert found.suspects == ()
    assert [each.kind for each in found.findings()] == ["labels"]


def test_videos_of_something_else_are_told_from_rare_ones(tmp_path: Path) -> None:
    truth = [0] * 20 + [1] * 20 + [2] * 20
    features = np.abs(features_of(truth)) + 1
    random = np.random.default_rng(5)
    for position in (7, 41):  # two of one kind
        features[position] = np.arange(40) % 4 * 2 + random.normal(size=40) * 0.1
    found = check(clips_of(truth), features)
    assert {clip.name for clip in found.strangers} == {"run/take_7.mp4", "wave/take_41.mp4"}
    assert all(clip.times > 1.3 for clip in found.strangers)
    (finding,) = (each for each in found.findings("p.html") if each.kind == "stranger")
    assert (finding.severity, finding.text) == ("warning", "2 clips look like no other clip of the data.")
    assert "p.html" in str(finding.remedy)
    assert [each["label"] for each in found.to_json()["strangers"]] == [clip.label for clip in found.strangers]
    write_label_page(found, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "2 clips like no other</h1>" in html
    assert html.index("Like no other clip") < html.index("wave/take_41.mp4")


def test_clips_of_one_source_do_not_vouch_for_each_other() -> None:
    random = np.random.default_rng(6)
    features = random.normal(size=(30, 8)) * 0.1 + np.arange(8)
    features[:4] = np.arange(8)[::-1] + random.normal(size=(4, 8)) * 0.01
    alone = [[position] for position in range(30)]
    assert find_strangers(distances_to_others(features, alone)) == []
    assert sorted(find_strangers(distances_to_others(features, [[0, 1, 2, 3], *alone[4:]]))) == [0, 1, 2, 3]
    assert find_strangers(distances_to_others(features[:19], [[0, 1, 2, 3], *alone[4:19]])) == []
    assert np.isnan(distances_to_others(features[:3], alone[:3])).all()


def test_features_that_tell_nothing_are_said() -> None:
    labels = [0, 1, 2] * 8
    noise = np.random.default_rng(3).normal(size=(24, 30)).astype(np.float32)
    found = check(clips_of(labels), noise)
    assert not found.can_tell
    texts = [each.text for each in found.findings()]
    assert any("do not tell these classes apart" in text for text in texts)
    assert not any(each.kind == "label" for each in found.findings())


def test_features_that_tell_little_are_said(tmp_path: Path) -> None:
    labels = [0, 1, 2] * 20
    found = check(clips_of(labels), features_of(labels))
    assert found.doubt is None
    doubted = replace(found, agreeing=30)
    assert doubted.can_tell
    assert [each.severity for each in doubted.findings()][-1] == "warning"
    text = "The features tell only 50% of the labels: most of those that look wrong are right."
    assert text in [each.text for each in doubted.findings()]
    write_label_page(doubted, tmp_path / "page.html")
    assert text in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_classes_of_few_sources_are_said() -> None:
    labels = [0] * 10 + [1] * 3 + [2] * 4
    names = [f"run/take_{n}.mp4" for n in range(10)] + [f"sit/take_{n}.mp4" for n in range(3)]
    names += [f"wave/game_clip{n}.mp4" for n in range(4)]  # parts of one recording
    found = check(clips_of(labels, names), features_of(labels))
    assert {clip.label for clip in found.ranked} == {"run", "sit"}
    assert "Not checked, because all clips are of one source: wave." in found.notes
    assert "Of fewer than 5 sources, so that little is compared: sit (3)." in found.notes


def test_one_source_each_cannot_be_checked() -> None:
    names = [f"{name}/game_clip{n}.mp4" for name in CLASSES for n in range(3)]
    with pytest.raises(DataError, match="no class has clips of two sources"):
        check(clips_of([0, 0, 0, 1, 1, 1, 2, 2, 2], names), features_of([0, 0, 0, 1, 1, 1, 2, 2, 2]))


@pytest.fixture(scope="module")
def data(small_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of four classes and one that is none."""
    folder = tmp_path_factory.mktemp("labels") / "gym"
    shutil.copytree(small_clips, folder)
    (next(folder.iterdir()) / "broken.mp4").write_bytes(b"no video")
    return folder


def test_from_videos_to_a_page(data: Path, small_model: Path, tmp_path: Path) -> None:
    found = clipshift.check_labels(data, weights=small_model, device="cpu", workers=0)
    assert len(found.ranked) == 8
    assert any("broken.mp4" in note for note in found.notes)
    assert any("trained model" in note for note in found.notes)
    page = tmp_path / "page.html"
    write_label_page(replace(found, ranked=tuple(replace(each, suspicious=True) for each in found.ranked)), page)
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == 8 * 4
    assert not re.findall(r"(?:src|href)=\"(?!data:)", html)
    assert all(each.name in html for each in found.ranked)
    check_page_place(page, data)
    write_label_page(found, page)  # its own kind is replaced


def test_the_command(
    data: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["check", str(data), "data.max_bad=0.5", "--with-model", "--weights", str(small_model), "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        app([*words, "--json", "found.json"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "8 clips compared by features of the model" in out
    assert "clipshift check --with-model" in (tmp_path / "gym-labels.html").read_text(encoding="utf-8")
    values = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert values["labels"]["checked"] == len(values["labels"]["ranked"]) == 8
    assert set(values["labels"]["ranked"][0]) == {"name", "label", "likely", "chance", "likely_chance", "suspicious"}


@pytest.mark.parametrize("option", ["--weights", "--page"])
def test_options_of_the_check_of_labels_need_it(option: str, data: Path) -> None:
    with pytest.raises(ConfigError, match="add --with-model"):
        app(["check", str(data), option, "x"])


def test_a_page_replaces_nothing_else(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.html"
    other.write_text("<p>mine</p>", encoding="utf-8")
    for place in (other, tmp_path, tmp_path / "none" / "page.html"):
        with pytest.raises(OutputError):
            app(["check", str(data), "--with-model", "--page", str(place)])
    assert other.read_text(encoding="utf-8") == "<p>mine</p>"


def test_data_that_cannot_be_checked(
    data: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one"
    shutil.copytree(next(data.iterdir()), one / "only")
    with pytest.raises(DataError, match="only one class"):
        clipshift.check_labels(one, weights=small_model)
    with pytest.raises(ConfigError, match="each clip has one"):
        clipshift.check_labels(data, "train.multi_label=true", weights=small_model)
    broken = tmp_path / "broken"
    for name in ("a", "b"):
        for number in (1, 2):
            (broken / name).mkdir(parents=True, exist_ok=True)
            (broken / name / f"take_{number}.mp4").write_bytes(f"no video {name}{number}".encode())
    with pytest.raises(DataError, match="Not one clip could be read"):
        clipshift.check_labels(broken, weights=small_model, device="cpu", workers=0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:  # and what else is wrong is said, too
        app(["check", str(broken), "--with-model", "--weights", str(small_model), "--device", "cpu"])
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "4 of 4 clips cannot be read" in out
    assert "Not one clip could be read." in out
    assert not (tmp_path / "broken-labels.html").exists()
