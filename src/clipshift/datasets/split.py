"""Splits one manifest into training and validation, keeping clips of one source together."""

from __future__ import annotations

import re
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from clipshift.datasets.checksums import file_hash
from clipshift.datasets.clip import Clip, Manifest, plural, some
from clipshift.errors import DataError, VideoError

_TAG, _VIDEOS_TAG = 0x5711, 0x5712
"""Keep the split's random numbers apart from those of sampling and augmentation."""

# A part of a longer recording: a word for "part" and a number at the end of the name, `v_X_g05_c02`, `game_clip03`,
# `name-part2`, `name_seg_4`, `tour (part 2)`.
_PART = re.compile(
    r"^(?P<source>.*[^\W_])[\s_.()\-]+(?:c|clip|part|pt|seg|segment|chunk)[\s_.\-]*\d+\)?$", re.IGNORECASE
)
# Kinetics' names: a YouTube id of eleven characters, start and end in seconds with six digits.
_SECONDS = re.compile(r"^(?P<source>.{11})_\d{6}_\d{6}$")


def group_of(clip: Clip) -> str:
    """The source that a clip was cut from, as its name says: clips of one group are never split.

    - A word for "part" and a number at the end are dropped: `v_X_g05_c02` is of `v_X_g05`, `game_clip03` of `game`,
      `talk-part2` of `talk`, `talk_seg_4` of `talk`. The words: c, clip, part, pt, seg, segment, chunk; upper or
      lower case. Where only the folder's name would be left, as of `passing/passing_clip_24`, it names no source.
    - Kinetics' `ID_000012_000022` is of `ID`.
    - Any other name is a source of its own: in `passing_24` the number most often only counts independent clips.

    The folder belongs to the group: equal names in two folders are two sources.
    """
    name = PurePosixPath(clip.video_name)
    stem = name.stem if not clip.path.is_dir() else name.name
    match = _PART.match(stem) or _SECONDS.match(stem)
    if match and match["source"].lower() != name.parent.name.lower():
        stem = match["source"]
    return (name.parent / stem).as_posix()


def make_split(manifest: Manifest, *, fraction: float, seed: int) -> tuple[Manifest, Manifest, str]:
    """Holds out a share of every class, by groups of clips, the same for a given seed.

    Groups are those of `group_of`, joined where they share a file with the same bytes. In every class the groups
    are shuffled and taken for validation as long as they fit into round(fraction x clips); if none fits, the
    smallest is taken. A class whose clips all come from one source stays in training, which the sentence says.
    The draw of a class depends on the seed and the class's name only, not on the other classes.

    Of spans and regions whole videos are held out, with all parts of theirs and of videos of the same source: in a
    shuffled order each one that brings the shares of the classes closer to the fraction, and is not the last source
    of a class.

    Args:
        manifest: What to split.
        fraction: Share of each class's clips to hold out, in (0, 1).
        seed: Seed of the draw.

    Returns:
        Training and validation, both in the manifest's order, and one sentence that describes the split.

    Raises:
        DataError: No class has clips of two sources.
    """
    if manifest.videos or any(clip.region is not None for clip in manifest.clips):
        return _split_videos(manifest, fraction=fraction, seed=seed)
    groups = clip_groups(manifest)
    held: set[int] = set()
    whole = []
    for label, name in enumerate(manifest.classes):
        mine = [group for group in groups if manifest.clips[group[0]].label == label]
        if len(mine) < 2:
            whole += [name] * len(mine)
            continue
        random = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(name.encode()), _TAG]))
        held.update(_draw(mine, fraction, random))
    if not held:
        raise DataError(
            "The clips cannot be split: in no class are there two clips of different sources.",
            where=manifest.source,
            remedy="add clips, or bring a split: folders train/ and val/, or two lists in a data.yaml",
        )
    parts = _parts(manifest, held)
    kinds = "" if len(groups) == len(manifest) else f" in {plural(len(groups), 'source')}, which stay together"
    sentence = (
        f"made here: {len(held)} of {plural(len(manifest), 'clip')}{kinds}, "
        f"{fraction * 100:g} % of each class, seed {seed}"
    )
    if whole:
        sentence += f"; not in validation, because of one source only: {some(whole, 5)}"
    return parts[0], parts[1], sentence


def _parts(manifest: Manifest, held: set[int]) -> list[Manifest]:
    """Training and validation; whole videos go with the clips of theirs."""
    sides = {clip.path: i in held for i, clip in enumerate(manifest.clips)}
    return [
        replace(
            manifest,
            clips=tuple(clip for i, clip in enumerate(manifest.clips) if (i in held) is in_validation),
            videos=tuple(video for video in manifest.videos if sides.get(video.path, False) is in_validation),
        )
        for in_validation in (False, True)
    ]


def _split_videos(manifest: Manifest, *, fraction: float, seed: int) -> tuple[Manifest, Manifest, str]:
    """`make_split` of a manifest of parts of videos."""
    groups = clip_groups(manifest, across_classes=True)
    counts = np.zeros((len(groups), len(manifest.classes)), dtype=np.int64)
    for group, row in zip(groups, counts, strict=True):
        for position in group:
            clip = manifest.clips[position]
            for label in clip.labels or (() if clip.label is None else (clip.label,)):
                row[label] += 1
    random = np.random.default_rng(np.random.SeedSequence([seed, _VIDEOS_TAG]))
    total = np.maximum(counts.sum(axis=0), 1)
    left = (counts > 0).sum(axis=0)
    held_counts = np.zeros_like(total)
    taken: list[int] = []
    allowed = []
    for number in random.permutation(len(groups)).tolist():
        own = counts[number]
        if not (left[own > 0] > 1).all():
            continue
        # How much further from, or closer to, the wanted counts: differences of squares, each by the size of its class.
        change = float((own * (own + 2 * (held_counts - fraction * total)) / total).sum())
        allowed.append((change, number))
        if change < 0:
            taken.append(number)
            held_counts += own
            left -= own > 0
    if not taken and allowed:
        taken = [min(allowed)[1]]
    if not taken:
        raise DataError(
            "The videos cannot be split: each is the only source of a class.",
            where=manifest.source,
            got=f"spans of {plural(len(groups), 'source')}",
            remedy="add videos, or bring a split: subsets in the list, or two lists in a data.yaml",
        )
    held = {position for number in taken for position in groups[number]}
    train, validation = _parts(manifest, held)
    missing = [name for name, there in zip(manifest.classes, validation.counts(), strict=True) if not there]
    sentence = (
        f"made here: {plural(len(taken), 'source')} of {len(groups)} with {len(held)} of "
        f"{plural(len(manifest), 'clip')}, whole videos, about {fraction * 100:g} % of each class, seed {seed}"
    )
    if missing:
        sentence += f"; not in validation: {some(missing, 5)}"
    return train, validation, sentence


def _draw(groups: list[list[int]], fraction: float, random: np.random.Generator) -> list[int]:
    """The clips of one class that are held out; at least one group, and never all."""
    total = sum(len(group) for group in groups)
    target = min(max(1, round(fraction * total)), total - 1)
    held: list[int] = []
    shuffled = [groups[i] for i in random.permutation(len(groups))]
    for group in shuffled:
        if len(held) + len(group) <= target:
            held += group
    return held or min(shuffled, key=len)


def clip_groups(manifest: Manifest, *, across_classes: bool = False) -> list[list[int]]:
    """Positions of clips that belong together, each list and the whole in the manifest's order.

    Together are clips of one `group_of`, of one path, and those whose files have the same bytes.

    Args:
        manifest: The clips.
        across_classes: Whether clips of different labels can belong together.
    """
    owner = list(range(len(manifest)))

    def find(position: int) -> int:
        while owner[position] != position:
            owner[position] = owner[owner[position]]
            position = owner[position]
        return position

    first: dict[tuple[int | None, str], int] = {}
    for position, clip in enumerate(manifest.clips):
        keys = [f"source {group_of(clip)}", f"path {clip.path}"]
        for key in keys:
            label = None if across_classes else clip.label
            owner[find(position)] = find(first.setdefault((label, key), position))
    for same in _identical(manifest, across_classes=across_classes):
        for position in same[1:]:
            owner[find(position)] = find(same[0])
    groups: dict[int, list[int]] = {}
    for position in range(len(manifest)):
        groups.setdefault(find(position), []).append(position)
    return list(groups.values())


def _identical(manifest: Manifest, *, across_classes: bool) -> list[list[int]]:
    """Positions of files (of one class) with the same bytes; only files of the same size are read."""
    sizes: dict[tuple[int | None, int], dict[Path, list[int]]] = {}
    known: dict[Path, int] = {}
    for position, clip in enumerate(manifest.clips):
        if clip.path in known or clip.path.is_file():
            size = known.setdefault(clip.path, clip.path.stat().st_size)
            label = None if across_classes else clip.label
            sizes.setdefault((label, size), {}).setdefault(clip.path, []).append(position)
    same: dict[tuple[int | None, str], list[int]] = {}
    for (label, size), files in sizes.items():
        # Of a file that is there twice already nothing has to be read.
        for path, positions in files.items() if len(files) > 1 and size > 0 else ():
            with suppress(VideoError):  # unreadable: found, and said, when the clip is opened
                same.setdefault((label, file_hash(path)), []).extend(positions)
    return [sorted(positions) for positions in same.values() if len(positions) > 1]
