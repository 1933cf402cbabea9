"""Shards on Ray: the bytes of the plain runner, also when actors are killed; these need Ray, which is an extra."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipshift
from clipshift.cli import app
from clipshift.errors import ConfigError, DataError, UserError
from clipshift.inference.sharding.on_ray import RayShares, _size_of_stretch, _stretches


@pytest.mark.parametrize(
    ("videos", "actors", "size"), [(1, 2, 4), (1000, 2, 62), (100_000, 2, 64), (10**7, 1000, 500), (10**9, 9, 512)]
)
def test_sizes_of_stretches(videos: int, actors: int, size: int) -> None:
    assert _size_of_stretch(videos, actors) == size


def test_stretches_are_all_rows_once(tmp_path: Path) -> None:
    lines = [f"{'x' * (number % 7)}{number}\n".encode() for number in range(50)]
    videos = tmp_path / "videos.jsonl"
    videos.write_bytes(b"".join(lines))
    content, found = videos.read_bytes(), []
    for stretch in _stretches(videos, range(7, 43), 5):
        found += content[stretch["offset"] :].splitlines(keepends=True)[: stretch["videos"]]
    assert found == lines[7:43]


@pytest.mark.parametrize("values", [(-1, 1, 0), (0, 0, 0), (0, 1, -1), (0, float("nan"), 0)])
def test_shares_that_are_none(values: tuple[int, float, float]) -> None:
    with pytest.raises(ConfigError, match="no such actors"):
        RayShares(*values)


def test_a_cluster_answers_into_a_folder(small_model: Path) -> None:
    with pytest.raises(UserError, match="go into a folder"):
        app(["predict", str(small_model), "a.mp4", "--engine", "ray"], result_action="return_value")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    found = pytest.importorskip("ray", reason="Ray, the extra 'ray', is not installed")
    found.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    yield found
    found.shutdown()


def actor_below(process: int) -> int:
    """One of the actors with the model that a process has started, through processes of Ray."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name, above = (path / "cmdline").read_bytes(), int(path.name)
            while above > 1 and above != process:
                above = int(Path(f"/proc/{above}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        if above == process and name.startswith(b"ray::MapWorker"):
            return int(path.name)
    raise AssertionError("there is no actor")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray, for its developers
def test_the_bytes_of_the_plain_runner_and_a_killed_actor_loses_nothing(
    ray: Any,  # noqa: ANN401 - Ray's module
    small_model: Path,
    small_clips: Path,
    tmp_path: Path,
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    clips = sorted(small_clips.rglob("*.mp4"))
    for number in range(400):
        (links / f"{number:03}.mp4").symlink_to(clips[number % len(clips)])
    (links / "broken.mp4").write_bytes(b"no video")
    model = clipshift.load(small_model, threads=1)
    clipshift.predict_shard(model, links, out=tmp_path / "plain")
    expected = clipshift.merge_answers(tmp_path / "plain").read_bytes()

    out, killed = tmp_path / "ray", list[int]()

    def kill(done: int, _: int) -> None:
        if done >= 50 and not killed:
            killed.append(actor_below(os.getpid()))
            os.kill(killed[0], signal.SIGKILL)

    shares = RayShares(actors=2, cpus=0.5)
    result = clipshift.predict_shard(model, links, out=out, engine="ray", ray=shares, shard="1/2", progress=kill)
    assert (result.answers, result.before) == (200, 0)
    part = out / "part-1-of-2.jsonl"
    part.with_name(part.name + ".partial").write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[:77]))
    part.unlink()  # as a driver that was killed leaves it
    result = clipshift.predict_shard(model, links, out=out, engine="ray", ray=shares, shard="1/2")
    assert (result.answers, result.before) == (200, 77)
    result = clipshift.predict_shard(model, links, out=out, shard="2/2")  # the rest without Ray
    assert result.failed == 1
    assert clipshift.merge_answers(out).read_bytes() == expected
    assert killed
    with pytest.raises(ConfigError, match="no room"):
        clipshift.predict_shard(model, links, out=tmp_path / "large", engine="ray", ray=RayShares(cpus=64))
    with pytest.raises(DataError, match="number of shards"):
        clipshift.predict_shard(model, links, out=out, engine="ray")
