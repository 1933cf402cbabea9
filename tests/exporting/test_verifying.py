"""The table of differences between a trained model and its exports, the times of both, and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

import clipshift
from clipshift.cli import app
from clipshift.errors import DataError, ExportError
from clipshift.exporting.check_clips import find_labeled
from clipshift.files import sha256_of_file
from clipshift.inference.export_folder import read_export, write_description
from tests.conftest import MakeExport
from tests.exporting.making import save_model


def _spoilt(exported: Path, folder: Path) -> Path:
    """A copy of an ONNX export whose leaky ReLUs have another slope, with the hash that goes with it."""
    model = onnx.load(exported / "model.onnx")
    slopes = [node for node in model.graph.node if node.op_type == "LeakyRelu"]
    for node in slopes:
        node.attribute[0].f = 0.3
    assert slopes
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    files = {"model.onnx": sha256_of_file(folder / "model.onnx")}
    write_description(folder, read_export(exported).model_copy(update={"files": files}))
    return folder


def _exit_code(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        app([str(word) for word in words])
    return int(stop.value.code or 0)


def test_all_agree(small_model: Path, small_clips: Path, exported: MakeExport, tmp_path: Path) -> None:
    folders = [exported("onnx").folder, exported("openvino").folder]
    found = clipshift.verify(small_model, *folders, data=small_clips, out=tmp_path)
    assert found.ok
    assert [row.name for row in found.rows] == [str(small_model), *map(str, folders)]
    for row in found.rows[1:]:
        assert row.difference is not None
        assert 0 <= row.difference.largest < 1e-5
        assert row.difference.clips == found.clips == 8
        assert row.accuracy == found.rows[0].accuracy is not None
    text = found.to_text()
    assert "ONNX Runtime" in text
    assert "All agree." in text
    assert json.loads((tmp_path / "verification.json").read_text(encoding="utf-8"))["ok"] is True
    page = (tmp_path / "verification.html").read_text(encoding="utf-8")
    assert page.count('<span class="good">ok</span>') == 2
    assert "http" not in page.replace("http-equiv", "")


def test_a_changed_slope_is_found(
    small_model: Path, small_clips: Path, exported: MakeExport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = _spoilt(exported("onnx").folder, tmp_path / "spoilt")
    code = _exit_code("verify", small_model, spoilt, "--data", small_clips, "--out", tmp_path / "page")
    assert code == 1
    assert "DIFFER" in capsys.readouterr().out
    assert "They differ" in (tmp_path / "page" / "verification.html").read_text(encoding="utf-8")


def test_clips_without_labels_and_broken_ones(
    small_model: Path, small_clips: Path, exported: MakeExport, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, clip in enumerate(sorted(small_clips.rglob("*.mp4"))[:3]):
        (flat / f"{number}.mp4").write_bytes(clip.read_bytes())
    (flat / "broken.mp4").write_bytes(b"no video")
    found = clipshift.verify(small_model, exported("onnx").folder, data=flat)
    assert found.ok
    assert found.clips == 4
    assert len(found.unreadable) == 1
    assert "broken.mp4" in found.unreadable[0]
    assert found.rows[0].accuracy is None


def test_labels_that_are_wrong_are_not_taken_for_none(small_clips: Path, small_model: Path, tmp_path: Path) -> None:
    spec = clipshift.load(small_model, device="cpu").spec
    videos = sorted(small_clips.rglob("*.mp4"))

    def listed(name: str, *rows: str) -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        return path

    def folder(name: str, *places: str) -> Path:
        for place, video in zip(places, videos, strict=False):
            (tmp_path / name / place).mkdir(parents=True)
            (tmp_path / name / place / "clip.mp4").write_bytes(video.read_bytes())
        return tmp_path / name

    for wrong, text in (
        (listed("unknown.txt", f"{videos[0]} 0", f"{videos[1]} 9"), r"(?s)label is not in.*unknown\.txt:2.*got: +9"),
        (listed("half.txt", f"{videos[0]} 0", f"{videos[1]}"), r"(?s)not understood.*half\.txt:2"),
        (listed("missing.txt", "nowhere.mp4 0"), "1 of 1 listed clip do not exist"),
        (listed("columns.csv", "file,label", f"{videos[0]},0"), "does not name the columns"),
        (listed("broken.jsonl", "{"), "not understood"),
        (listed("data.yaml", "val: nowhere"), "path of `val` does not exist"),
        (folder("other", "jump", spec.classes[0]), r"(?s)name that is not a class.*got: +jump"),
        (folder("trained", "train/a", "train/b"), "no validation and no test part"),
        (folder("empty", f"{spec.classes[0]}/.hidden"), "without a single video"),
    ):
        with pytest.raises(DataError, match=text) as caught:
            find_labeled(wrong, spec)
        assert "without labels" in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 8
    for right, labels in (
        (listed("right.txt", f"{videos[0]} 0", f"{videos[1]} 1"), [0, 1]),
        (listed("bare.txt", *map(str, videos[:2])), [None, None]),
        (listed("bare.jsonl", json.dumps({"path": str(videos[0])})), [None]),
        (listed("bare.csv", "path,length", f"{videos[0]},8"), [None]),
        (videos[0], [None]),
        (tmp_path / "other" / "**" / "*.mp4", [None, None]),
        (tmp_path / "other" / "jump", [None]),
    ):
        assert [clip.label for clip in find_labeled(right, spec)] == labels, right
    with pytest.raises(DataError, match="no such file"):
        find_labeled(tmp_path / "nowhere", spec)


def test_fewer_clips(small_model: Path, small_clips: Path, exported: MakeExport) -> None:
    assert clipshift.verify(small_model, exported("onnx").folder, data=small_clips, most=3).clips == 3


def test_what_cannot_be_compared(small_model: Path, small_clips: Path, exported: MakeExport, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Nothing was named"):
        clipshift.verify(small_model, data=small_clips)
    with pytest.raises(ExportError, match="no exported model"):
        clipshift.verify(small_model, small_model, data=small_clips)
    other = save_model(tmp_path / "other", classes=("a", "b"))
    with pytest.raises(ExportError, match="other classes"):
        clipshift.verify(other, exported("onnx").folder, data=small_clips)


def test_times(small_model: Path, small_clips: Path, exported: MakeExport, tmp_path: Path) -> None:
    found = clipshift.benchmark(
        small_model, exported("openvino").folder, videos=small_clips, repeat=3, threads=1, out=tmp_path
    )
    assert [speed.name for speed in found.speeds] == [str(small_model), str(exported("openvino").folder)]
    for speed in found.speeds:
        for timing in (speed.network, speed.decoding, speed.whole):
            assert timing.times == 3
            assert 0 < timing.low <= timing.median <= timing.high
        assert speed.clips_per_second > 0
    assert "OpenVINO" in found.to_text()
    assert json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))["clips"] == 8
    assert (tmp_path / "benchmark.png").stat().st_size > 1000


def test_labels_of_clips_to_time_do_not_matter(
    small_model: Path, small_clips: Path, exported: MakeExport, tmp_path: Path
) -> None:
    videos = sorted(small_clips.rglob("*.mp4"))[:2]
    for place, video in zip(("train/jump", "not_of_the_model"), videos, strict=True):
        (tmp_path / "other" / place).mkdir(parents=True)
        (tmp_path / "other" / place / "clip.mp4").write_bytes(video.read_bytes())
    listed = tmp_path / "wrong.txt"
    listed.write_text("".join(f"{video} 99\n" for video in videos), encoding="utf-8")
    for source, clips in ((tmp_path / "other", 2), (listed, 2), (small_clips / "**" / "*.mp4", 8), (videos[0], 1)):
        found = clipshift.benchmark(exported("onnx").folder, videos=source, repeat=1, threads=1)
        assert found.clips == clips, source
    with pytest.raises(DataError, match="no such file"):
        clipshift.benchmark(small_model, videos=tmp_path / "nowhere", repeat=1)


def test_nothing_to_measure(tmp_path: Path, small_model: Path) -> None:
    with pytest.raises(ExportError, match="Nothing was named"):
        clipshift.benchmark()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(clipshift.errors.VideoError, match="None of the clips"):
        clipshift.benchmark(small_model, videos=tmp_path, repeat=1)


def test_commands(small_model: Path, small_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "exported"
    app(
        ["export", str(small_model), "--to", "onnx", "--out", str(out), "--data", str(small_clips)],
        result_action="return_value",
    )
    said = capsys.readouterr().out
    assert f"clipshift predict {out} VIDEO" in said
    assert "same class in 100.0%" in said
    clip = next(small_clips.rglob("*.mp4"))
    app(["predict", str(out / "model.onnx"), str(clip), "--threads", "1"], result_action="return_value")
    assert str(clip) in capsys.readouterr().out
    app(["evaluate", str(out), str(small_clips)], result_action="return_value")
    assert "8" in capsys.readouterr().out
    app(["benchmark", str(out), "--videos", str(small_clips), "--repeat", "2"], result_action="return_value")
    assert "ONNX Runtime" in capsys.readouterr().out
