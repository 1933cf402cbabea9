from __future__ import annotations

from pathlib import Path

import pytest

from clipshift.datasets.lists import read_list, stream_clips
from clipshift.datasets.manifest import Manifest
from clipshift.errors import DataError
from tests.datasets.clips import moving_frames, touch, write_frames


def write(root: Path, content: str | bytes, name: str = "list.txt") -> Path:
    touch(root / "a.mp4", root / "b.mp4", root / "my clip.mp4", root / "sub" / "ü.avi")
    path = root / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, classes: list[str] | None = None, *, strict: bool = False) -> Manifest:
    return read_list(path, bases=(path.parent,), root=path.parent, classes=classes, strict=strict)


def listed(path: Path) -> list[Path | str | DataError]:
    """What a list without spans holds for prediction."""
    found = []
    for each in stream_clips(path):
        if isinstance(each, tuple):
            assert each[1] is None
        found.append(each[0] if isinstance(each, tuple) else each)
    return found


def shown(manifest: Manifest) -> list[tuple[str, str]]:
    return [(clip.name, manifest.classes[clip.label or 0]) for clip in manifest.clips]


def test_lists_keep_their_order_and_infer_the_classes(tmp_path: Path) -> None:
    manifest = read(write(tmp_path, "b.mp4 1\na.mp4 0\n\nmy clip.mp4 2\n"))
    assert shown(manifest) == [("b.mp4", "1"), ("a.mp4", "0"), ("my clip.mp4", "2")]
    assert manifest.classes == ("0", "1", "2")
    manifest = read(write(tmp_path, "b.mp4 run\na.mp4 jump\n"))
    assert (manifest.classes, manifest.labels()) == (("jump", "run"), [1, 0])


def test_blanks_tabs_marks_and_other_alphabets(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfmy clip.mp4\thigh jump\r\n" + "sub/ü.avi\tläuft\r\na.mp4\tläuft\r\n".encode()
    assert shown(read(write(tmp_path, content))) == [
        ("my clip.mp4", "high jump"),
        ("sub/ü.avi", "läuft"),
        ("a.mp4", "läuft"),
    ]


def test_windows_paths_are_understood(tmp_path: Path) -> None:
    assert shown(read(write(tmp_path, "sub\\ü.avi 0\na.mp4 1\n")))[0] == ("sub/ü.avi", "0")


def test_absolute_paths_keep_their_whole_name(tmp_path: Path) -> None:
    touch(tmp_path / "far" / "c.mp4")
    path = write(tmp_path / "lists", f"{tmp_path / 'far' / 'c.mp4'} 0\na.mp4 1\n")
    assert shown(read(path))[0][0] == (tmp_path / "far" / "c.mp4").as_posix()


def test_frame_folders_bring_their_number_of_frames(tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", moving_frames(2))
    write_frames(tmp_path / "clip 3", moving_frames(2))
    manifest = read(write(tmp_path, "clip 2 1\nclip 3 0\n"))
    assert [(clip.name, clip.label, clip.frames) for clip in manifest.clips] == [("clip", 1, 2), ("clip 3", 0, None)]


def test_labels_refer_to_classes_txt_beside_the_list(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    assert shown(read(write(tmp_path, "a.mp4 1\nb.mp4 0\n"))) == [("a.mp4", "cat"), ("b.mp4", "dog")]
    assert shown(read(write(tmp_path, "a.mp4 cat\nb.mp4 dog\n"))) == [("a.mp4", "cat"), ("b.mp4", "dog")]
    mapped = read(write(tmp_path, "a.mp4 1\n"), classes=["ant", "cat", "dog"])
    assert (mapped.classes, mapped.labels()) == (("ant", "cat", "dog"), [1])


def test_numbers_are_names_only_where_all_of_them_are(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.mp4 20\nb.mp4 10\n"), classes=["10", "20"]).labels() == [1, 0]
    assert read(write(tmp_path, "a.mp4 0\nb.mp4 1\n"), classes=["10", "20"]).labels() == [0, 1]
    assert read(write(tmp_path, "a.mp4 00\nb.mp4 01\n"), classes=["x", "y"]).labels() == [0, 1]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_any_columns_and_delimiter(tmp_path: Path, delimiter: str) -> None:
    touch(tmp_path / "a,b; c.mp4")
    rows = [["id", "Label", "path"], ["1", "high jump", '"a,b; c.mp4"'], ["2", "run", "sub/ü.avi"]]
    path = write(tmp_path, "\r\n".join(delimiter.join(row) for row in rows), "list.csv")
    assert shown(read(path)) == [("a,b; c.mp4", "high jump"), ("sub/ü.avi", "run")]


def test_csv_that_is_blank_separated_is_a_text_list(tmp_path: Path) -> None:
    assert shown(read(write(tmp_path, "my clip.mp4 1\na.mp4 0\n", "list.csv")))[0] == ("my clip.mp4", "1")


def test_csv_with_frames(tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", moving_frames(2))
    manifest = read(write(tmp_path, "path,frames,label\nclip,2,0\na.mp4,,1\n", "list.csv"))
    assert [clip.frames for clip in manifest.clips] == [2, None]


def test_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path, '{"path": "a.mp4", "label": 1}\n{"label": 0, "path": "sub/ü.avi"}\n', "list.jsonl")
    assert shown(read(path)) == [("a.mp4", "1"), ("sub/ü.avi", "0")]


@pytest.mark.parametrize(
    ("name", "content", "line", "part"),
    [
        ("list.txt", "a.mp4 0\nb.mp4\n", 2, "got:     b.mp4"),
        ("list.txt", "a.mp4 0\n\n\t0\n", 3, "not understood"),
        ("list.txt", "a.mp4\t1\t2\t3\n", 1, "path frames label"),
        ("list.csv", "path,label\na.mp4,0\nb.mp4,1,9\n", 3, "2 values"),
        ("list.csv", "path,label\na.mp4,\n", 2, "not understood"),
        ("list.csv", "a.mp4,0\nb.mp4,1\n", 1, "write path,label above"),
        ("list.csv", "path,label,frames\na.mp4,0,many\n", 2, "a number of frames"),
        ("list.jsonl", '{"path": "a.mp4", "label": 0}\nnonsense\n', 2, "nonsense"),
        ("list.jsonl", '{"path": "a.mp4"}\n', 1, '"label": 0 or "name"'),
        ("list.jsonl", '{"path": "a.mp4", "label": true}\n', 1, "not understood"),
        ("list.jsonl", '{"path": "a.mp4", "label": 1.5}\n', 1, "not understood"),
        ("list.txt", b"a.mp4 0\nb\xe4.mp4 1\n", 2, "not UTF-8"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, name: str, content: str | bytes, line: int, part: str) -> None:
    path = write(tmp_path, content, name)
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.where == f"{path}:{line}"
    assert part in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_empty_lists(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="list is empty"):
        read(write(tmp_path, content))


def test_missing_files_are_counted_and_the_first_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.mp4 0\n" + "".join(f"gone_{i}.mp4 1\n" for i in range(5)))
    with pytest.raises(DataError, match="5 of 6 listed clips do not exist") as caught:
        read(path)
    assert caught.value.got == "gone_0.mp4 (line 2), gone_1.mp4 (line 3), gone_2.mp4 (line 4) and 2 more"
    assert "root:" in str(caught.value.remedy)


@pytest.mark.parametrize(("label", "allowed"), [("7", "0 to 1"), ("bird", "cat, dog"), ("-1", "0 to 1")])
def test_labels_outside_the_classes(tmp_path: Path, label: str, allowed: str) -> None:
    path = write(tmp_path, f"a.mp4 0\nb.mp4 {label}\n" if label.isdecimal() else f"a.mp4 cat\nb.mp4 {label}\n")
    with pytest.raises(DataError, match="not in the list of classes") as caught:
        read(path, classes=["cat", "dog"])
    assert caught.value.where == f"{path}:2"
    assert caught.value.got == label
    assert allowed in str(caught.value.allowed)


def test_a_class_of_the_list_that_the_model_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(DataError, match="not one of the expected classes") as caught:
        read(write(tmp_path, "a.mp4 0\nb.mp4 1\n"), classes=["dog", "bird"])
    assert caught.value.got == "cat"


def test_a_clip_with_two_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.mp4 0\nb.mp4 1\na.mp4 1\n")
    with pytest.raises(DataError, match="listed twice") as caught:
        read(path)
    assert caught.value.where == f"{path}:3"
    assert caught.value.got == "a.mp4: 0 (line 1), 1 (line 3)"


def test_a_repeated_clip_is_noted(tmp_path: Path) -> None:
    manifest = read(write(tmp_path, "a.mp4 0\nb.mp4 1\na.mp4 0\n"))
    assert len(manifest) == 3
    assert manifest.notes == ("list.txt: 1 clip listed more than once",)


def test_labels_that_count_from_one_are_found_in_training(tmp_path: Path) -> None:
    path = write(tmp_path, "a.mp4 1\nb.mp4 2\n")
    with pytest.raises(DataError, match="No clip has the label 0") as caught:
        read(path, strict=True)
    assert caught.value.got == "labels from 1 to 2"
    assert len(read(path)) == 2


def test_a_class_name_twice(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("dog\ncat\ndog\n")
    with pytest.raises(DataError, match="stands twice") as caught:
        read(write(tmp_path, "a.mp4 0\n"))
    assert caught.value.where == f"{tmp_path / 'classes.txt'}:3"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "my clip.mp4\na.mp4 0\nsub/ü.avi 12 high\n"),
        ("list.txt", "my clip.mp4\thigh jump\na.mp4\t0\nsub/ü.avi\t1\n"),
        ("list.csv", "path,label\nmy clip.mp4,0\na.mp4,\nsub/ü.avi,1\n"),
        ("list.jsonl", '{"path": "my clip.mp4"}\n{"path": "a.mp4", "label": 1}\n{"path": "sub/ü.avi"}\n'),
    ],
)
def test_paths_without_their_labels(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path, content, name)
    assert listed(path) == [tmp_path / "my clip.mp4", tmp_path / "a.mp4", tmp_path / "sub" / "ü.avi"]


def test_a_missing_clip_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    path = write(tmp_path, f"gone 1.mp4 0\n{tmp_path / 'a.mp4'}\nno video at all\n")
    assert listed(path) == [tmp_path / "gone 1.mp4", tmp_path / "a.mp4", tmp_path / "no video at all"]


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("l.txt", "", "is empty"),
        ("l.csv", "clip,label\na.mp4,1\n", "name the columns"),
    ],
)
def test_lists_without_paths(tmp_path: Path, name: str, content: str, part: str) -> None:
    with pytest.raises(DataError, match=part):
        listed(write(tmp_path, content, name))


HUGE = [
    ("20240131123000", "a larger number"),
    ("9" * 5000, "a larger number"),
    ("999999999", "the label 1, 2, 3 and 999999995 more"),
]


@pytest.mark.parametrize(("label", "message"), HUGE, ids=["date", "digits", "gap"])
@pytest.mark.parametrize("form", ["{} {}", "{},{}", '{{"path": "{}", "label": "{}"}}'], ids=["text", "csv", "json"])
def test_labels_that_are_no_sensible_numbers(form: str, label: str, message: str, tmp_path: Path) -> None:
    suffix = {"{} {}": "txt", "{},{}": "csv"}.get(form, "jsonl")
    rows = [form.format("a.mp4", "0"), form.format("b.mp4", label)]
    rows = ["path,label", *rows] if suffix == "csv" else rows
    path = write(tmp_path, "\n".join(rows), f"list.{suffix}")
    with pytest.raises(DataError, match=message) as caught:
        read(path, strict=True)
    assert len(str(caught.value)) < 600
    # Where gaps are allowed the number alone is too large, and with known classes it is none of them.
    with pytest.raises(DataError, match="a larger number"):
        read(path)
    (tmp_path / "classes.txt").write_text("x\ny\n")
    with pytest.raises(DataError, match="not in the list of classes"):
        read(path)


def test_one_of_several_labels_is_no_sensible_number(tmp_path: Path) -> None:
    path = write(tmp_path, "a.mp4 0,1\nb.mp4 1,20240131123000\n")
    with pytest.raises(DataError, match="a larger number"):
        read_list(path, bases=(tmp_path,), root=tmp_path, several=True)


@pytest.mark.parametrize("frames", ["9" * 5000, "99999999999", "0"])
def test_numbers_of_frames_that_cannot_be(frames: str, tmp_path: Path) -> None:
    write_frames(tmp_path / "x", moving_frames(2))
    with pytest.raises(DataError, match="not understood"):
        read(write(tmp_path, f"x {frames} 0\n"))


def test_lines_that_are_too_long_or_too_deep(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not understood"):
        read(write(tmp_path, "path,label\n" + "a" * 200_000 + ",1\n", "list.csv"))
    with pytest.raises(DataError, match="not understood"):
        read(write(tmp_path, "[" * 100_000, "list.jsonl"))


def test_gaps_are_named_whatever_the_largest_label(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, "a.mp4 1\nb.mp4 4\n"), strict=True)
    assert caught.value.what == "No clip has the label 0, 2, 3."


def test_paths_that_are_longer_than_any(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not exist"):
        read(write(tmp_path, "a" * 5000 + " 0\n"))


def test_a_malformed_line_of_json_is_an_error_among_paths(tmp_path: Path) -> None:
    first, error, last = listed(write(tmp_path, '{"path": "a.mp4"}\n{}\n{"path": "b.mp4"}\n', "l.jsonl"))
    assert [first, last] == [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    assert isinstance(error, DataError)
    assert str(error.where).endswith("l.jsonl:2")


def test_a_line_that_can_be_no_path_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    long = "x" * 5000 + ".mp4"
    path = write(tmp_path, f"{long}\na\0b.mp4\n")
    assert listed(path) == [tmp_path / long, tmp_path / "a\0b.mp4"]
    with pytest.raises(DataError, match="2 of 2 listed clips do not exist"):
        read_list(write(tmp_path, f"{long} 0\na\0b.mp4 1\n"), bases=(tmp_path,), root=tmp_path)


def test_absent_clips_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    path = write(tmp_path, "a.mp4 0\ngone.mp4 1\n")
    with pytest.raises(DataError, match="1 of 2 listed clips do not exist"):
        read_list(path, bases=(tmp_path,), root=tmp_path)
    manifest = read_list(path, bases=(tmp_path,), root=tmp_path, absent=True)
    assert [(clip.name, clip.label) for clip in manifest.clips] == [("a.mp4", 0), ("gone.mp4", 1)]
    assert manifest.notes == ("list.txt: 1 of 2 listed clips do not exist: gone.mp4 (line 2)",)
    with pytest.raises(DataError, match="1 of 1 listed clip do not exist"):
        read_list(write(tmp_path, "gone.mp4 1\n"), bases=(tmp_path,), root=tmp_path, absent=True)
