from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clipshift.config import DataConfig, TrainConfig
from clipshift.datasets.manifest import read_manifest
from clipshift.errors import VideoError
from clipshift.training.samples import (
    TrainingClips,
    balanced_order,
    epoch_batches,
    epoch_keys,
    epoch_order,
    steps_per_epoch,
)
from tests.datasets.clips import touch
from tests.training.conftest import CONFIG


def test_a_sample_has_its_clip_and_label(clips: TrainingClips) -> None:
    sample = clips[0, 7]
    assert sample["clip"].shape == (4, 3, 32, 32)
    assert sample["clip"].dtype == torch.uint8
    assert (sample["label"], sample["index"], sample["bad"]) == (1, 7, None)


def test_a_sample_depends_on_seed_epoch_and_index_alone(clips: TrainingClips) -> None:
    first = clips[2, 3]["clip"]
    clips[0, 0], clips[2, 4]
    assert torch.equal(clips[2, 3]["clip"], first)
    assert not torch.equal(clips[3, 3]["clip"], first)
    other = TrainingClips(clips.manifest, CONFIG.model_copy(update={"train": TrainConfig(seed=6)}))
    assert not torch.equal(other[2, 3]["clip"], first)


def test_a_clip_that_is_listed_twice_is_drawn_twice(clips: TrainingClips) -> None:
    twice = replace(clips.manifest, clips=clips.manifest.clips[:1] * 2)
    samples = TrainingClips(twice, CONFIG)
    assert not torch.equal(samples[0, 0]["clip"], samples[0, 1]["clip"])


def test_a_bad_clip_is_replaced_by_one_of_its_class_and_named(broken: Path) -> None:
    clips = TrainingClips(read_manifest(broken, DataConfig()), CONFIG)
    substitutes = set()
    for epoch in range(12):
        sample = clips[epoch, 1]
        bad = sample["bad"]
        assert bad is not None
        assert (bad.name, bad.path) == ("a/clip_1.mp4", str(broken / "a" / "clip_1.mp4"))
        assert bad.reason
        assert (sample["label"], sample["index"]) == (0, 1)
        assert torch.equal(clips[epoch, 1]["clip"], sample["clip"])
        substitutes.add(bad.substitute)
    assert substitutes == {"a/clip_0.mp4", "a/clip_2.mp4"}


def test_without_a_readable_clip_of_the_class_reading_ends(broken: Path) -> None:
    touch(broken / "a" / "clip_0.mp4", broken / "a" / "clip_2.mp4")
    clips = TrainingClips(read_manifest(broken, DataConfig()), CONFIG)
    with pytest.raises(VideoError, match="nor any that could stand in") as caught:
        clips[0, 1]
    assert caught.value.where == str(broken / "a" / "clip_1.mp4")
    assert "class a" in str(caught.value.got)


def test_orders_are_permutations_that_change_with_seed_and_epoch() -> None:
    orders = [epoch_order(50, seed, epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[3])


def test_batches_drop_the_rest_and_share_the_global_batch() -> None:
    alone = epoch_batches(23, seed=1, epoch=4, batch_size=6, rank=0, ranks=1)
    assert [len(batch) for batch in alone] == [6, 6, 6]
    assert [index for batch in alone for _, index in batch] == list(epoch_order(23, 1, 4)[:18])
    assert {epoch for batch in alone for epoch, _ in batch} == {4}
    ranks = [epoch_batches(23, seed=1, epoch=4, batch_size=3, rank=rank, ranks=2) for rank in range(2)]
    for step in range(3):
        assert sorted(ranks[0][step] + ranks[1][step]) == sorted(alone[step])
    assert steps_per_epoch(23, batch_size=3, ranks=2) == 3


def test_batches_from_a_step_on_are_the_rest() -> None:
    whole = epoch_batches(23, seed=1, epoch=0, batch_size=4, rank=1, ranks=1 + 1)
    assert epoch_batches(23, seed=1, epoch=0, batch_size=4, rank=1, ranks=2, first_step=1) == whole[1:]
    assert epoch_batches(23, seed=1, epoch=0, batch_size=4, rank=1, ranks=2, first_step=2) == []


@pytest.mark.parametrize(("samples", "ranks", "size"), [(5, 1, 5), (5, 2, 3), (1, 4, 1), (7, 4, 2)])
def test_a_small_data_set_gives_one_batch_of_equal_size_on_every_rank(samples: int, ranks: int, size: int) -> None:
    batches = [epoch_batches(samples, seed=0, epoch=0, batch_size=8, rank=r, ranks=ranks) for r in range(ranks)]
    assert [[len(batch) for batch in mine] for mine in batches] == [[size]] * ranks
    assert {index for mine in batches for _, index in mine[0]} == set(range(samples))


def test_an_epoch_of_nothing_is_a_bug() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        epoch_batches(0, seed=0, epoch=0, batch_size=1, rank=0, ranks=1)


def test_balanced_epochs_have_equal_classes_and_fair_turns() -> None:
    labels = np.array([0] * 30 + [1] * 5 + [3] * 2)
    orders = [balanced_order(labels, seed=1, epoch=epoch) for epoch in (0, 0, 1)]
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    for order in orders:
        assert len(order) == 37
        assert sorted(np.bincount(labels[order])[[0, 1, 3]].tolist()) == [12, 12, 13]
        times = np.bincount(order, minlength=37)
        for label in (0, 1, 3):
            own = times[labels == label]
            assert own.max() - own.min() <= 1


def test_a_clip_that_comes_again_in_an_epoch_has_a_key_of_its_own() -> None:
    labels = np.array([0] * 6 + [1])
    keys = epoch_keys(7, 0, 3, labels)
    assert len(set(keys)) == 7
    rare = sorted(epoch for epoch, index in keys if index == 6)
    assert len(rare) in (3, 4)
    assert rare == [3 + 2**32 * time for time in range(len(rare))]
    whole = epoch_batches(7, seed=0, epoch=3, batch_size=2, rank=0, ranks=1, labels=labels)
    assert [key for batch in whole for key in batch] == keys[:6]
    assert epoch_batches(7, seed=0, epoch=3, batch_size=2, rank=0, ranks=1, labels=labels, first_step=2) == whole[2:]


def test_a_clip_that_comes_again_is_cropped_anew(clips: TrainingClips) -> None:
    assert not torch.equal(clips[2, 3]["clip"], clips[2 + 2**32, 3]["clip"])
