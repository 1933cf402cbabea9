"""How clips are read travels with a model; what cannot be read is said, with a remedy that the same command takes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import clipshift
from clipshift.cli import app
from clipshift.config import DataConfig
from clipshift.datasets.tools.check import check_data
from clipshift.errors import ConfigError, DataError, UserError
from clipshift.evaluation.evaluator import evaluate_manifest
from clipshift.evaluation.report.page import write_report
from clipshift.evaluation.results import Evaluation, load_evaluation
from clipshift.inference.export_folder import read_export
from clipshift.models.bundle import find_bundle, read_bundle
from tests.datasets.clips import moving_frames, write_frames
from tests.end_to_end.test_bad_input import SMALL

pytestmark = pytest.mark.usefixtures("blank_pictures")

PATTERN = "frame{:06d}.jpg"
MINE = f"data.frame_pattern={PATTERN}"
OTHER = "data.frame_pattern=img_{:05d}.jpg"


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame folders whose names are not those that clipshift expects."""
    root = tmp_path_factory.mktemp("frames") / "data"
    for part, count in (("train", 3), ("val", 2)):
        for label in ("a", "b"):
            for number in range(count):
                write_frames(root / part / label / f"v{number}", moving_frames(8, height=40, width=48), pattern=PATTERN)
    return root


@pytest.fixture(scope="module")
def run(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    clipshift.train(frames, *SMALL, MINE, "data.max_seconds=50000", out=out)
    return out


@pytest.fixture(scope="module")
def export(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clipshift.export(run, to="torch", out=tmp_path_factory.mktemp("exports") / "torch").folder


@pytest.fixture(scope="module")
def listed(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    lines = [f"{clip} {clip.parent.name}\n" for clip in sorted((frames / "val").glob("*/*"))]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def call(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """Exit code of a command as `main` would give it, and all that it says."""
    capsys.readouterr()
    code, said = 0, ""
    try:
        app([str(word) for word in words])
    except SystemExit as stop:
        code = int(stop.code or 0)
    except UserError as error:
        code, said = 2, str(error)
    captured = capsys.readouterr()
    return code, captured.out + captured.err + said


def test_a_run_reads_what_it_was_trained_on(
    run: Path, export: Path, frames: Path, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = read_bundle(find_bundle(run))[1].reading
    assert (reading.frame_pattern, reading.max_seconds) == (PATTERN, 50000)
    assert read_export(export).spec.reading == reading
    clip = frames / "val" / "a" / "v0"
    for model in (run, export):
        assert call(capsys, "predict", model, clip)[0] == 0
        for data in (frames, listed):
            code, text = call(capsys, "evaluate", model, data, "--device", "cpu", "--out", tmp_path / "evaluation")
            assert (code, "4 total, 4 scored, 0 bad" in text) == (0, True), text
    code, text = call(capsys, "verify", run, export, "--data", frames)
    assert (code, "4 clips" in text) == (0, True), text
    code, text = call(capsys, "benchmark", run, export, "--videos", frames / "val", "--repeat", "2")
    assert (code, "4 clips" in text) == (0, True), text


def test_a_report_shows_the_clips_of_its_evaluation(run: Path, frames: Path, tmp_path: Path) -> None:
    clipshift.evaluate(run, frames, device="cpu", out=tmp_path)
    assert load_evaluation(tmp_path).reading == read_bundle(find_bundle(run))[1].reading
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "holds no frames" not in page


def remedy_in(text: str) -> list[str]:
    """The settings that a text tells to add, as the shell would give them."""
    (line,) = [line.partition("do:")[2].strip() for line in text.splitlines() if line.strip().startswith("do:")]
    words = [word for word in shlex.split(line) if re.match(r"data\.\w+=", word)]
    assert words, text
    return words


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "RUN", "DATA"],
        ["evaluate", "EXPORT", "DATA"],
        ["export", "RUN", "--to", "torch", "--out", "OUT", "--data", "DATA"],
        ["verify", "RUN", "EXPORT", "--data", "DATA"],
        ["frames", "DATA", "--to", "OUT", "--workers", "0"],
        ["repack", "DATA", "--to", "OUT", "--workers", "0"],
        ["check", "DATA"],
        ["train", "DATA", "--out", "OUT", *SMALL],
    ],
    ids=lambda words: f"{words[0]} {words[1]}",
)
def test_the_printed_setting_is_taken_by_what_printed_it(
    words: Sequence[str], run: Path, export: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"RUN": str(run), "EXPORT": str(export), "DATA": str(frames), "OUT": str(tmp_path / "out")}
    words = [names.get(word, word) for word in words]
    code, text = call(capsys, *words, OTHER)
    assert code != 0
    assert "not named as data.frame_pattern says" in text
    code, text = call(capsys, *words, *remedy_in(text))
    assert "data.frame_pattern" not in text
    assert "The folder holds no frames" not in text
    assert code == 0 or words[0] == "check"  # other findings: the clips are all alike


def test_a_limit_is_named_with_the_setting_that_lifts_it(run: Path, small_clips: Path) -> None:
    video = min(small_clips.rglob("*.mp4"))
    for setting in ("data.max_seconds=0.01", "data.max_frames=3", "data.max_pixels=9"):
        (answer,) = clipshift.predict(run, video, device="cpu", settings=setting)
        assert isinstance(answer, clipshift.Failure)
        assert setting.replace("=", " is ") in answer.error
        with pytest.raises(UserError) as caught:
            clipshift.benchmark(run, videos=video, repeat=1, device="cpu", settings=setting)
        found = clipshift.benchmark(
            run, videos=video, repeat=1, device="cpu", settings=[setting, *remedy_in(str(caught.value))]
        )
        assert found.clips == 1


def test_settings_beside_sources(run: Path, frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = frames / "val" / "a" / "v0"
    code, text = call(capsys, "predict", run, clip, OTHER)
    assert (code, f"data.frame_pattern is {OTHER.partition('=')[2]}" in text) == (1, True), text
    assert call(capsys, "predict", run, clip, OTHER, MINE)[0] == 0
    code, text = call(capsys, "predict", run, clip, "data.max_second=3")
    assert (code, "did you mean 'data.max_seconds'" in text) == (2, True), text
    code, text = call(capsys, "predict", run, clip, "data.validation=0.5")
    assert (code, "only the settings of reading clips" in text) == (2, True), text
    code, text = call(capsys, "predict", run, MINE)
    assert (code, "Nothing was named to predict" in text) == (2, True), text


def test_settings_are_for_a_model_that_is_loaded_with_them(run: Path, frames: Path) -> None:
    model = clipshift.load(run, device="cpu", settings={"data.frame_pattern": "img_{:05d}.jpg"})
    assert model.spec.reading.frame_pattern == "img_{:05d}.jpg"
    assert model.spec.reading.max_seconds == 50000
    clip = frames / "val" / "a" / "v0"
    assert isinstance(next(clipshift.predict(model, clip)), clipshift.Failure)
    with pytest.raises(ConfigError, match="loaded model"):
        clipshift.predict(model, clip, settings=MINE)


def test_an_export_keeps_what_it_was_given(run: Path, frames: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    clipshift.export(run, to="torch", out=out, data=frames, settings=["data.max_frames=7000"])
    reading = read_export(out).spec.reading
    assert (reading.frame_pattern, reading.max_frames, reading.max_seconds) == (PATTERN, 7000, 50000)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of clips that are all no videos."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(b"no video")
    (folder / "list.txt").write_text("a.mp4 a\nb.mp4 b\n", encoding="utf-8")
    return folder / "list.txt"


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "RUN", "DATA", "--out", "OUT"],
        ["evaluate", "EXPORT", "DATA", "--bad", "exclude", "--out", "OUT"],
        ["verify", "RUN", "EXPORT", "--data", "DATA", "--out", "OUT"],
        ["export", "RUN", "--to", "torch", "--out", "OUT", "--data", "DATA"],
        ["benchmark", "RUN", "--videos", "DATA", "--out", "OUT"],
        ["benchmark", "EXPORT", "--videos", "DATA", "--out", "OUT"],
    ],
    ids=lambda words: f"{words[0]} {words[1]}",
)
def test_no_figure_is_of_nothing(
    words: Sequence[str], run: Path, export: Path, broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"RUN": str(run), "EXPORT": str(export), "DATA": str(broken), "OUT": str(tmp_path / "out")}
    code, text = call(capsys, *(names.get(word, word) for word in words))
    assert code == 2
    assert "can be read" in text or "could be read" in text
    assert "no video that can be read" in text or "not a video" in text
    assert not (tmp_path / "out").exists()


def test_a_training_whose_validation_cannot_be_read_does_not_begin(small_clips: Path, tmp_path: Path) -> None:
    for part, classes in (("train", 2), ("val", 2)):
        for folder in sorted(small_clips.iterdir())[:classes]:
            shutil.copytree(folder, tmp_path / "data" / part / folder.name)
    whole = {path: path.read_bytes() for path in (tmp_path / "data" / "val").rglob("*.mp4")}
    for path in whole:
        path.write_bytes(b"no video")
    with pytest.raises(DataError, match="Not one of the validation clips can be read"):
        clipshift.train(tmp_path / "data", *SMALL, out=tmp_path / "run")
    for path, content in whole.items():
        path.write_bytes(content)
    assert clipshift.train(tmp_path / "data", *SMALL, out=tmp_path / "run").epochs == 1


def test_a_training_goes_on_once_its_validation_can_be_read_again(
    small_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "val"):
        for folder in sorted(small_clips.iterdir())[:2]:
            shutil.copytree(folder, tmp_path / "data" / part / folder.name)
    whole = {path: path.read_bytes() for path in (tmp_path / "data" / "val").rglob("*.mp4")}

    def without_clips(*given: Any, **named: Any) -> Evaluation:  # noqa: ANN401
        for path in whole:
            path.unlink()
        return evaluate_manifest(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr("clipshift.training.stages.validating.evaluate_manifest", without_clips)
        with pytest.raises(DataError, match="Not one of the clips can be read"):
            clipshift.train(tmp_path / "data", *SMALL, out=tmp_path / "run")
    for path, content in whole.items():
        path.write_bytes(content)
    capsys.readouterr()
    assert clipshift.train(tmp_path / "data", *SMALL, out=tmp_path / "run").epochs == 1
    assert "Going on from epoch 1, update 2" in capsys.readouterr().err


def test_a_start_with_too_many_bad_clips_is_tried_again(small_clips: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        for folder in sorted(small_clips.iterdir())[:2]:
            shutil.copytree(folder, tmp_path / "data" / part / folder.name)
    min((tmp_path / "data" / "train").rglob("*.mp4")).write_bytes(b"no video")
    with pytest.raises(DataError, match="max_bad") as caught:
        clipshift.train(tmp_path / "data", *SMALL, out=tmp_path / "run")
    assert "data.max_bad" in str(caught.value.remedy)
    result = clipshift.train(tmp_path / "data", *SMALL, "data.max_bad=0.5", out=tmp_path / "run")
    assert result.epochs == 1
    assert len((tmp_path / "run" / "bad_samples.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_absent_clips_of_a_list_are_bad_clips(
    run: Path, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.txt"
    path.write_text(listed.read_text(encoding="utf-8") + f"{tmp_path / 'gone'} a\n", encoding="utf-8")
    code, text = call(capsys, "evaluate", run, path, "--device", "cpu")
    assert (code, "5 total, 4 scored, 1 bad" in text, "The clip does not exist" in text) == (0, True, True), text
    for command in ("frames", "repack"):
        code, text = call(capsys, command, path, "--to", tmp_path / command, "--workers", "0", MINE)
        assert (code, "wrote 4 clips" in text, "1 clip failed" in text) == (1, True, True), text


def test_check_takes_several_labels(small_clips: Path, tmp_path: Path) -> None:
    videos = sorted(small_clips.rglob("*.mp4"))
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{video} {label}\n" for video, label in zip(videos, ["a", "a,b"] * 4, strict=True)))
    assert "data" not in {finding.kind for finding in check_data(path, DataConfig(), several=True).findings}
    report = json.dumps(check_data(path, DataConfig()).to_json())
    assert "a,b" in report
