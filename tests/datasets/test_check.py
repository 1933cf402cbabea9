from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from clipshift.config import DataConfig
from clipshift.datasets.tools.check import CheckReport, Finding, check_data
from tests.datasets.clips import moving_frames, touch, write_classes, write_video
from tests.video.making import make_streams, make_video

DATA = DataConfig()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_classes(tmp_path / "train", ["a", "b"], 10)
    write_classes(tmp_path / "val", ["a", "b"], 2, seed=500)
    return tmp_path


def found(report: CheckReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def scaled(frames: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in frames])


def test_a_good_data_set_has_no_findings(root: Path) -> None:
    report = check_data(root, DATA, workers=2)
    assert report.findings == ()
    assert report.ok
    assert report.summary == (
        "2 classes, 20 training and 4 validation clips, 0.2 minutes; split as brought: train/ and val/"
    )
    assert report.to_text().splitlines()[-1] == "0 errors, 0 warnings"


def test_a_data_set_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    report = check_data(tmp_path / "none", DATA)
    assert not report.ok
    assert [finding.kind for finding in report.findings] == ["data"]
    assert "was not found" in report.to_text()


def test_unreadable_clips_are_listed_with_their_reason(root: Path) -> None:
    touch(root / "train" / "a" / "clip_3.mp4")
    whole = (root / "val" / "b" / "clip_1.mp4").read_bytes()
    (root / "val" / "b" / "clip_1.mp4").write_bytes(whole[:600])
    (finding,) = found(check_data(root, DATA), "unreadable")
    assert finding.severity == "error"
    assert finding.clips == ("train/a/clip_3.mp4", "val/b/clip_1.mp4")
    assert finding.text.startswith("2 of 24 clips cannot be read (8.3%; data.max_bad is 1.0%)")
    assert all(len(detail) > len(name) + 5 for name, detail in zip(finding.clips, finding.details, strict=True))
    (finding,) = found(check_data(root, DataConfig(max_bad=0.1)), "unreadable")
    assert finding.severity == "warning"


def test_copies_on_both_sides_are_an_error(root: Path) -> None:
    shutil.copy(root / "train" / "a" / "clip_3.mp4", root / "val" / "a" / "other.mp4")
    report = check_data(root, DATA)
    (finding,) = found(report, "leak")
    assert finding.severity == "error"
    assert finding.details == ("train/a/clip_3.mp4 = val/a/other.mp4",)
    assert not report.ok
    assert found(report, "duplicate") == found(report, "contradiction") == []


@pytest.mark.parametrize(
    ("codec", "suffix", "quality", "size"),
    [("libx264", ".mp4", 36, (64, 48)), ("mpeg4", ".avi", 20, (48, 48)), ("mpeg4", ".mkv", 12, (160, 120))],
)
def test_copies_that_were_encoded_anew_are_found(
    root: Path, codec: str, suffix: str, quality: int, size: tuple[int, int]
) -> None:
    frames = moving_frames(30, width=128, height=96, seed=77)
    write_video(root / "train" / "a" / "original.mp4", frames)
    write_video(root / "val" / "a" / f"copy{suffix}", scaled(frames, *size), codec=codec, quality=quality)
    (finding,) = found(check_data(root, DATA), "leak")
    assert finding.severity == "warning"
    assert finding.clips == ("train/a/original.mp4", f"val/a/copy{suffix}")


def test_copies_inside_a_part_and_under_two_labels(root: Path) -> None:
    shutil.copy(root / "train" / "a" / "clip_3.mp4", root / "train" / "b" / "other.mp4")
    report = check_data(root, DATA)
    assert report.ok
    assert [finding.severity for finding in found(report, "duplicate")] == ["warning"]
    (finding,) = found(report, "contradiction")
    assert finding.details == ("train/a/clip_3.mp4 = train/b/other.mp4 [a / b]",)


def test_odd_classes_and_shapes(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", ["a"], 12)
    write_classes(tmp_path / "train", ["b"], 2, seed=90, frames=5)
    write_classes(tmp_path / "val", ["a"], 1, seed=500)
    write_video(tmp_path / "train" / "b" / "large.mp4", moving_frames(10, width=96, height=64, seed=42), fps=10)
    report = check_data(tmp_path, DATA)
    assert report.ok
    kinds = {finding.kind: finding for finding in report.findings}
    assert kinds["few"].details == ("b: 3",)
    assert "imbalance" not in kinds
    assert kinds["empty"].details == ("b",)
    assert kinds["short"].clips == ("train/b/clip_0.mp4", "train/b/clip_1.mp4")
    assert kinds["short"].remedy == "lower input.segments (shortest clip: 5)"
    assert kinds["sizes"].text == "2 different frame sizes: 64x48 (15), 96x64 (1)."
    assert kinds["rates"].text.startswith("2 different frame rates: 25 fps (15)")
    assert found(check_data(tmp_path, DATA, segments=5), "short") == []


@pytest.mark.parametrize(("large", "expected"), [(10, True), (9, False)])
def test_imbalance_is_mentioned_from_five_on(tmp_path: Path, large: int, expected: bool) -> None:
    write_classes(tmp_path / "train", ["a"], large, frames=8)
    write_classes(tmp_path / "train", ["b"], 2, frames=8, seed=90)
    write_classes(tmp_path / "val", ["a", "b"], 1, frames=8, seed=500)
    assert bool(found(check_data(tmp_path, DATA), "imbalance")) is expected


def test_the_text_is_short_and_the_json_complete(root: Path) -> None:
    for number in range(10):
        for part in ("a", "b"):
            touch(root / "train" / part / f"bad_{number}.mp4")
    report = check_data(root, DATA)
    lines = report.to_text().splitlines()
    assert "           ... and 10 more (--json lists all)" in lines
    assert len(lines) < 20
    content = json.loads(json.dumps(report.to_json()))
    assert content["ok"] is False
    assert len(content["findings"][0]["clips"]) == 20


def test_notes_of_the_reading_are_shown(root: Path) -> None:
    touch(root / "train" / "a" / "Thumbs.db")
    (finding,) = found(check_data(root, DATA), "reading")
    assert "Thumbs.db" in finding.text


def test_progress_counts_the_clips(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_data(root, DATA, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 24) for number in range(1, 25)]


def test_pixels_that_are_not_square_and_several_streams_are_told(root: Path) -> None:
    frames = moving_frames(12, seed=77)
    make_video(root / "train" / "a" / "dvd.mp4", frames, pixel_aspect=Fraction(64, 45))
    (finding,) = found(check_data(root, DATA), "pixels")
    assert (finding.severity, finding.clips) == ("info", ("train/a/dvd.mp4",))
    assert finding.text.startswith(
        "1 clip with pixels that are not square (such as train/a/dvd.mp4: 1.42 to 1); input."
    )
    make_streams(root / "train" / "b" / "two.mkv", [(frames, Disposition(0)), (frames[::-1], Disposition.default)])
    (finding,) = found(check_data(root, DATA), "streams")
    assert (finding.severity, finding.clips) == ("info", ("train/b/two.mkv",))
