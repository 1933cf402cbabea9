"""Files that are written whole, and names that are no text."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipshift.files import (
    append_line,
    is_partial,
    path_bytes,
    printable,
    sha256_of_file,
    sync,
    to_json,
    write_together,
    write_whole,
)

ODD = "b\udcffd \u2028 \u00e9 \x1b[31m \u202e"


def test_checksums_are_those_of_the_published_test_vectors(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


@pytest.mark.parametrize("content", ["one\ntwo\n", b"one\ntwo\n", ["one\n", "two\n"]])
def test_a_file_is_written_whole_and_nothing_else_is_left(content: str | bytes | list[str], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    write_whole(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_files_that_belong_together_are_all_written_before_one_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old a")
    (tmp_path / "b").mkdir()  # no file can have this name
    with pytest.raises(OSError, match="missing"):
        write_together([(tmp_path / "a", "new"), (tmp_path / "missing" / "c", "new")])
    assert (tmp_path / "a").read_text() == "old a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(OSError, match="b"):
        write_together([(tmp_path / "a", "first"), (tmp_path / "b", "x"), (tmp_path / "a", "last")])
    assert (tmp_path / "a").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    write_together([(tmp_path / "a", "first"), (tmp_path / "c", "c"), (tmp_path / "a", "last")])
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {"a": "last", "c": "c"}


def test_what_a_killed_process_left_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    monkeypatch.setattr(Path, "replace", lambda self, _: names.append(self.name))
    write_whole(tmp_path / "run.json", "{}")
    assert is_partial(names[0])
    assert not is_partial("run.json")


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    def pieces() -> Iterator[str]:
        yield "new"
        raise RuntimeError("in between")

    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError, match="in between"):
        write_whole(tmp_path / "a", pieces())
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_stays_one_and_a_device_stays_a_device(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to("a")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", "new")
    assert os.read(reader, 9) == b"new"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), "new")
    assert not Path("/dev/full").is_file()


def test_names_that_are_no_text_are_found_again_in_json(tmp_path: Path) -> None:
    value = {ODD: [ODD, "é"]}
    write_whole(tmp_path / "whole.json", to_json(value, indent=1))
    append_line(tmp_path / "lines.jsonl", to_json(value))
    append_line(tmp_path / "lines.jsonl", json.dumps(value, ensure_ascii=False))  # not made ready: written all the same
    assert json.loads((tmp_path / "whole.json").read_text(encoding="utf-8")) == value
    lines = (tmp_path / "lines.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:2]] == [value, value]
    assert "é" in lines[0]


def test_checksums_of_names_take_their_bytes() -> None:
    assert path_bytes("é") == "é".encode()
    assert path_bytes(os.fsdecode(b"b\xffd")) == b"b\xffd"


def test_what_is_shown_cannot_control_a_terminal() -> None:
    assert printable(ODD) == r"b\xffd \u2028 é \x1b[31m \u202e"
    assert printable("a\nb\tc") == r"a\nb\tc"
    assert printable("a\nb\tc\r", line_breaks=True) == "a\nb\tc\\r"
    assert printable("x :smile:.mp4 [bold] 日本 🎬") == "x :smile:.mp4 [bold] 日本 🎬"
    assert printable("\ud800") == r"\ud800"


def test_files_and_folders_can_be_synced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    sync(tmp_path / "a")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "b")
