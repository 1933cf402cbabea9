from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import v2 as tv

from clipshift.config import AugmentConfig, Config, DataConfig, InputConfig, resolve
from clipshift.datasets.manifest import read_manifest
from clipshift.errors import ConfigError
from clipshift.preprocessing import augmentation as augment
from clipshift.preprocessing import transforms
from clipshift.preprocessing.augmentation import DRAWS, change_clip
from clipshift.preprocessing.transforms import random_box, training_clip
from clipshift.training.loader import training_loader
from clipshift.training.samples import TrainingClips, mirror_partners
from tests.datasets.clips import moving_frames, write_classes

FILL = (124.0, 116.0, 104.0)
EVERYTHING = AugmentConfig(
    scale="four_thirds", crop_resize=36, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1, rand_augment=4,
    rand_augment_magnitude=20, erase=1.0,
)  # fmt: skip
SETTINGS = InputConfig(resize=36, crop=32)


def draws(**values: float) -> list[float]:
    """Draws of 0.5, but for those that are named."""
    names = ("hue", "erase", "area", "aspect", "across", "down")
    return [values.get(name, 0.5) for name in names] + [0.5] * (DRAWS - len(names))


def frames_of(height: int = 24, width: int = 32, frames: int = 3) -> torch.Tensor:
    return torch.from_numpy(moving_frames(frames, width=width, height=height)).permute(0, 3, 1, 2).contiguous()


def operation(name: str, frames: torch.Tensor, level: float, sign: float = 1.0) -> torch.Tensor:
    return augment._OPERATIONS[name](frames, (level, sign), FILL)


def test_by_default_nothing_but_the_published_crop_and_the_mirror_happens() -> None:
    frames = moving_frames(3, width=80, height=60)
    for seed in range(8):
        clip, mirrored = training_clip(frames, SETTINGS, AugmentConfig(), np.random.default_rng(seed))
        random = np.random.default_rng(seed)
        x, y, width, height = random_box(80, 60, 32, AugmentConfig(), random)
        assert mirrored is (random.random() < 0.5)
        expected = torch.from_numpy(frames[:, y : y + height, x : x + width]).permute(0, 3, 1, 2)
        expected = F.interpolate(expected, size=(32, 32), mode="bilinear", antialias=True)
        assert torch.equal(clip, expected.flip(-1) if mirrored else expected)


def test_the_number_of_draws_does_not_depend_on_what_is_switched_on() -> None:
    frames = moving_frames(2, width=80, height=60)
    # Of one size of crop alone: drawing among several may take one more number.
    states = []
    for settings in (AugmentConfig(crop_scales=(1.0,)), EVERYTHING.model_copy(update={"crop_scales": (1.0,)})):
        random = np.random.default_rng(3)
        training_clip(frames, SETTINGS, settings, random)
        states.append(random.bit_generator.state)
    assert states[0] == states[1]


@pytest.mark.parametrize(("scale", "size"), [("none", (60, 90)), ("keep", (36, 54)), ("four_thirds", (36, 48))])
def test_frames_are_scaled_before_they_are_cropped(
    monkeypatch: pytest.MonkeyPatch, scale: str, size: tuple[int, int]
) -> None:
    frames = moving_frames(2, width=90, height=60)
    seen = []

    def box(width: int, height: int, *rest: object) -> tuple[int, int, int, int]:
        seen.append((height, width, rest[0]))
        return 0, 0, width, height

    monkeypatch.setattr(transforms, "random_box", box)
    settings = AugmentConfig.model_validate({"scale": scale, "flip": 0.0})
    clip, _ = training_clip(frames, SETTINGS, settings, np.random.default_rng(0))
    assert seen == [(*size, 32)]
    whole = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if scale != "none":
        whole = F.interpolate(whole, size=size, mode="bilinear", antialias=True)
    assert torch.equal(clip, F.interpolate(whole, size=(32, 32), mode="bilinear", antialias=True))


def test_a_square_is_cut_at_random_from_a_larger_crop() -> None:
    rows, columns = np.mgrid[0:36, 0:36]
    frames = np.stack([rows, columns, rows], axis=-1)[None].repeat(2, 0).astype(np.uint8)
    settings = AugmentConfig(crop_scales=(1.0,), crop_resize=36, flip=0.0)
    seen = set()
    for seed in range(400):
        clip, _ = training_clip(frames, SETTINGS, settings, np.random.default_rng(seed))
        assert clip.shape == (2, 3, 32, 32)
        assert torch.equal(clip[0], clip[1])
        seen.add((int(clip[0, 0, 0, 0]), int(clip[0, 1, 0, 0])))
    assert seen == {(top, left) for top in range(5) for left in range(5)}
    # The sizes near the larger side are taken as it.
    assert random_box(90, 38, 36, settings, np.random.default_rng(0))[2:] == (36, 36)


def test_everything_at_once_gives_pixels_and_is_a_function_of_the_generator() -> None:
    frames = moving_frames(3, width=80, height=60)
    clips = [training_clip(frames, SETTINGS, EVERYTHING, np.random.default_rng(seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(clips[0], clips[1])
    assert not torch.equal(clips[0], clips[2])
    assert clips[0].shape == (3, 3, 32, 32)
    assert clips[0].dtype == torch.uint8
    assert clips[0].is_contiguous()


def test_frames_that_are_alike_stay_alike() -> None:
    frames = moving_frames(1, width=80, height=60).repeat(3, axis=0)
    for seed in range(30):
        clip, _ = training_clip(frames, SETTINGS, EVERYTHING, np.random.default_rng(seed))
        assert torch.equal(clip[0], clip[1])
        assert torch.equal(clip[0], clip[2])


def test_hue_turns_by_at_most_its_setting() -> None:
    frames = frames_of()
    for draw, turn in ((0.0, -0.2), (0.75, 0.1), (1.0, 0.2)):
        found = change_clip(frames, AugmentConfig(hue=0.2), draws(hue=draw), fill=FILL)
        assert torch.equal(found, tv.functional.adjust_hue(frames, turn))
    assert torch.equal(change_clip(frames, AugmentConfig(hue=0.2), draws(hue=0.5), fill=FILL), frames)


def test_erasing_covers_the_same_box_in_all_frames() -> None:
    frames = torch.zeros(3, 3, 40, 60, dtype=torch.uint8)
    random = np.random.default_rng(0)
    areas, aspects = [], []
    for _ in range(500):
        area, aspect, across, down = random.random(4).tolist()
        chosen = draws(erase=0.1, area=area, aspect=aspect, across=across, down=down)
        found = change_clip(frames, AugmentConfig(erase=0.2), chosen, fill=FILL)
        assert torch.equal(found[0], found[2])
        rows, columns = (found[0, 0] > 0).nonzero(as_tuple=True)
        tall, wide = (int(where.max() - where.min()) + 1 for where in (rows, columns))
        assert tall * wide == len(rows)
        assert found[0, :, rows[0], columns[0]].tolist() == [124, 116, 104]
        areas.append(tall * wide / (40 * 60))
        aspects.append(math.log(tall / wide))
    assert min(areas) > 0.015
    assert 0.3 < max(areas) < 0.345
    assert sum(aspects) / 500 == pytest.approx(0, abs=0.1)
    assert torch.equal(change_clip(frames, AugmentConfig(erase=0.2), draws(erase=0.2), fill=FILL), frames)
    assert frames.max() == 0


def test_rand_augment_draws_each_operation_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys(augment._OPERATIONS, 0)
    signs: list[float] = []

    def counting(name: str) -> augment._Operation:
        def count(frames: torch.Tensor, level: augment.Level, _fill: object) -> torch.Tensor:
            counts[name] += 1
            assert level[0] == 0.3
            signs.append(level[1])
            return frames

        return count

    monkeypatch.setattr(augment, "_OPERATIONS", {name: counting(name) for name in counts})
    random, frames = np.random.default_rng(0), frames_of(4, 4)
    for _ in range(1400):
        change_clip(frames, AugmentConfig(rand_augment=2), random.random(DRAWS).tolist(), fill=FILL)
    assert len(counts) == 14
    assert sum(counts.values()) == 2800
    assert 150 < min(counts.values()) <= max(counts.values()) < 250
    assert sum(signs) == pytest.approx(0, abs=200)


@pytest.mark.parametrize("name", augment._OPERATIONS)
def test_operations_keep_shape_and_type_and_grow_with_their_strength(name: str) -> None:
    frames = frames_of()
    assert operation(name, frames, 1.0).shape == frames.shape
    assert operation(name, frames, 1.0).dtype == torch.uint8
    change = [int((operation(name, frames, level).int() - frames.int()).abs().sum()) for level in (0.0, 0.2, 1.0)]
    if name in ("autocontrast", "equalise"):
        assert len(set(change)) == 1
    elif name == "identity":
        assert change == [0, 0, 0]
    else:
        assert change[0] == 0
        assert change[1] < change[2]


def test_operations_have_autoaugments_ranges() -> None:
    frames = frames_of(66, 331)
    right = operation("shift_x", frames, 1.0)
    assert torch.equal(right[..., 150:], frames[..., :-150])
    assert set(right[:, 0, :, :150].flatten().tolist()) == {124}
    assert torch.equal(operation("shift_y", frames, 1.0, -1.0)[:, :, :-30], frames[:, :, 30:])
    assert torch.equal(operation("brightness", frames, 1.0), tv.functional.adjust_brightness(frames, 1.9))
    assert torch.equal(operation("brightness", frames, 1.0, -1.0), tv.functional.adjust_brightness(frames, 0.1))
    assert torch.equal(operation("posterise", frames, 1.0), frames & 0b11110000)
    assert torch.equal(operation("solarise", frames, 1.0), 255 - frames)
    # A shear of 0.3 moves the upper and the lower edge by 0.3 x 30 pixels against the middle.
    lines = torch.zeros(1, 3, 61, 61, dtype=torch.uint8)
    lines[..., 30] = 255
    peaks = operation("shear_x", lines, 1.0)[0, 0].argmax(dim=1)
    assert abs(int(peaks[0]) - int(peaks[60])) == 18
    assert int(peaks[30]) == 30


def test_levels_are_those_of_the_whole_clip() -> None:
    """A dark and a bright frame stay as far apart: levels of each frame alone would make both the same."""
    dark = torch.arange(0, 64, dtype=torch.uint8).repeat_interleave(16).reshape(1, 1, 32, 32).expand(1, 3, 32, 32)
    clip = torch.cat([dark, dark + 64])
    spread = operation("autocontrast", clip, 0.5).double() - clip.double() * 255 / 127
    assert float(spread.abs().max()) <= 1
    for name in ("autocontrast", "equalise", "contrast"):
        changed = operation(name, clip, 0.5)
        assert float(changed[1].float().mean() - changed[0].float().mean()) > 80


PAIRS = (("turn left", "turn right"), ("clap", "clap"))
CLASSES = ("clap", "turn left", "jump", "turn right")


def test_what_a_mirror_makes_of_each_class() -> None:
    assert mirror_partners(CLASSES, AugmentConfig()) == (0, 1, 2, 3)
    assert mirror_partners(CLASSES, AugmentConfig(flip_others=False)) == (None,) * 4
    assert mirror_partners(CLASSES, AugmentConfig(flip_pairs=PAIRS)) == (0, 3, 2, 1)
    assert mirror_partners(CLASSES, AugmentConfig(flip_pairs=PAIRS, flip_others=False)) == (0, 3, None, 1)
    with pytest.raises(ConfigError, match="no class of this name") as caught:
        mirror_partners(CLASSES, AugmentConfig(flip_pairs=(("turn left", "turn rigth"),)))
    assert "turn right" in str(caught.value)


def test_settings_of_mirrors() -> None:
    config = resolve(settings=["augment.flip_pairs=[[turn left, turn right], [clap, clap]]"]).config
    assert config.augment.flip_pairs == PAIRS
    with pytest.raises(ConfigError, match="flip_pairs names a class twice: a"):
        resolve(settings=["augment.flip_pairs=[[a, b], [a, c]]"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("sides"), list(CLASSES), 2, frames=6)


def config_of(settings: AugmentConfig) -> Config:
    return Config(input=InputConfig(segments=2, resize=36, crop=32), augment=settings)


def test_a_mirrored_clip_has_the_label_of_its_partner(root: Path) -> None:
    manifest = read_manifest(root, DataConfig())
    settings = AugmentConfig(flip_pairs=PAIRS, flip_others=False)
    plain = TrainingClips(manifest, config_of(settings.model_copy(update={"flip": 0.0})))
    mirrored = TrainingClips(manifest, config_of(settings.model_copy(update={"flip": 1.0})))
    now_and_then = TrainingClips(manifest, config_of(settings))
    partners = {"clap": "clap", "turn left": "turn right", "turn right": "turn left", "jump": "jump"}
    swapped = 0
    for index in range(len(manifest)):
        name = manifest.classes[plain[0, index]["label"]]
        one, other = plain[0, index]["clip"], mirrored[0, index]["clip"]
        # The class whose sides are not said keeps its sides; its draws stay the same.
        assert torch.equal(other, one if name == "jump" else one.flip(-1))
        assert manifest.classes[mirrored[0, index]["label"]] == partners[name]
        for epoch in range(8):
            sample = now_and_then[epoch, index]
            turned = not torch.equal(sample["clip"], plain[epoch, index]["clip"])
            assert manifest.classes[sample["label"]] == (partners[name] if turned else name)
            swapped += turned
    assert 10 < swapped < 40


def test_a_square_cannot_be_cut_from_a_smaller_one(root: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be cut from a smaller square") as caught:
        TrainingClips(read_manifest(root, DataConfig()), config_of(AugmentConfig(crop_resize=31)))
    assert "input.crop=32" in str(caught.value)


@pytest.mark.slow
def test_augmented_batches_are_the_same_with_workers(root: Path) -> None:
    settings = EVERYTHING.model_copy(update={"flip_pairs": PAIRS, "sampling": "dense"})
    clips = TrainingClips(read_manifest(root, DataConfig()), config_of(settings))
    batches = []
    for workers in (0, 2):
        with training_loader(clips, batch_size=4, workers=workers) as loader:
            batches.append(list(loader.batches(1)))
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one["clips"], other["clips"])
        assert torch.equal(one["labels"], other["labels"])
