"""Splits one manifest into training and validation, keeping clips of one source together."""

from __future__ import annotations

import re
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from clipshift.datasets.checksums import file_hash
from clipshift.datasets.clip import Clip, Manifest, plural, some
from clipshift.errors import DataError, VideoError

_TAG = 0x5711
"""Keeps the split's random numbers apart from those of sampling and augmentation."""

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
    name = PurePosixPath(clip.name)
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

    Args:
        manifest: What to split.
        fraction: Share of each class's clips to hold out, in (0, 1).
        seed: Seed of the draw.

    Returns:
        Training and validation, both in the manifest's order, and one sentence that describes the split.

    Raises:
        DataError: No class has clips of two sources.
    """
    groups = _groups(manifest)
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
    parts = [
        replace(manifest, clips=tuple(clip for i, clip in enumerate(manifest.clips) if (i in held) is in_validation))
        for in_validation in (False, True)
    ]
    kinds = "" if len(groups) == len(manifest) else f" in {plural(len(groups), 'source')}, which stay together"
    sentence = (
        f"made here: {len(held)} of {plural(len(manifest), 'clip')}{kinds}, "
        f"{fraction * 100:g} % of each class, seed {seed}"
    )
    if whole:
        sentence += f"; not in validation, because of one source only: {some(whole, 5)}"
    return parts[0], parts[1], sentence


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


def _groups(manifest: Manifest) -> list[list[int]]:
    """Positions of clips that belong together, each list and the whole in the manifest's order."""
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
            owner[find(position)] = find(first.setdefault((clip.label, key), position))
    for same in _identical(manifest):
        for position in same[1:]:
            owner[find(position)] = find(same[0])
    groups: dict[int, list[int]] = {}
    for position in range(len(manifest)):
        groups.setdefault(find(position), []).append(position)
    return list(groups.values())


def _identical(manifest: Manifest) -> list[list[int]]:
    """Positions of files of one class with the same bytes; only files of the same size are read."""
    sizes: dict[tuple[int | None, int], list[int]] = {}
    for position, clip in enumerate(manifest.clips):
        if clip.path.is_file():
            sizes.setdefault((clip.label, clip.path.stat().st_size), []).append(position)
    same: dict[tuple[int | None, str], list[int]] = {}
    for (label, size), positions in sizes.items():
        for position in positions if len(positions) > 1 and size > 0 else ():
            with suppress(VideoError):  # unreadable: found, and said, when the clip is opened
                same.setdefault((label, file_hash(manifest.clips[position].path)), []).append(position)
    return [positions for positions in same.values() if len(positions) > 1]
