"""Spans in CVAT's "CVAT for video 1.1": XML with a track for each, of one video.

A track is on display from its first shape until one that is `outside`. Frames count from 0: frame f lasts from f / fps
to (f + 1) / fps. https://docs.cvat.ai/docs/dataset_management/formats/xml_format/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from clipshift.temporal.annotations.model import Annotation, Place, only
from clipshift.temporal.annotations.xml_reading import NOT_IN_XML, XmlReader
from clipshift.temporal.segments import Segment

_SHAPES = frozenset({"box", "polygon", "polyline", "points", "cuboid", "ellipse", "mask", "skeleton"})
_CORNER = 'xtl="0.00" ytl="0.00" xbr="16.00" ybr="16.00"'
"""Of a track's box: in a corner, because a span has no place in the picture."""
_ROUNDING = 1e-6
"""Share of a frame by which a time may miss the frame's beginning."""


@dataclass
class _Track:
    label: str | None
    place: Place
    shapes: list[tuple[float, bool]] = field(default_factory=list)
    """Frames, and whether the track is outside there."""
    times: dict[str, str] = field(default_factory=dict)
    """The attributes `start` and `end`, in seconds, as clipshift writes them."""


class _Reader(XmlReader):
    """Gathers the tracks and the video's name while the parser goes through the file."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, "CVAT")
        self.tracks: list[_Track] = []
        self.video: str | None = None
        self._path: list[str] = []
        self._words: list[str] = []
        self._attribute = ""

    def begins(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path and name != "annotations":
            raise self.here().error("This is not a document of CVAT.", f"<{name}>", "<annotations>")
        self._path.append(name)
        self._words = []
        if name == "track" and len(self._path) == 2:
            self.tracks.append(_Track(attributes.get("label"), self.here()))
        elif name in _SHAPES and self._path[:-1] == ["annotations", "track"]:
            frame = self.here().number(attributes.get("frame"), "The frame")
            self.tracks[-1].shapes.append((frame, attributes.get("outside") == "1"))
        elif name == "attribute":
            self._attribute = attributes.get("name", "")
        elif name == "image" and len(self._path) == 2:
            raise self.here().error(
                "This is CVAT's form for images.", "<image>", "CVAT for video 1.1", "export it as CVAT for video 1.1"
            )

    def text(self, text: str) -> None:
        self._words.append(text)

    def ends(self, name: str) -> None:
        text = "".join(self._words).strip()
        if name == "source" and "meta" in self._path and text:
            self.video = text
        elif name == "attribute" and self._attribute in ("start", "end") and "track" in self._path:
            self.tracks[-1].times.setdefault(self._attribute, text)
        self._path.pop()
        self._words = []


def read_cvat(text: str, place: Place, video: str, fps: float | None) -> list[Annotation]:
    """The tracks of all labels, whatever their shapes; attributes `start` and `end` are times before frames are.

    Raises:
        DataError: There are frames alone and no `fps`, or something is not as exported.
    """
    reader = _Reader(place)
    reader.read(text)
    segments = [segment for track in reader.tracks for segment in _segments(track, fps)]
    return [Annotation(reader.video or video, tuple(segments))]


def _segments(track: _Track, fps: float | None) -> list[Segment]:
    if {"start", "end"} <= set(track.times):
        return [track.place.segment(track.label, track.times["start"], track.times["end"])]
    if fps is None:
        raise track.place.error(
            "CVAT's tracks are numbers of frames.", remedy="say how many frames a second its videos had (fps)"
        )
    segments, begun, last = [], None, 0.0
    for frame, outside in sorted(track.shapes):
        if outside and begun is not None:
            segments.append(track.place.segment(track.label, begun / fps, frame / fps))
            begun = None
        elif not outside and begun is None:
            begun = frame
        last = frame
    if begun is not None:  # to the end of what is marked
        segments.append(track.place.segment(track.label, begun / fps, (last + 1) / fps))
    return segments


def write_cvat(annotations: Sequence[Annotation], place: Place, fps: float | None) -> str:
    """A document of one video: a small box in the corner for each span, with its times as attributes.

    CVAT keeps the attributes `start` and `end` where the labels of its task have them (as text); otherwise times are
    those of frames. Subset and scores are not kept.

    Raises:
        DataError: There is no `fps`, there are several videos, a time before 0, or a name that XML cannot hold.
    """
    video = only(annotations, place)
    if fps is None:
        raise place.error("CVAT counts frames.", remedy="say how many frames a second the video has (fps)")
    for name in (video.path, *(one.label for one in video.segments)):
        if NOT_IN_XML.search(name):
            raise place.error("A name has characters that XML does not have.", name, remedy="write JSON")
    if any(one.start < 0 for one in video.segments):
        raise place.error("This form has no times before 0.", min(one.start for one in video.segments))
    size = None if video.duration is None else math.ceil(video.duration * fps - _ROUNDING)
    names = "".join(f"<label><name>{escape(name)}</name>{_ATTRIBUTES}</label>\n" for name in _names(video))
    counted = "" if size is None else f"<size>{size}</size>\n"
    tracks = "".join(_track(number, one, fps, size) for number, one in enumerate(video.segments))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta>\n<task>\n'
        f"<name>{escape(video.path)}</name>\n{counted}<mode>interpolation</mode>\n<labels>\n{names}</labels>\n"
        f"<source>{escape(video.path)}</source>\n</task>\n</meta>\n{tracks}</annotations>\n"
    )


_ATTRIBUTES = "<attributes>" + "".join(
    f"<attribute><name>{name}</name><mutable>False</mutable><input_type>text</input_type>"
    "<default_value></default_value><values></values></attribute>"
    for name in ("start", "end")
) + "</attributes>"  # fmt: skip


def _names(video: Annotation) -> list[str]:
    return list(dict.fromkeys(one.label for one in video.segments))


def _track(number: int, segment: Segment, fps: float, size: int | None) -> str:
    first = math.floor(segment.start * fps + _ROUNDING)
    behind = max(math.ceil(segment.end * fps - _ROUNDING), first + 1)
    times = "".join(
        f'<attribute name="{name}">{value!r}</attribute>'
        for name, value in (("start", float(segment.start)), ("end", float(segment.end)))
    )
    shapes = f'<box frame="{first}" keyframe="1" outside="0" occluded="0" {_CORNER} z_order="0">{times}</box>\n'
    if size is None or behind < size:
        shapes += f'<box frame="{behind}" keyframe="1" outside="1" occluded="0" {_CORNER} z_order="0">{times}</box>\n'
    return f'<track id="{number}" label={quoteattr(segment.label)} source="file">\n{shapes}</track>\n'
