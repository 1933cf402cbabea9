"""Prediction: the same answer from a path and from frames, streamed, and never stopped by one broken video."""

from __future__ import annotations

import errno
import itertools
import json
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import clipshift
from clipshift.config import InputConfig, ModelConfig, ModelSpec, ReadingConfig
from clipshift.datasets.clip import Clip
from clipshift.datasets.motion import write_motion_clips
from clipshift.errors import ConfigError, OutputError, VideoError, WeightsError
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.inference.predictions import Failure, Prediction
from clipshift.inference.predictor import pick_mode
from clipshift.inference.sources import pick_workers
from clipshift.inference.views import views_of_frames
from clipshift.inference.writing import as_text, write_predictions
from clipshift.models.bundle import save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.parallel import prefetch
from clipshift.parallel.prefetch import pick_threads
from clipshift.preprocessing.transforms import normalize
from clipshift.video import ClipReader, decode, open_clip, probe

CLASSES = ("wave", "Gruß", "jump & run")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_motion_clips(
        tmp_path_factory.mktemp("motion") / "clips", clips_per_class=1, validation_per_class=2, frames=8, size=40
    )
    return folder / "val"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = ModelConfig(backbone="test_resnet", pretrained=False)
    settings = InputConfig(segments=4, resize=36, crop=32)
    network = Recognizer(model, segments=4, classes=3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.classifier.weight.mul_(1000)  # answers that differ between clips
    folder = tmp_path_factory.mktemp("model")
    save_bundle(folder, network, ModelSpec(clipshift="0", model=model, input=settings, classes=CLASSES))
    return folder


@pytest.fixture(scope="module")
def model(bundle: Path) -> clipshift.Model:
    return clipshift.load(bundle, device="cpu")


def first_clip(clips: Path) -> Path:
    return min(clips.rglob("*.mp4"))


def test_a_path_and_its_frames_give_the_same_answer(model: clipshift.Model, clips: Path) -> None:
    path = first_clip(clips)
    from_path = model.predict(path)
    frames = decode(path, range(probe(path).frames))
    np.testing.assert_allclose(model.predict(frames).probabilities, from_path.probabilities, atol=1e-6)
    assert from_path.probabilities.dtype == np.float32
    assert from_path.probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("crops", "clip_count"), [("center", 2), ("three", 1), ("ten", 2)])
def test_more_views_average_their_logits(model: clipshift.Model, clips: Path, crops: str, clip_count: int) -> None:
    path = first_clip(clips)
    frames = decode(path, range(probe(path).frames))
    one = model.predict(path, crops=crops, clips=clip_count)  # type: ignore[arg-type]
    other = model.predict(frames, crops=crops, clips=clip_count)  # type: ignore[arg-type]
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
    assert not np.allclose(one.probabilities, model.predict(path).probabilities, atol=1e-4)


def test_answers_are_those_of_the_network_as_it_was_trained(model: clipshift.Model, clips: Path) -> None:
    assert isinstance(model.scorer, NetworkScorer)
    frames = decode(first_clip(clips), range(8))
    plain = replace(model.scorer, as_trained=True).frames(frames, model.views())
    views_VTCHW = views_of_frames(frames, model.spec.input, crops="center", clips=1)
    with torch.inference_mode():
        expected_VK = model.network(normalize(views_VTCHW, model.spec.input.mean, model.spec.input.std))
    np.testing.assert_array_equal(plain, expected_VK[0].numpy())
    np.testing.assert_allclose(model.scorer.frames(frames, model.views()), plain, rtol=1e-5, atol=1e-5)


def test_mixed_precision_answers_nearly_the_same(model: clipshift.Model, bundle: Path, clips: Path) -> None:
    mixed = clipshift.load(bundle, device="cpu", amp="bf16")
    path = first_clip(clips)
    exact, found = model.predict(path).probabilities, mixed.predict(path).probabilities
    np.testing.assert_allclose(found, exact, atol=0.1)
    assert not np.array_equal(found, exact)
    assert "bf16" in mixed.engine
    from_command = next(clipshift.predict(bundle, path, device="cpu", amp="bf16"))
    assert isinstance(from_command, Prediction)
    np.testing.assert_array_equal(from_command.probabilities, found)
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        clipshift.load(bundle, device="cpu", amp="fp16")


def with_spec(model: clipshift.Model, **changes: object) -> clipshift.Model:
    spec = ModelSpec.model_validate({**model.spec.model_dump(), **changes})
    assert isinstance(model.scorer, NetworkScorer)
    return replace(model, scorer=replace(model.scorer, spec=spec))


def test_a_model_takes_its_own_views_unless_others_are_asked_for(model: clipshift.Model, clips: Path) -> None:
    path = first_clip(clips)
    frames = decode(path, range(probe(path).frames))
    own = with_spec(model, crops="three", clips=2)
    expected = model.predict(path, crops="three", clips=2).probabilities
    for answer in (
        own.predict(path),
        own.predict(frames),
        next(own.predict_many(path)),
        next(clipshift.predict(own, path)),
    ):
        assert isinstance(answer, Prediction)
        np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(
        own.predict(path, crops="center", clips=1).probabilities, model.predict(path).probabilities
    )


def test_probabilities_are_averaged_where_the_model_says_so(model: clipshift.Model, clips: Path) -> None:
    path = first_clip(clips)
    frames = decode(path, range(probe(path).frames))
    views_VTCHW = views_of_frames(frames, model.spec.input, crops="ten", clips=2)
    with torch.inference_mode():
        logits_VK = model.network(normalize(views_VTCHW, model.spec.input.mean, model.spec.input.std))
    expected = logits_VK.softmax(dim=1).mean(dim=0).numpy()
    own = with_spec(model, average="probabilities")
    for video in (path, frames):
        found = own.predict(video, crops="ten", clips=2).probabilities
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(expected, model.predict(path, crops="ten", clips=2).probabilities, atol=1e-4)


def test_views_that_cannot_be(model: clipshift.Model, clips: Path) -> None:
    path = first_clip(clips)
    frames = decode(path, range(4))
    ends = with_spec(model, input={**model.spec.input.model_dump(), "sampling": "ends"})
    for video in (path, frames):
        with pytest.raises(ConfigError, match="'center', 'three', 'three_small' or 'ten', got 'five'"):
            model.predict(video, crops="five")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"evaluate\.clips"):
            model.predict(video, clips=0)
        with pytest.raises(ConfigError, match=r"clips=2 with input\.sampling=ends"):
            ends.predict(video, clips=2)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_and_workers_do_not_change_answers_or_order(
    model: clipshift.Model, clips: Path, batch_size: int, workers: int
) -> None:
    expected = {str(path): model.predict(path).probabilities for path in sorted(clips.rglob("*.mp4"))}
    answers = list(model.predict_many([clips], batch_size=batch_size, workers=workers))
    assert [answer.path for answer in answers] == list(expected)
    for answer in answers:
        assert isinstance(answer, Prediction)
        np.testing.assert_allclose(answer.probabilities, expected[answer.path], atol=1e-5)


def test_networks_side_by_side_give_the_same_answers(
    model: clipshift.Model, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(model.predict_many(clips, workers=0))
    threads, together = torch.get_num_threads(), threading.Barrier(2)
    scorer = model.scorer
    assert isinstance(scorer, NetworkScorer)
    forward = scorer.network.forward

    def meeting(clips_BTCHW: torch.Tensor) -> torch.Tensor:
        together.wait(timeout=1800)  # breaks unless two networks run at the same time
        assert torch.get_num_threads() == 1
        answer: torch.Tensor = forward(clips_BTCHW)
        return answer

    monkeypatch.setattr(scorer.network, "forward", meeting)
    torch.set_num_threads(2)
    try:
        found = list(model.predict_many(clips, workers=4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 8
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Prediction)
        assert isinstance(other, Prediction)
        assert one.path == other.path
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


def test_one_video_is_answered_soon_and_several_for_throughput(clips: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "img_00001.jpg").write_bytes(b"")
    listed = tmp_path / "list.txt"
    listed.write_text("clip.mp4\n", encoding="utf-8")
    one = str(first_clip(clips))
    assert [pick_mode(sources) for sources in ([one], [frames])] == ["latency"] * 2
    several = ([one, one], [clips], [listed], [str(clips / "*" / "*.mp4")], ["not there"])
    assert [pick_mode(sources) for sources in several] == ["throughput"] * 5
    assert [pick_workers(sources, "auto", ReadingConfig()) for sources in ([one], (frames,))] == [0, 0]
    assert [pick_workers([one], workers, ReadingConfig()) for workers in (0, 3)] == [0, 3]
    cores = pick_threads("auto")
    assert [pick_workers(sources, "auto", ReadingConfig()) for sources in (*several, iter([one]))] == [cores] * 6


def test_one_video_alone_is_decoded_and_answered_by_all_cores(
    model: clipshift.Model, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def noting(clip: Clip, reading: ReadingConfig, *, square_pixels: bool = False, threads: int = 1) -> ClipReader:
        opened.append(threads)
        return open_clip(clip.path, square_pixels=square_pixels, threads=threads)

    monkeypatch.setattr(Clip, "open", noting)
    monkeypatch.setattr(prefetch, "available_cores", lambda: 3)
    one = first_clip(clips)
    assert len([model.predict(one), *model.predict_many([one]), *clipshift.predict(model, one)]) == 3
    assert opened == [3, 3, 3]
    assert len(list(model.predict_many([one, one]))) == 2
    assert opened[3:] == [1, 1]


def test_top_never_exceeds_the_classes(model: clipshift.Model, clips: Path) -> None:
    prediction = model.predict(first_clip(clips))
    top = prediction.top(5)
    assert len(top) == 3
    assert [chance for _, chance in top] == sorted((chance for _, chance in top), reverse=True)
    assert prediction.label == top[0][0]
    assert set(prediction.to_json()["probabilities"]) == set(CLASSES)


def test_an_endless_stream_is_read_step_by_step(model: clipshift.Model, clips: Path) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for path in itertools.repeat(first_clip(clips)):
            taken += 1
            yield path

    answers = list(itertools.islice(model.predict_many(endless(), workers=2), 5))
    assert len(answers) == 5
    assert taken < 20


def test_sources_files_folders_globs_and_lists(model: clipshift.Model, clips: Path, tmp_path: Path) -> None:
    odd = tmp_path / "ein Ordner mit Ümläuten" / "a clip.mp4"
    odd.parent.mkdir()
    odd.write_bytes(first_clip(clips).read_bytes())
    (odd.parent / "notes.md").write_text("no video")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{odd.relative_to(tmp_path)}\n{first_clip(clips)}\n", encoding="utf-8")
    for source, count in ((odd, 1), (odd.parent, 1), (tmp_path / "*" / "*.mp4", 1), (listed, 2), (clips, 8)):
        answers = list(model.predict_many(source))
        assert len(answers) == count, source
        assert all(isinstance(answer, Prediction) for answer in answers)


def test_a_source_that_is_not_there_is_one_answer(model: clipshift.Model, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "table.csv").write_text("clip,label\na.mp4,1\n")
    (tmp_path / "list.txt").write_text(f"gone.mp4\n{first_clip(clips)}\n")
    (tmp_path / "list.jsonl").write_text(f'{{"clip": 1}}\n{{"path": "{first_clip(clips)}"}}\n')
    bad: dict[str | Path, str] = {
        tmp_path / "none.mp4": "There is no such file or folder",
        tmp_path / "none*": "There is no video here",
        tmp_path / "empty": "There is no video here",
        tmp_path / "empty.txt": "The list is empty",
        tmp_path / "table.csv": "does not name the columns",
        tmp_path / ("x" * 5000): "The path cannot be read",
        "a\0b.mp4": "There is no such file or folder",
    }
    sources = [first_clip(clips), *(each for source in bad for each in (source, first_clip(clips)))]
    for workers, batch_size in ((0, 1), (2, 1), (2, 4)):
        answers = list(model.predict_many(sources, workers=workers, batch_size=batch_size))
        assert [type(answer) for answer in answers] == [Prediction, *[Failure, Prediction] * len(bad)]
        for (source, error), answer in zip(bad.items(), answers[1::2], strict=True):
            assert isinstance(answer, Failure)
            assert (answer.path, error in answer.error) == (str(source), True), answer
    for name in ("list.txt", "list.jsonl"):
        assert [type(answer) for answer in model.predict_many(tmp_path / name)] == [Failure, Prediction]
    with pytest.raises(VideoError, match="no such file"):
        model.predict(tmp_path / "none.mp4")


def test_a_folder_that_may_not_be_listed_is_one_answer(
    model: clipshift.Model, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.mp4").write_bytes(first_clip(clips).read_bytes())
    (tmp_path / "c" / "loop").symlink_to(tmp_path)
    listing = os.scandir

    def refused(path: str | Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        if Path(path).name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", refused)  # the superuser may list everything
    answers = list(model.predict_many(tmp_path))
    assert [answer.path for answer in answers] == [str(tmp_path / name) for name in ("a/clip.mp4", "b", "c/clip.mp4")]
    assert isinstance(answers[1], Failure)
    assert "Permission denied" in answers[1].error


def test_what_was_answered_before_the_sources_failed_is_given(model: clipshift.Model, clips: Path) -> None:
    def sources() -> Iterator[Path]:
        yield from [first_clip(clips)] * 3
        raise RuntimeError("of whoever names the sources")

    for workers, batch_size in ((0, 1), (2, 1), (2, 4)):
        answers = model.predict_many(sources(), workers=workers, batch_size=batch_size)
        assert len(list(itertools.islice(answers, 3))) == 3
        with pytest.raises(RuntimeError, match="whoever names"):
            next(answers)


def test_a_broken_video_raises_alone_and_is_a_failure_among_many(
    model: clipshift.Model, clips: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(first_clip(clips).read_bytes()[:500])
    with pytest.raises(VideoError):
        model.predict(broken)
    answers = list(model.predict_many([first_clip(clips), broken, first_clip(clips)], batch_size=2))
    assert [type(answer) for answer in answers] == [Prediction, Failure, Prediction]


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        clipshift.load(tmp_path, device="cpu")


def test_json_lines_and_text(tmp_path: Path) -> None:
    answers: list[Prediction | Failure] = [
        Prediction("a b.mp4", CLASSES, np.array([0.25, 0.7, 0.05], dtype=np.float32)),
        Failure("c.mp4", "It is cut off."),
    ]
    said: list[str] = []
    failed = write_predictions(answers, str(tmp_path / "out.jsonl"), top=2, say=said.append)
    assert failed == 1
    assert said == ["a b.mp4: Gruß 70.0%, wave 25.0%", "c.mp4: ERROR It is cut off."]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0]["label"] == "Gruß"
    assert list(lines[0]["probabilities"]) == ["Gruß", "wave", "jump & run"]
    assert lines[1] == {"path": "c.mp4", "error": "It is cut off."}
    assert as_text(answers[0], 1) == "a b.mp4: Gruß 70.0%"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_predictions([Failure("a", "b")], str(tmp_path / "no" / "out.jsonl"), top=1, say=lambda _: None)
