from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from clipshift.config import Config
from clipshift.errors import RunError
from clipshift.evaluation.report.page import write_report
from clipshift.evaluation.report.run_files import read_run
from tests.evaluation.synthetic import frame_folder, make_evaluation, make_records, write_lines

NAMES = ("jump", "run", "swim")


class Page(HTMLParser):
    """What a browser would see: sections, tags, texts, and everything that could be fetched."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.texts: list[str] = []
        self.handlers: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            if name in {"src", "srcset", "href", "data", "action"}:
                self.sources.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(text for text in self.texts if text)


def make_run(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    folder.mkdir()
    evaluation = make_evaluation(folder / "clips", names, per_class=4)
    scores = list(evaluation.scores)
    for number, score in enumerate(scores):
        if number % 3 == 1 and number < 8:
            scores[number] = replace(score, path=str(frame_folder(folder / "clips" / f"{number}", seed=number)))
    replace(evaluation, scores=tuple(scores)).save(folder / "evaluation")
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(Config().model_dump_json())))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11", "gpus": [], "packages": {"torch": "2.9"}}))
    write_lines(folder / "metrics.jsonl", make_records(epochs=2))
    write_lines(
        folder / "data.jsonl",
        [
            {"class": name, "split": split, "seconds": 30.0, "error": None}
            for name in names
            for split in ("train", "train", "validation")
        ],
    )
    write_lines(folder / "bad_samples.jsonl", [{"name": "t/1.mp4", "reason": "Empty.", "substitute": "t/2.mp4"}] * 2)
    (folder / "model").mkdir()
    spec = {
        "classes": names,
        "input": {"segments": 4},
        "provenance": {"split": "made: 20 % of 57 groups, seed 0", "epoch": 2},
    }
    (folder / "model" / "model.json").write_text(json.dumps(spec))
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 3, 32, 32), dtype=np.uint8)
    np.savez(folder / "training_batch.npz", clips=clips, labels=np.array([2, 0]))
    return folder


def test_a_whole_run_has_all_sections_in_one_file(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path / "my run"))
    assert path == tmp_path / "my run" / "report.html"
    page = Page(path)
    sections = {"training", "confusion", "classes", "clips", "batch", "data", "bad", "settings", "next"}
    assert page.ids == sections
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert "12 videos" in page.text
    assert "11 scored, 1 bad" in page.text
    assert "kept: epoch 2" in page.text
    assert "made: 20 % of 57 groups, seed 0" in page.text
    assert "always guessing the largest class" in page.text
    assert page.text.count("Replaced by t/2.mp4.") == 1
    assert f"clipshift predict '{tmp_path / 'my run'}' VIDEOS" in page.text
    assert path.stat().st_size < 3_000_000
    # Three clips of four frames are still there, and two training clips of four frames; other clips are gone.
    assert sum(source.startswith("data:image/jpeg") for source in page.sources) == 5 * 4
    assert "No pictures:" in page.text
    plots = {file.name for file in (path.parent / "plots").iterdir()}
    assert plots == {
        f"{name}.png" for name in ("loss", "accuracy", "learning_rate", "confusion", "classes", "reliability")
    }


def test_an_evaluation_alone_is_enough(tmp_path: Path) -> None:
    make_evaluation(tmp_path / "clips", NAMES).save(tmp_path / "out")
    page = Page(write_report(tmp_path / "out", title="Test of 3 March"))
    assert page.ids == {"confusion", "classes", "clips", "bad"}
    assert "Test of 3 March" in page.text


def test_a_training_without_an_evaluation_is_enough(tmp_path: Path) -> None:
    write_lines(tmp_path / "metrics.jsonl", make_records(epochs=1))
    assert Page(write_report(tmp_path)).ids == {"training"}


def test_an_evaluation_with_nothing_scored_still_reports(tmp_path: Path) -> None:
    make_evaluation(tmp_path, NAMES, per_class=1, bad=3).save(tmp_path)
    page = Page(write_report(tmp_path))
    assert page.ids == {"classes", "bad"}
    assert "0 scored, 3 bad" in page.text


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }} прыжок")
    path = write_report(make_run(tmp_path / "<b>run", evil))
    page = Page(path)
    assert page.tags.count("script") == 1
    assert "b" not in page.tags[: page.tags.index("section")]
    assert page.handlers == []
    assert not any(source == "x" for source in page.sources)
    for name in evil:
        assert name in page.text
    assert "<script>alert(1)" not in path.read_text(encoding="utf-8")


def test_file_names_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path, NAMES)
    scores = tuple(replace(score, name=f"\udcff{score.name}") for score in evaluation.scores)
    replace(evaluation, scores=scores).save(tmp_path)
    assert r"\xffclip1.mp4" in write_report(tmp_path).read_text(encoding="utf-8")


def test_the_worst_mistake_comes_first(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path, NAMES, per_class=9, bad=0)
    evaluation.save(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    files = re.findall(r'<div class="file">(clip\d+\.mp4)</div>', html)
    logits = {score.name: np.array(score.logits) for score in evaluation.scores}
    losses = {
        score.name: np.log(np.exp(logits[score.name]).sum()) - logits[score.name][score.label]
        for score in evaluation.scores
    }
    by_loss = sorted(losses, key=lambda name: losses[name], reverse=True)
    right = {score.name for score in evaluation.scores if score.correct}
    wrong = [name for name in by_loss if name not in right]
    assert files == [*wrong, *[name for name in by_loss if name in right][:4]]
    assert len(wrong) == 9


DAMAGED = {
    "config.yaml": b"{",
    "environment.json": b"[]",
    "metrics.jsonl": b"{\n",
    "data.jsonl": b"\xff\n",
    "bad_samples.jsonl": b"nothing\n",
    "model/model.json": b"",
    "training_batch.npz": b"PK\x03\x04",
    "evaluation/predictions.jsonl": b"{}\n",
}


def test_damaged_files_are_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    whole = {name: (run / name).read_bytes() for name in DAMAGED}
    for name, content in DAMAGED.items():
        (run / name).write_bytes(content)
        notes = read_run(run).notes
        assert [note.split()[0] for note in notes] == [name.removesuffix("/predictions.jsonl")]
        (run / name).write_bytes(whole[name])
    assert read_run(run).notes == []
    (run / "metrics.jsonl").write_text('{"kind": "step"}\n')
    (run / "training_batch.npz").write_bytes(DAMAGED["training_batch.npz"])
    page = Page(write_report(run))
    assert "metrics.jsonl cannot be plotted" in page.text
    assert "training_batch.npz cannot be read" in page.text
    assert page.ids == {"confusion", "classes", "clips", "data", "bad", "settings", "next"}


def test_a_batch_that_was_half_written_is_said(tmp_path: Path) -> None:
    """Where the end of an archive is whole, NumPy notices only at the arrays, with errors of other libraries."""
    run = make_run(tmp_path / "run")
    path = run / "training_batch.npz"
    whole = path.read_bytes()
    places = range(0, len(whole), len(whole) // 6)
    for content in (*(whole[:place] for place in places), *(whole[:place] + whole[place + 40 :] for place in places)):
        path.write_bytes(content)
        assert [note.split()[0] for note in read_run(run).notes] == ["training_batch.npz"]


def test_a_folder_without_a_run_is_a_run_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match="nothing to report"):
            write_report(folder)


def test_real_clips_are_shown(tmp_path: Path, shared: Path) -> None:
    clip = next((shared / "videos" / "ucf101_5class" / "val").rglob("*.avi"))
    evaluation = make_evaluation(tmp_path, NAMES, per_class=1, bad=0)
    scores = tuple(replace(score, path=str(clip)) for score in evaluation.scores)
    replace(evaluation, scores=scores).save(tmp_path)
    page = Page(write_report(tmp_path))
    assert sum(source.startswith("data:image/jpeg") for source in page.sources) == 3 * 8
    assert "No pictures" not in page.text
