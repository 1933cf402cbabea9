"""What decides, told of networks whose secret is known: order, motion, single frames, the middle, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clipshift.config import InputConfig, ModelConfig, ModelSpec
from clipshift.datasets.manifest import Clip, Manifest
from clipshift.evaluation.examination import (
    Examination,
    Trial,
    changes,
    examine,
    load_examination,
    spread,
    trial_of,
)

SPEC = ModelSpec(
    clipshift="0", model=ModelConfig(), input=InputConfig(segments=4, resize=16, crop=16), classes=("dark", "bright")
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """20 clips that get brighter (class 1) or darker, step by step, about gray, with a rim of the class's color."""
    root = tmp_path_factory.mktemp("clips")
    clips = []
    for number in range(20):
        label = number % 2
        folder = root / f"{number:02d}"
        folder.mkdir()
        for frame in range(4):
            pixels = np.full((16, 16, 3), 50 + 50 * frame if label else 200 - 50 * frame, dtype=np.uint8)
            pixels[:2] = 250 if label else 5
            Image.fromarray(pixels).save(folder / f"img_{frame + 1:05d}.jpg", quality=100)
        clips.append(Clip(folder, folder.name, label))
    return Manifest(root, SPEC.classes, tuple(clips))


def two(score_B: Tensor) -> Tensor:
    """Logits (B, 2) whose second class wins where the score is positive."""
    return torch.stack([-score_B, score_B], dim=1)


def middle(clips_BTCHW: Tensor) -> Tensor:
    return clips_BTCHW[..., 8, 8].float().mean(dim=2)  # (B, T)


def by_order(clips: Tensor) -> Tensor:
    frames_BT = middle(clips)
    return two(frames_BT[:, 3] - frames_BT[:, 0] - 100)


def by_motion(clips: Tensor) -> Tensor:
    # The sum of the steps' sizes, whatever their sign, tells the labels in this network's world: both classes move.
    moves = middle(clips).diff(dim=1).abs().sum(dim=1) > 20
    rim = clips[:, 0, 0, 0, 8].float()
    return two(torch.where(moves, rim - 128, torch.full_like(rim, -1.0)))


def by_rim(clips: Tensor) -> Tensor:
    return two(clips[:, 0, 0, 0, 8].float() - 128)


def by_first_frame(clips: Tensor) -> Tensor:
    return two(clips[:, 0, 0, 8, 8].float().sub(125).neg())


def found(engine: Callable[[Tensor], Tensor], manifest: Manifest) -> Examination:
    examination, clips, right = examine(engine, SPEC, manifest, workers=0)
    assert len(clips) == len(right) == examination.clips == 20
    assert right.sum() == examination.right
    return examination


def test_order_decides(manifest: Manifest) -> None:
    examination = found(by_order, manifest)
    assert examination.right == 20
    backwards = examination.trial("reversed")
    assert backwards is not None
    assert (backwards.right, backwards.lost, backwards.costs) == (0, 20, True)
    assert "The order of the frames decides" in examination.verdict()
    assert "the middle of the picture matters" in examination.verdict()
    assert examination.warnings() == []


def test_motion_decides(manifest: Manifest) -> None:
    examination = found(by_motion, manifest)
    assert "Motion decides, in whatever order: of one frame alone 50% are right, not 100%" in examination.verdict()


def test_single_frames_and_the_background_decide(manifest: Manifest) -> None:
    verdict = found(by_rim, manifest).verdict()
    assert "Single frames decide" in verdict
    assert "the rim, mostly background, is enough" in verdict


def test_few_clips_that_get_lost_prove_nothing_and_clear_nothing() -> None:
    """Seven of twelve are right, and three with one frame alone: four lost are within chance, but no sign of health."""
    changed = (Trial("shuffled", 7, 0, 0), Trial("one_frame", 3, 4, 0), Trial("middle_hidden", 3, 4, 0))
    verdict = Examination(12, 7, 2, "a", changed).verdict()
    assert "Whether motion decides, so few clips do not tell: of one frame alone 25% are right, of all 58%" in verdict
    assert "Whether the middle of the picture matters, so few clips do not tell" in verdict


def test_a_network_that_knows_nothing_is_told_loudly(manifest: Manifest) -> None:
    examination = found(lambda clips: torch.tensor([1.0, 0.0]).expand(len(clips), 2), manifest)
    (warning,) = examination.warnings()
    assert "No better than always answering" in warning
    assert "10 of 20" in warning
    assert examination.verdict() == "What decides cannot be told: the model knows too little."
    assert examination.lines()[0].startswith("WARNING: No better")


def test_a_probe_that_is_better_is_told_loudly() -> None:
    examination = Examination(20, 15, 5, "a", (Trial("still_probe", 18, 1, 4),))
    (warning,) = examination.warnings()
    assert "Worse than a linear probe on still frames: 15 of 20 validation clips are right, of the probe 18" in warning
    assert Examination(20, 18, 5, "a", (Trial("still_probe", 18, 1, 1),)).warnings() == []


@pytest.mark.parametrize(("lost", "gained", "costs"), [(4, 0, False), (5, 0, True), (6, 1, False), (7, 1, True)])
def test_the_sign_test_by_hand(lost: int, gained: int, costs: bool) -> None:
    # 1/16; 1/32; 8/128; 9/256
    assert Trial("shuffled", 0, lost, gained).costs is costs
    assert not Trial("shuffled", 0, 0, 0).costs


def test_changes_change_what_they_say() -> None:
    clip = torch.arange(4 * 3 * 16 * 16).reshape(4, 3, 16, 16).to(torch.uint8)
    clip[:, 0, 0, 0] = torch.arange(4, dtype=torch.uint8)
    changed = changes(clip, SPEC, seed=3)
    orders = {name: each[:, 0, 0, 0].tolist() for name, each in changed.items()}
    assert sorted(orders["shuffled"]) == [0, 1, 2, 3]
    assert orders["shuffled"] not in ([0, 1, 2, 3], [3, 2, 1, 0])
    assert orders["reversed"] == [3, 2, 1, 0]
    assert orders["one_frame"] == [2] * 4
    hidden = (changed["middle_hidden"] != clip).any(dim=1)
    assert not hidden[:, :2].any()
    assert (changed["middle_hidden"][:, :, 2:14, 2:14] == torch.tensor([124, 116, 104])[:, None, None]).all()
    assert set(changes(clip[:1], SPEC, seed=0)) == {"middle_hidden"}


def test_no_shuffled_order_is_the_true_one_or_its_reverse() -> None:
    clip = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 4, 4)
    for seed in range(40):
        assert changes(clip, SPEC, seed=seed)["shuffled"][:, 0, 0, 0].tolist() not in ([0, 1, 2], [2, 1, 0])


def test_of_many_clips_all_classes_are_examined() -> None:
    clips = tuple(Clip(Path(f"{n}"), f"{n:03d}", n % 4) for n in range(100))
    chosen = spread(Manifest(Path(), tuple("abcd"), clips), 20)
    assert [sum(clip.label == label for clip in chosen) for label in range(4)] == [5] * 4
    assert len(spread(Manifest(Path(), tuple("abcd"), clips), 500)) == 100


def test_it_is_stored_and_checked(tmp_path: Path) -> None:
    before, after = np.array([True, True, False]), np.array([False, True, True])
    examination = Examination(3, 2, 1, "a", (trial_of("reversed", before, after),), 1.5)
    assert examination.trials[0] == Trial("reversed", 2, 1, 1)
    examination.save(tmp_path)
    assert load_examination(tmp_path) == examination
    Examination(3, 4, 1, "a", ()).save(tmp_path)
    with pytest.raises(ValueError, match="cannot be"):
        load_examination(tmp_path)
