"""Time lines: a folder of files for each video, made once, of the events that a stream of the same frames has."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

import clipshift
from clipshift.datasets.clip import Clip
from clipshift.datasets.motion_streams import write_motion_streams
from clipshift.errors import ConfigError, DataError, OutputError
from clipshift.inference.observing import observe
from clipshift.temporal import EventRules, Segment, advance, finish, start
from clipshift.temporal.annotations import read_annotations
from clipshift.timelines.making import _whole, split_settings, truth_of
from clipshift.timelines.outputs import FILES
from clipshift.video.long_file import LongFile
from clipshift.video.timed import TimedFrame
from tests.exporting.making import CAUSAL, save_model

RATE = 6.0
RULES = (
    {"events.default": {"enter": 0.6, "leave": 0.58, "shortest": 0.3, "merge_gap": 0}, "events.lag": 0.25},
    "events.classes.right_to_left.enter=0.28",
    "events.classes.right_to_left.leave=0.27",
)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_streams(tmp_path_factory.mktemp("timelines") / "streams", streams=2, seconds=10, size=32)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("causal") / "model", model=CAUSAL)


@pytest.fixture(scope="module")
def made(causal: Path, streams: Path, tmp_path_factory: pytest.TempPathFactory) -> clipshift.Timeline:
    """The time line of the first stream, with what is true."""
    out = tmp_path_factory.mktemp("made") / "line"
    seen: list[tuple[int, int]] = []
    [line] = clipshift.timeline(
        causal,
        streams / "0000.mp4",
        out=out,
        rate=RATE,
        settings=RULES,
        annotations=streams / "annotations.json",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert isinstance(line, clipshift.Timeline)
    assert seen[-1] == (9, 10)
    return line


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_events_are_those_of_a_stream_bit_for_bit(made: clipshift.Timeline, causal: Path, streams: Path) -> None:
    model = clipshift.load(causal)
    rules = EventRules.model_validate_json(
        json.dumps(json.loads((made.folder / "segments.json").read_text())["cause"]["rules"])
    )
    state, found = start(rules, model.classes), []
    with LongFile(streams / "0000.mp4") as file:
        frames = (TimedFrame(picture.time, file.to_rgb(picture)) for picture in file.pictures())
        for observation in observe(model, frames, RATE):
            events, state = advance(state, observation.time, observation.probabilities)
            found += [event.segment() for event in events if event.kind == "end"]
        found += [event.segment() for event in finish(state, file.end)[0]]
    assert len(made.segments) > 1
    assert sorted(found, key=lambda one: (one.start, one.end, one.label)) == list(made.segments)
    assert (made.frames, round(made.seconds, 3)) == (120, 10.0)


def test_all_files_say_the_same(made: clipshift.Timeline) -> None:
    assert sorted(path.name for path in made.folder.iterdir()) == sorted(FILES)
    for name in ("segments.json", "segments.csv"):
        [read] = read_annotations(made.folder / name)
        assert read.segments == made.segments
        assert read.duration == made.seconds
    for name in ("segments.vtt", "segments.srt", "segments.eaf"):
        [read] = read_annotations(made.folder / name)
        assert [one.label for one in read.segments] == [one.label for one in made.segments]
        for one, other in zip(read.segments, made.segments, strict=True):
            assert [one.start, one.end] == pytest.approx([other.start, other.end], abs=1e-3)
    scores = np.load(made.folder / "scores.npz")
    assert scores["probabilities"].shape == (60, 4)
    np.testing.assert_allclose(scores["times"], np.arange(60) / RATE, atol=1e-9)
    np.testing.assert_allclose(scores["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert (made.folder / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_segments_say_where_they_come_from(made: clipshift.Timeline, causal: Path, streams: Path) -> None:
    found = json.loads((made.folder / "segments.json").read_text())
    cause = found["cause"]
    assert cause["model"]["sha256"] == json.loads((causal / "model.json").read_text())["weights_sha256"]
    assert cause["video"]["path"] == str((streams / "0000.mp4").resolve())
    assert (cause["rate"], cause["window"], len(cause["classes"])) == (RATE, False, 4)
    assert (cause["rules"]["default"]["enter"], cause["rules"]["classes"]["right_to_left"]["enter"]) == (0.6, 0.28)
    assert cause["rules"]["classes"]["right_to_left"]["shortest"] == 0.3  # of a class without a rule: as the default
    marks = found["database"][made.video]["annotations"]
    assert all(mark["told"] >= mark["segment"][0] for mark in marks)


def test_the_page_needs_nothing_but_the_video(made: clipshift.Timeline, streams: Path) -> None:
    page = (made.folder / "timeline.html").read_text()
    [source] = re.findall(r'<video [^>]*src="([^"]*)"', page)
    assert (made.folder / source).resolve() == (streams / "0000.mp4").resolve()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
    shown = [span[:2] for lane in data["lanes"] for span in lane["found"]]
    assert sorted(shown) == sorted([one.start, one.end] for one in made.segments)
    assert sum(len(lane["truth"]) for lane in data["lanes"]) == len(made.truth or ()) > 0


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_the_page_in_a_browser(made: clipshift.Timeline, tmp_path: Path) -> None:
    """A click on the second event goes there: the page, the player and the marks say so."""
    page = (made.folder / "timeline.html").read_text()
    script = (
        "<script>const start = () => { document.querySelectorAll('#rows tr')[1].click();"
        " video.addEventListener('seeked', () => { document.title = 'at ' + video.currentTime.toFixed(2) + ' '"
        " + document.getElementById('clock').textContent + ' ' + document.querySelectorAll('tr.now').length"
        " + ' ' + document.querySelectorAll('.lane').length; }); };"
        " video.readyState ? start() : video.addEventListener('loadedmetadata', start);</script></body>"
    )
    (made.folder / "tried.html").write_text(page.replace("</body>", script))
    try:
        answer = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
             "--virtual-time-budget=20000", "--dump-dom", (made.folder / "tried.html").as_uri()],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        (made.folder / "tried.html").unlink()
    second = made.segments[1]
    [title] = re.findall(r"<title>(.*?)</title>", answer.stdout)
    place, clock, now, lanes = re.fullmatch(r"at ([\d.]+) ([\d:.]+) (\d+) (\d+)", title).groups()  # type: ignore[union-attr]
    assert float(place) == pytest.approx(second.start, abs=0.05)
    assert clock == f"0:{second.start:04.1f}"
    assert int(now) >= 1
    assert int(lanes) == len({one.label for one in (*made.segments, *(made.truth or ()))})


def test_the_same_call_again_leaves_everything(made: clipshift.Timeline, causal: Path, streams: Path) -> None:
    before = contents(made.folder)
    [again] = clipshift.timeline(causal, streams / "0000.mp4", out=made.folder, rate=RATE, settings=RULES)
    assert isinstance(again, clipshift.Timeline)
    assert not again.made
    assert again.segments == made.segments
    assert contents(made.folder) == before


def test_labels_are_drawn_while_events_go_on(
    made: clipshift.Timeline, causal: Path, streams: Path, tmp_path: Path
) -> None:
    video, out = streams / "0000.mp4", tmp_path / "drawn.mp4"
    clipshift.timeline(causal, video, out=made.folder, rate=RATE, settings=RULES, annotated=out)
    with av.open(str(out)) as drawn:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in drawn.decode(video=0)]
    with LongFile(video) as file:
        assert [time for time, _ in frames] == pytest.approx([one.time for one in file.pictures()], abs=1e-4)
    going_on = [any(one.start <= time + 1e-4 < one.end for one in made.segments) for time, _ in frames]
    # The ground of the text is red, at the lower left.
    red = [frame[-2, 1, 0] - frame[-2, 1, 1].astype(int) > 60 for _, frame in frames]
    assert red == going_on
    assert 0 < sum(red) < len(red)


def test_a_drawing_that_is_interrupted_leaves_nothing(
    made: clipshift.Timeline, causal: Path, streams: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, _: int) -> None:
        if done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clipshift.timeline(
            causal,
            streams / "0000.mp4",
            out=made.folder,
            rate=RATE,
            settings=RULES,
            annotated=tmp_path / "drawn.mp4",
            progress=interrupt,
        )
    assert list(tmp_path.iterdir()) == []


def test_where_labels_cannot_be_drawn_nothing_is_begun(causal: Path, streams: Path, tmp_path: Path) -> None:
    one, out = streams / "0000.mp4", tmp_path / "out"
    (tmp_path / "mine.mp4").write_text("mine")
    with pytest.raises(OutputError, match="there already"):
        clipshift.timeline(causal, one, out=out, rate=RATE, annotated=tmp_path / "mine.mp4")
    with pytest.raises(OutputError, match="does not exist"):
        clipshift.timeline(causal, one, out=out, rate=RATE, annotated=tmp_path / "gone" / "drawn.mp4")
    with pytest.raises(ConfigError, match="one video at a time"):
        clipshift.timeline(causal, one, streams / "0001.mp4", out=out, rate=RATE, annotated=tmp_path / "drawn.mp4")
    assert contents(tmp_path) == {"mine.mp4": b"mine"}
    assert not out.exists()
    clipshift.timeline(causal, one, out=out, rate=RATE, annotated=out / "drawn.mp4")
    assert (out / "drawn.mp4").is_file()


@pytest.mark.parametrize(
    ("changed", "what"),
    [({"rate": 5.0}, "rate"), ({"settings": ()}, "rules of events"), ({"videos": "0001.mp4"}, "video")],
)
def test_another_call_overwrites_nothing(
    made: clipshift.Timeline, causal: Path, streams: Path, changed: dict[str, object], what: str
) -> None:
    before = contents(made.folder)
    given = {"rate": RATE, "settings": RULES, **changed}
    video = streams / str(given.pop("videos", "0000.mp4"))
    with pytest.raises(OutputError, match=what):
        clipshift.timeline(causal, video, out=made.folder, **given)  # type: ignore[arg-type]
    assert contents(made.folder) == before


def test_files_of_other_people_stay(causal: Path, streams: Path, tmp_path: Path) -> None:
    (tmp_path / "segments.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"segments\.csv"):
        clipshift.timeline(causal, streams / "0000.mp4", out=tmp_path, rate=RATE)
    assert contents(tmp_path) == {"segments.csv": b"mine"}
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        clipshift.timeline(causal, streams / "0000.mp4", out=tmp_path / "file", rate=RATE)


def test_several_videos_have_a_folder_each(causal: Path, streams: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video")
    (tmp_path / "0000.mp4").symlink_to(streams / "0000.mp4")
    names = (streams / "0000.mp4", tmp_path / "broken.mp4", tmp_path / "0000.mp4", tmp_path / "gone.mp4")
    done: list[tuple[int, int]] = []
    found = clipshift.timeline(
        causal, *names, out=tmp_path / "out", rate=RATE, workers=2, progress=lambda *told: done.append(told)
    )
    first, broken, third, gone = found
    assert isinstance(first, clipshift.Timeline)
    assert isinstance(third, clipshift.Timeline)
    assert first.segments == third.segments
    assert isinstance(broken, clipshift.Failure)
    assert isinstance(gone, clipshift.Failure)
    assert "not a video" in broken.error
    assert done[-1] == (4, 4)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0000-1", "0000-2"]


def test_after_a_kill_only_the_unfinished_video_is_made(causal: Path, streams: Path, tmp_path: Path) -> None:
    """Killed in the second video: the first one stays as it is, of the second one nothing counts."""
    out = tmp_path / "out"
    program = (
        "import os, signal, sys, clipshift.timelines.making as making\n"
        "import clipshift\n"
        "score, seen = making.score_video, []\n"
        "def counted(*given, **named):\n"
        "    seen.append(1)\n"
        "    if len(seen) == 2:\n"
        "        named['progress'] = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 3 else None\n"
        "    return score(*given, **named)\n"
        "making.score_video = counted\n"
        f"clipshift.timeline({str(causal)!r}, {str(streams)!r}, out={str(out)!r}, rate={RATE}, workers=0)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    first = contents(out / "0000")
    assert sorted(first) == sorted(FILES)
    assert contents(out / "0001") == {}
    found = clipshift.timeline(causal, streams, out=out, rate=RATE, workers=0)
    assert [isinstance(one, clipshift.Timeline) and one.made for one in found] == [False, True]
    assert contents(out / "0000") == first
    assert sorted(path.name for path in (out / "0001").iterdir()) == sorted(FILES)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are no text")
def test_a_name_that_is_no_text(causal: Path, streams: Path, tmp_path: Path) -> None:
    video = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(streams / "0000.mp4", video)
    [line] = clipshift.timeline(causal, video, out=tmp_path / "out", rate=RATE)
    assert isinstance(line, clipshift.Timeline)
    [read] = read_annotations(line.folder / "segments.json")
    assert read.path == str(video)
    [read] = read_annotations(line.folder / "segments.csv")
    assert read.path.endswith(r"caf\xe9.mp4")
    assert "caf%E9.mp4" in (line.folder / "timeline.html").read_text()


def test_a_network_that_is_not_causal(small_model: Path, streams: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--window"):
        clipshift.timeline(small_model, streams / "0000.mp4", out=tmp_path / "a", rate=RATE)
    assert not (tmp_path / "a").exists()
    [line] = clipshift.timeline(small_model, streams / "0000.mp4", out=tmp_path / "b", rate=RATE, window=True)
    assert isinstance(line, clipshift.Timeline)
    scores = np.load(line.folder / "scores.npz")
    assert len(scores["times"]) == 60 - 3  # four frames make the first answer


def test_bad_input(causal: Path, streams: Path, tmp_path: Path) -> None:
    video, out = streams / "0000.mp4", tmp_path / "out"
    with pytest.raises(ConfigError, match="spread over whole clips"):
        clipshift.timeline(causal, video, out=out)
    with pytest.raises(ConfigError, match="most enter"):
        clipshift.timeline(causal, video, out=out, rate=RATE, settings="events.default.enter=0.1")
    with pytest.raises(ConfigError, match="class that the model does not have"):
        clipshift.timeline(causal, video, out=out, rate=RATE, settings="events.classes.fall.enter=0.8")
    with pytest.raises(ConfigError, match="not valid"):
        clipshift.timeline(causal, video, out=out, rate=RATE, settings="events.default.entr=0.8")
    with pytest.raises(DataError, match="cannot be read"):
        clipshift.timeline(causal, video, out=out, rate=RATE, annotations=tmp_path / "gone.json")
    assert not out.exists()
    (tmp_path / "empty").mkdir()
    [failed] = clipshift.timeline(causal, tmp_path / "empty", out=out, rate=RATE)
    assert isinstance(failed, clipshift.Failure)
    assert not out.exists()


def test_spans_in_lists_mean_their_whole_video_once() -> None:
    a, b = Path("/a.mp4"), Path("/b.mp4")
    clips = [
        Clip(a, "a.mp4#t=1,2", 0, span=(1.0, 2.0)),
        Clip(b, "b.mp4", 0),
        Clip(a, "a.mp4#t=3,4", 0, span=(3.0, 4.0)),
    ]
    assert [(clip.path, clip.span) for clip in _whole(clips)] == [(a, None), (b, None)]


def test_truth_is_found_by_path_name_or_stem(streams: Path) -> None:
    annotations = read_annotations(streams / "annotations.json")
    assert truth_of(streams / "0001.mp4", annotations) == annotations[1].segments
    assert truth_of("elsewhere/0001.mkv", annotations) == annotations[1].segments
    assert truth_of("other.mp4", annotations) is None


def test_settings_are_parted() -> None:
    events, others = split_settings(["events.default.enter=0.6", {"data": {"max_seconds": 5}}, "events.most_gap=3"])
    assert events == [{"events.default.enter": 0.6}, {"events.most_gap": 3}]
    assert others == [{"data.max_seconds": 5}]


def test_a_segment_of_no_length_in_plots() -> None:
    from clipshift.evaluation.report.lanes import clock_text, highest_in_parts, make_lanes

    assert [clock_text(value) for value in (0, 1.26, 59.96, 61, 3723.4)] == [
        "0:00",
        "0:01.3",
        "1:00",
        "1:01",
        "1:02:03",
    ]
    curve = highest_in_parts(np.array([0.0, 1.0, 9.0]), np.array([0.1, 0.7, 0.3]), 10.0, parts=10)
    np.testing.assert_allclose(curve, [0.1, *[0.7] * 8, 0.3], atol=1e-6)
    [lane] = make_lanes(["a", "b"], [Segment("b", 1.0, 1.0, 0.5)], seconds=10.0)
    assert (lane.label, lane.index) == ("b", 1)
