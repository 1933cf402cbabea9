from __future__ import annotations

import atexit
import os
import signal
from pathlib import Path

import pytest
import torch

from clipshift.config import DataConfig
from clipshift.datasets.manifest import read_manifest
from clipshift.errors import RunError, VideoError
from clipshift.training.loader import Batch, TrainingLoader, training_loader, worker_count
from clipshift.training.samples import Key, Sample, TrainingClips
from tests.datasets.clips import touch
from tests.training.conftest import CONFIG


def equal(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a["clips"], b["clips"])
        and torch.equal(a["labels"], b["labels"])
        and torch.equal(a["indices"], b["indices"])
        and a["bad"] == b["bad"]
        for a, b in zip(one, two, strict=True)
    )


def test_batches_are_the_same_with_workers_and_from_any_step(clips: TrainingClips) -> None:
    with training_loader(clips, batch_size=3, workers=0) as loader:
        assert loader.steps == 3
        first, second = list(loader.batches(0)), list(loader.batches(1))
    assert first[0]["clips"].shape == (3, 4, 3, 32, 32)
    assert first[0]["labels"].dtype == torch.int64
    assert not equal(first, second)
    for index, label, clip in zip(first[1]["indices"], first[1]["labels"], first[1]["clips"], strict=True):
        assert clips.manifest.labels()[int(index)] == int(label)
        assert torch.equal(clips[0, int(index)]["clip"], clip)
    with training_loader(clips, batch_size=3, workers=2) as loader:
        assert equal(list(loader.batches(0)), first)
        processes = worker_processes(loader)
        early = loader.batches(1)
        assert equal([next(early)], second[:1])
        assert equal(list(loader.batches(1, first_step=2)), second[2:])
        assert equal(list(loader.batches(0, first_step=1)), first[1:])
        assert worker_processes(loader) == processes
        assert len(processes) == 2


class Marking(TrainingClips):
    """Clips whose reader leaves a file where its interpreter is taken down."""

    mark: Path

    def __getitem__(self, key: Key) -> Sample:
        atexit.register(self.mark.touch)
        return super().__getitem__(key)


def test_the_next_epoch_is_read_ahead(clips: TrainingClips, tmp_path: Path) -> None:
    with training_loader(clips, batch_size=3, workers=0) as loader:
        plain = [list(loader.batches(epoch)) for epoch in range(3)]
    marking = Marking(clips.manifest, CONFIG)
    marking.mark = tmp_path / "taken down"
    with training_loader(marking, batch_size=3, workers=1, epochs=3) as loader:
        assert equal(list(loader.batches(0)), plain[0])
        iterator = loader._loader._iterator
        assert iterator is not None
        ahead = iterator._send_idx  # type: ignore[attr-defined]
        assert ahead > loader.steps
        assert equal(list(loader.batches(1)), plain[1])
        # The first batches of an epoch once more, as precise batch norm wants them, and then on.
        again = loader.batches(1)
        assert equal([next(again), next(again)], plain[1][:2])
        assert equal(list(loader.batches(2)), plain[2])
        assert iterator._send_idx == loader.steps  # type: ignore[attr-defined]
        assert loader.cost.decoding > 0
        assert loader.cost.changing > 0
        workers = loader._loader._iterator._workers  # type: ignore[union-attr]
    # A thread that frees a batch while an interpreter is taken down aborts the process, which ends the training.
    assert [worker.exitcode for worker in workers] == [0]
    assert not marking.mark.exists()


def read_epochs(loader: TrainingLoader, epochs: range) -> None:
    for epoch in epochs:
        for _ in loader.batches(epoch):
            pass


def worker_processes(loader: TrainingLoader) -> list[int]:
    return [process.pid for process in loader._loader._iterator._workers]  # type: ignore[union-attr]


def test_errors_and_bad_samples_cross_the_process_border(broken: Path) -> None:
    clips = TrainingClips(read_manifest(broken, DataConfig()), CONFIG)
    with training_loader(clips, batch_size=6, workers=0) as loader:
        expected = list(loader.batches(0))
    with training_loader(clips, batch_size=6, workers=1) as loader:
        (batch,) = loader.batches(0)
        assert equal([batch], expected)
        assert [bad.name for bad in batch["bad"]] == ["a/clip_1.mp4"]
        assert batch["clips"].shape[0] == 6
        touch(broken / "a" / "clip_0.mp4", broken / "a" / "clip_2.mp4")
        # The next epochs' first batches may have been read before: the worker runs ahead.
        with pytest.raises(VideoError) as caught:
            read_epochs(loader, range(1, 9))
        text = str(caught.value)
        assert text.startswith("A clip cannot be read, nor any")
        assert "Traceback" not in text
        assert len(text.splitlines()) <= 8
        # Ctrl-C is the main process's affair; a worker that is gone is said plainly.
        os.kill(worker_processes(loader)[0], signal.SIGINT)
        with pytest.raises(VideoError):
            list(loader.batches(9))
        os.kill(worker_processes(loader)[0], signal.SIGKILL)
        with pytest.raises(RunError, match="ended unexpectedly") as died:
            read_epochs(loader, range(10, 19))
        assert "SIGKILL" in str(died.value.got)
        assert died.value.where is None


class Crashing(TrainingClips):
    """Clips of which one kills the process that reads it."""

    def __getitem__(self, key: Key) -> Sample:
        if key[1] == 4:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().__getitem__(key)


class Full(TrainingClips):
    """Clips that there is no room for."""

    def __getitem__(self, key: Key) -> Sample:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def test_a_crash_names_the_clip_and_want_of_room_the_room(clips: TrainingClips) -> None:
    crashing = Crashing(clips.manifest, CONFIG)
    with training_loader(crashing, batch_size=3, workers=1) as loader, pytest.raises(RunError) as caught:
        list(loader.batches(0))
    assert caught.value.where == f"{clips.manifest.clips[4].path}, which it was reading"
    assert caught.value.got == "it crashed (SIGSEGV)"
    full = Full(clips.manifest, CONFIG)
    with training_loader(full, batch_size=3, workers=1) as loader, pytest.raises(RunError) as caught:
        list(loader.batches(0))
    assert str(caught.value.got).startswith("shared memory is full")
    assert "data.workers=0" in str(caught.value.remedy)


def test_worker_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_count(3) == 3
    assert worker_count(0) == 0
    for cores, ranks, expected in ((2, 1, 1), (1, 1, 1), (16, 2, 7), (64, 1, 16), (4, 8, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert worker_count("auto", ranks=ranks) == expected
