from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from clipshift.config import DataConfig
from clipshift.datasets.manifest import Clip, Manifest, group_of, make_split, read_manifest
from clipshift.errors import DataError
from tests.datasets.clips import manifest_of, touch


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("a/v_JumpingJack_g05_c02.avi", "a/v_JumpingJack_g05"),
        ("a/game_clip03.mp4", "a/game"),
        ("a/talk-part2.mp4", "a/talk"),
        ("a/talk_seg_4.mp4", "a/talk"),
        ("a/Talk Part 12.mp4", "a/Talk"),
        ("a/tour (part 2).mp4", "a/tour"),
        ("a/match_segment07.mov", "a/match"),
        ("a/x.chunk.3.mp4", "a/x"),
        ("a/-3AbC_dEf9h_000012_000022.mp4", "a/-3AbC_dEf9h"),
        ("passing/passing_24.mp4", "passing/passing_24"),
        ("passing/passing_clip_24.mp4", "passing/passing_clip_24"),
        ("a/17_3_0.avi", "a/17_3_0"),
        ("a/clip_03.mp4", "a/clip_03"),
        ("a/fi021.mp4", "a/fi021"),
        ("a/arc2.mp4", "a/arc2"),
        ("a/jump_shot_12.mp4", "a/jump_shot_12"),
        ("a/day1/game_clip03.mp4", "a/day1/game"),
    ],
)
def test_groups(name: str, group: str) -> None:
    assert group_of(Clip(path=Path("/nowhere") / name, name=name, label=0)) == group


def clips_of(root: Path, *names: str) -> Manifest:
    touch(*(root / name for name in names))
    return read_manifest(root, DataConfig())


def test_sources_stay_together_and_each_class_gives_its_share(tmp_path: Path) -> None:
    names = [f"{c}/v_{c}_g{g:02d}_c{k:02d}.avi" for c in ("a", "b") for g in range(10) for k in range(1 + g % 4)]
    manifest = clips_of(tmp_path, *names)
    train, held, sentence = make_split(manifest, fraction=0.25, seed=3)
    assert not {group_of(clip) for clip in train.clips} & {group_of(clip) for clip in held.clips}
    assert sorted(clip.name for clip in train.clips + held.clips) == sorted(names)
    for label in (0, 1):
        total = sum(clip.label == label for clip in manifest.clips)
        mine = sum(clip.label == label for clip in held.clips)
        assert 0.15 * total <= mine <= 0.25 * total + 0.5
    assert sentence.startswith(f"made here: {len(held)} of {len(names)} clips in 20 sources, which stay together, 25 %")
    order = [clip.name for clip in manifest.clips]
    assert [clip.name for clip in held.clips] == [name for name in order if name in {c.name for c in held.clips}]


def test_the_split_depends_on_the_seed_alone() -> None:
    names = [f"{c}/{number}.mp4" for c in ("a", "b") for number in range(20)]
    splits = [make_split(manifest_of(*names), fraction=0.2, seed=seed) for seed in (0, 0, 1)]
    assert splits[0] == splits[1]
    assert splits[0][1].clips != splits[2][1].clips


def test_another_class_does_not_change_a_class() -> None:
    names = [f"{c}/{number}.mp4" for c in ("a", "b") for number in range(20)]
    _, held, _ = make_split(manifest_of(*names), fraction=0.2, seed=0)
    more = [*names, *(f"aa/{number}.mp4" for number in range(20))]
    _, held_of_three, _ = make_split(manifest_of(*more, classes=("a", "aa", "b")), fraction=0.2, seed=0)
    assert {c.name for c in held.clips} == {c.name for c in held_of_three.clips if not c.name.startswith("aa/")}


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_both_sides_have_every_class_with_two_sources(fraction: float) -> None:
    manifest = manifest_of("a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4", "b/3.mp4")
    train, held, _ = make_split(manifest, fraction=fraction, seed=0)
    assert {clip.label for clip in train.clips} == {clip.label for clip in held.clips} == {0, 1}


def test_a_large_source_is_not_held_out_where_a_small_one_is_there() -> None:
    names = [f"a/long_part{number}.mp4" for number in range(9)] + ["a/short.mp4"]
    for seed in range(8):
        _, held, _ = make_split(manifest_of(*names, classes=("a",)), fraction=0.2, seed=seed)
        assert [clip.name for clip in held.clips] == ["a/short.mp4"]


def test_a_class_of_one_source_stays_in_training_and_is_named() -> None:
    manifest = manifest_of("a/x_part1.mp4", "a/x_part2.mp4", "b/1.mp4", "b/2.mp4")
    train, held, sentence = make_split(manifest, fraction=0.5, seed=0)
    assert Counter(clip.label for clip in train.clips) == {0: 2, 1: 1}
    assert {clip.label for clip in held.clips} == {1}
    assert sentence.endswith("not in validation, because of one source only: a")


def test_nothing_to_split() -> None:
    with pytest.raises(DataError, match="cannot be split"):
        make_split(manifest_of("a/1.mp4", "b/1.mp4"), fraction=0.2, seed=0)


def test_files_with_the_same_bytes_stay_together(tmp_path: Path) -> None:
    manifest = clips_of(tmp_path, *(f"{c}/{number}.mp4" for c in ("a", "b") for number in range(6)))
    for number in range(1, 5):
        (tmp_path / "a" / f"{number}.mp4").write_bytes((tmp_path / "a" / "0.mp4").read_bytes())
    for seed in range(8):
        _, held, _ = make_split(manifest, fraction=0.3, seed=seed)
        assert [clip.name for clip in held.clips if clip.label == 0] == ["a/5.mp4"]
