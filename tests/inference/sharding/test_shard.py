"""Which shard a text or the variables of a batch system mean."""

from __future__ import annotations

import itertools

import pytest

from clipshift.errors import ConfigError
from clipshift.inference.sharding.shard import Shard, parse_shard

ARRAY = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_MIN": "1",
    "SLURM_ARRAY_TASK_MAX": "10",
    "SLURM_ARRAY_TASK_COUNT": "4",
}


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("1/1", {}, Shard(1, 1)),
        ("3/16", ARRAY, Shard(3, 16)),
        ("auto", ARRAY, Shard(3, 4)),  # --array=1-10:3
        ("auto/9", ARRAY, Shard(3, 9)),
        ("auto", {**dict.fromkeys(ARRAY, "0"), "SLURM_ARRAY_TASK_COUNT": "1"}, Shard(1, 1)),
        ("auto/16", {"JOB_COMPLETION_INDEX": "15"}, Shard(16, 16)),
    ],
)  # fmt: skip
def test_shards(text: str, environment: dict[str, str], expected: Shard) -> None:
    assert parse_shard(text, environment) == expected


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("0/4", {}),
        ("5/4", {}),
        ("1/0", {}),
        ("1/100001", {}),
        ("3", {}),
        ("-1/4", {}),
        ("three/4", {}),
        ("auto", {}),
        ("auto/4", {}),
        ("auto", {"JOB_COMPLETION_INDEX": "3"}),  # Kubernetes does not say of how many
        ("auto/3", {"JOB_COMPLETION_INDEX": "3"}),
        ("auto/4", {"JOB_COMPLETION_INDEX": "x"}),
        ("auto", {**ARRAY, "SLURM_ARRAY_TASK_MAX": "11"}),  # --array=1,4,7,11
        ("auto", {**ARRAY, "SLURM_ARRAY_TASK_COUNT": ""}),
    ],
)
def test_what_is_no_shard(text: str, environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        parse_shard(text, environment)


@pytest.mark.parametrize(("videos", "count"), [(0, 3), (1, 4), (10, 3), (1_000_003, 16)])
def test_shards_are_equal_parts_of_all_videos(videos: int, count: int) -> None:
    rows = [Shard(number, count).rows(videos) for number in range(1, count + 1)]
    assert all(one.stop == two.start for one, two in itertools.pairwise(rows))
    assert (rows[0].start, rows[-1].stop) == (0, videos)
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
