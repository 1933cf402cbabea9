"""Files of annotations: as tools write them, round trips with hard names, and what is wrong with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipshift.errors import DataError
from clipshift.temporal import Segment
from clipshift.temporal.annotations import (
    Annotation,
    Form,
    check_spans,
    forms,
    read_annotations,
    write_annotations,
)

ONE = [Annotation("hall", (Segment("fall", 1.5, 4.25), Segment("get up", 3600.001, 3725.5)))]

WRITTEN: dict[str, str] = {
    "hall.csv": "path,label,start,end\nhall,fall,1.5,4.25\nhall,get up,3600.001,3725.5\n",
    "hall.jsonl": '{"path": "hall", "label": "fall", "start": 1.5, "end": 4.25}\n'
    '{"path": "hall", "label": "get up", "start": 3600.001, "end": 3725.5}\n',
    "hall.json": '{"version": "1.3", "taxonomy": [], "database": {"hall": {"url": "x", "annotations": '
    '[{"segment": [1.5, 4.25], "label": "fall"}, {"segment": [3600.001, 3725.5], "label": "get up"}]}}}',
    "hall.vtt": "WEBVTT - a title\n\nNOTE\nof a person\n\nfirst\n00:01.500 --> 00:04.250 line:0 align:start\nfall\n\n"
    "01:00:00.001 --> 01:02:05.500\nget\nup\n",
    "hall.srt": "\ufeff1\r\n00:00:01,500 --> 00:00:04,250\r\nfall\r\n\r\n\r\n"
    "2\r\n01:00:00,001 --> 01:02:05,500\r\nget up\r\n",
    "hall.eaf": '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT>\n<HEADER TIME_UNITS="milliseconds">'
    '<MEDIA_DESCRIPTOR MEDIA_URL="file:///v/hall" RELATIVE_MEDIA_URL="hall"/></HEADER><TIME_ORDER>'
    '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1500"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="4250"/>'
    '<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="3600001"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="3725500"/>'
    '</TIME_ORDER><TIER TIER_ID="a"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" '
    'TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE>fall</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>'
    '<TIER TIER_ID="b"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" '
    'TIME_SLOT_REF2="ts4"><ANNOTATION_VALUE>get up</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>'
    '<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a2"><ANNOTATION_VALUE>a note</ANNOTATION_VALUE>'
    "</REF_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>",
}


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", WRITTEN)
def test_what_tools_write_is_read(name: str, tmp_path: Path) -> None:
    assert read_annotations(written(tmp_path, name, WRITTEN[name])) == ONE


def test_kinetics(tmp_path: Path) -> None:
    text = 'label,youtube_id,time_start,time_end,split\nplaying guitar,--0d,3,13,train\n"a, b",x1,0,10,train\n'
    found = read_annotations(written(tmp_path, "train.csv", text))
    assert found == [
        Annotation("--0d", (Segment("playing guitar", 3, 13),), subset="train"),
        Annotation("x1", (Segment("a, b", 0, 10),), subset="train"),
    ]
    write_annotations(tmp_path / "again.csv", found, "kinetics")
    assert read_annotations(tmp_path / "again.csv") == found


def test_label_studio(tmp_path: Path) -> None:
    def region(kind: str, **value: object) -> dict[str, object]:
        return {"id": "x", "from_name": "l", "to_name": "v", "type": kind, "origin": "manual", "value": value}

    marked = [
        region("timelinelabels", ranges=[{"start": 1, "end": 50}], timelinelabels=["fall"]),
        region("videorectangle", framesCount=100, sequence=[]),
        region("labels", start=3.5, end=4.0, labels=["cry"], channel=0),
    ]
    tasks = [
        {"id": 1, "data": {"video": "a.mp4"}, "annotations": [{"id": 3, "was_cancelled": False, "result": marked}]},
        {"id": 2, "data": {"video": "b.mp4"}, "annotations": [{"id": 4, "was_cancelled": True, "result": marked}]},
    ]
    path = written(tmp_path, "export.json", json.dumps(tasks))
    assert read_annotations(path, fps=25) == [
        Annotation("a.mp4", (Segment("fall", 0, 2), Segment("cry", 3.5, 4))),
        Annotation("b.mp4"),
    ]
    with pytest.raises(DataError, match="numbers of frames") as caught:
        read_annotations(path)
    assert caught.value.where == f"{path}:[0].annotations[0]"


def test_fiftyone_in_frames_and_in_seconds(tmp_path: Path) -> None:
    detections = {
        "classes": ["fall", "cry"],
        "labels": {
            "hall": [{"label": 0, "support": [1, 50], "confidence": 0.5}, {"label": 1, "timestamps": [3.5, 4.0]}],
            "empty": None,
        },
    }
    path = written(tmp_path, "labels.json", json.dumps(detections))
    (tmp_path / "data.json").write_text(json.dumps({"hall": "/videos/hall.mp4"}))
    assert read_annotations(path, fps=25) == [
        Annotation("/videos/hall.mp4", (Segment("fall", 0, 2, 0.5), Segment("cry", 3.5, 4))),
        Annotation("empty"),
    ]
    with pytest.raises(DataError, match="given in frames") as caught:
        read_annotations(path)
    assert caught.value.where == f"{path}:labels.hall[0]"
    detections["labels"] = {"hall": [{"label": 2, "timestamps": [0, 1]}]}
    with pytest.raises(DataError, match="no number of a class"):
        read_annotations(written(tmp_path, "labels.json", json.dumps(detections)))


def test_cvat_in_frames(tmp_path: Path) -> None:
    """A track that leaves and comes back, one to the end of what is marked, and a label that is one of the shapes."""

    def box(frame: int, outside: int = 0) -> str:
        return f'<box frame="{frame}" outside="{outside}" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2"/>'

    text = (
        "<annotations><version>1.1</version><meta><task><name>t</name><source>hall.mp4</source></task></meta>"
        f'<track id="0" label="fall" source="manual">{box(0)}{box(50, 1)}{box(100)}{box(125, 1)}</track>'
        f'<track id="1" label="box">{box(10)}<polygon frame="12" outside="0" points="1,1;2,2;3,1"/></track>'
        "</annotations>"
    )
    path = written(tmp_path, "task.xml", text)
    assert read_annotations(path, fps=25) == [
        Annotation("hall.mp4", (Segment("fall", 0, 2), Segment("fall", 4, 5), Segment("box", 0.4, 13 / 25)))
    ]
    with pytest.raises(DataError, match="numbers of frames"):
        read_annotations(path)
    # Without the attributes that keep the times, CVAT's frames are those that the spans show.
    write_annotations(tmp_path / "b.xml", [Annotation("b.mp4", (Segment("x", 0.5, 1.04),), 2.0)], fps=25)
    bare = (tmp_path / "b.xml").read_text().replace('name="start"', 'name="a"').replace('name="end"', 'name="b"')
    (found,) = read_annotations(written(tmp_path, "c.xml", bare), fps=25)
    assert found.segments == (Segment("x", 12 / 25, 26 / 25),)


HARD = (
    "a,b",
    'say "x"',
    "<b>&amp;</b>",
    "x --> y",
    "käse 投げる",
    " around ",
    "a;b\tc",
    "]]>",
    "-->",
    "1",
    "&",
    "NOTE",
)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((f"hall.{form}", None) for form in ("csv", "jsonl", "json", "vtt", "srt", "eaf", "xml")),
        ("hall.json", "labelstudio"),
        ("hall.json", "fiftyone"),
    ],
)
def test_round_trips_keep_labels_and_times(name: str, form: Form | None, tmp_path: Path) -> None:
    marks = tuple(Segment(label, 1.2345 * place, 4000.98765 * place + 1) for place, label in enumerate(HARD))
    write_annotations(tmp_path / name, [Annotation("hall", marks)], form, fps=30000 / 1001)
    (found,) = read_annotations(tmp_path / name)
    assert found.path == "hall"
    assert [one.label for one in found.segments] == list(HARD)
    for one, other in zip(found.segments, marks, strict=True):
        assert one.start == pytest.approx(other.start, abs=1e-3)
        assert one.end == pytest.approx(other.end, abs=1e-3)


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl", "all.json"])
def test_tables_and_json_keep_everything(name: str, tmp_path: Path) -> None:
    everything = [
        Annotation("a/b c.mp4", (Segment("x\ny\rz", 0.1, 1 / 3, 0.5), Segment("w", -1, 2)), 12.25, "training"),
        Annotation("nothing.mp4", (), 3.0),
        Annotation("bare.mp4"),
    ]
    write_annotations(tmp_path / name, everything)
    assert read_annotations(tmp_path / name) == everything


def test_names_that_are_no_text(tmp_path: Path) -> None:
    odd = [Annotation("\udcff.mp4", (Segment("a", 0, 1),))]
    for name in ("a.json", "a.jsonl"):
        write_annotations(tmp_path / name, odd)
        assert read_annotations(tmp_path / name) == odd
    with pytest.raises(DataError, match="not text"):
        write_annotations(tmp_path / "a.csv", odd)


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("a.csv", "", None, "is empty"),
        ("a.csv", "path,label,start\n", 1, "lacks end"),
        ("a.csv", "path,label,start,end\na,b,1,2\na,b,x,2\n", 3, "start is not a number"),
        ("a.csv", "path,label,start,end\na,b,1,nan\n", 2, "end is not a number"),
        ("a.csv", "path,label,start,end\na,b,2,1\n", 2, "ends before it starts"),
        ("a.csv", "path,label,start,end\na,,2,3\n", 2, "label is missing"),
        ("a.csv", "path,label,start,end\na,b,1\n", 2, "has 3 cells"),
        ("a.csv", 'path,label,start,end\na,"b,1,2\n', 2, "not CSV"),
        ("a.csv", "path,label,start,end,duration\na,b,1,2,5\na,b,1,2,6\n", 3, "two values of duration"),
        ("a.jsonl", '\n{"path": "a"\n', 2, "not JSON"),
        ("a.jsonl", "[1]\n", 1, "not an object"),
        ("a.json", '{"database": {\n', 2, "not JSON"),
        ("a.json", "[" * 100_000, None, "not JSON"),
        ("a.json", '{"database": {"a": {}, "a": {}}}', None, "not JSON that can be read"),
        ("a.json", "{}", None, "neither"),
        ("a.json", '{"database": {"v": {"annotations": [{"segment": [1]}]}}}', "database.v.annotations[0]", "a start"),
        ("a.json", '{"database": {"v": {"duration": -1}}}', "database.v", "below 0"),
        ("a.vtt", "WEBVTT\n\nx\n00:01 --> 00:02\na\n", 4, "times of a cue"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\na\n\nfoo\nbar\n", 5, "no line with its times"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\n\n", 2, "label is missing"),
        ("a.json", '{"labels": {"v": [{"label": "x", "timestamps": [1]}]}}', "labels.v[0]", "two numbers"),
        ("a.xml", "<a/>", 1, "not a document of CVAT"),
        ("a.xml", "<annotations>\n<image/></annotations>", 2, "form for images"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///x">]>\n<annotations/>', 1, "document type"),
        ("a.eaf", "<a/>", 1, "not a document of ELAN"),
        ("a.eaf", "<ANNOTATION_DOCUMENT>\n<b>\n</ANNOTATION_DOCUMENT>", 3, "not XML"),
        ("a.eaf", '<!DOCTYPE a [\n<!ENTITY b SYSTEM "file:///x">]>\n<ANNOTATION_DOCUMENT/>', 1, "document type"),
        ("a.txt", "", None, "form of the annotations is not known"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(
    name: str, text: str, line: int | str | None, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(DataError, match=message) as caught:
        read_annotations(path)
    assert caught.value.where == (str(path) if line is None else f"{path}:{line}")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_annotations(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"path,label,start,end\na,caf\xe9,1,2\n")
    with pytest.raises(DataError, match="not UTF-8") as caught:
        read_annotations(tmp_path / "latin.csv")
    assert caught.value.where == f"{tmp_path / 'latin.csv'}:2"
    monkeypatch.setattr(forms, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="too large"):
        read_annotations(written(tmp_path, "large.csv", "path,label,start,end\n"))


@pytest.mark.parametrize(
    ("name", "form", "annotations", "message"),
    [
        ("a.vtt", None, [Annotation("a"), Annotation("b")], "one video a file"),
        ("a.srt", None, [Annotation("a", (Segment("x\ny", 0, 1),))], "line breaks"),
        ("a.vtt", None, [Annotation("a", (Segment("x", -1, 1),))], "before 0"),
        ("a.eaf", None, [Annotation("a", (Segment("x\x07", 0, 1),))], "XML does not have"),
        ("a.csv", "kinetics", [Annotation("a")], "without a span"),
        ("a.xml", None, [Annotation("a")], "counts frames"),
        ("a.json", "fiftyone", [Annotation("a"), Annotation("a")], "comes twice"),
        ("a.json", None, [Annotation("a"), Annotation("a")], "comes twice"),
    ],
)
def test_what_a_form_cannot_hold(
    name: str, form: Form | None, annotations: list[Annotation], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        write_annotations(tmp_path / name, annotations, form)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        write_annotations(tmp_path / "none" / "a.csv", ONE)


def test_check_spans() -> None:
    video = Annotation(
        "v",
        (
            Segment("a", -1, 1),
            Segment("a", 2, 2),
            Segment("b", 3, 5),
            Segment("b", 3, 5),
            Segment("c", 4, 4.5),
            Segment("a", 9, 10.04),
            Segment("a", 9.9, 11),
            Segment("a", 5000, 8000),
            Segment("d", 6, 6.02),
        ),
        duration=10.0,
    )
    found = check_spans([video], frame_step=0.04, classes={"a", "b", "c"})
    assert [(one.kind, one.segment.start) for one in found] == [
        ("negative", -1),
        ("empty", 2),
        ("duplicate", 3),
        ("overlap", 4),
        ("short", 6),
        ("unknown", 6),
        ("beyond", 9.9),
        ("beyond", 5000),
    ]
    assert "milliseconds?" in found[-1].text
    assert "milliseconds" not in found[-2].text
    assert [one.kind for one in check_spans([video], {"v": 9000.0})] == ["negative", "empty", "duplicate", "overlap"]
    assert check_spans(ONE) == []
