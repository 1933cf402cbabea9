"""Spans in ELAN's .eaf: XML with the times in one list and, in tiers, annotations that point into it."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from clipshift.temporal.annotations.model import Annotation, Place, milliseconds, only
from clipshift.temporal.annotations.xml_reading import NOT_IN_XML, XmlReader
from clipshift.temporal.segments import Segment


class _Reader(XmlReader):
    """Gathers times, annotations and the video while the parser goes through the file."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, "ELAN")
        self.times: dict[str, str | None] = {}
        self.marks: list[tuple[str, str, str, Place]] = []
        self.video: str | None = None
        self._root: str | None = None
        self._ends_of_mark: tuple[str, str, Place] | None = None
        self._label: list[str] | None = None

    def begins(self, name: str, attributes: dict[str, str]) -> None:
        if self._root is None:
            self._root = name
            if name != "ANNOTATION_DOCUMENT":
                raise self.here().error("This is not a document of ELAN.", f"<{name}>", "<ANNOTATION_DOCUMENT>")
        units = attributes.get("TIME_UNITS", "milliseconds")
        if name == "HEADER" and units != "milliseconds":
            raise self.here().error("The times are not in milliseconds.", units, "milliseconds")
        if name == "MEDIA_DESCRIPTOR" and self.video is None:
            self.video = attributes.get("RELATIVE_MEDIA_URL") or attributes.get("MEDIA_URL")
        elif name == "TIME_SLOT":
            self.times[attributes.get("TIME_SLOT_ID", "")] = attributes.get("TIME_VALUE")
        elif name == "ALIGNABLE_ANNOTATION":
            first, last = attributes.get("TIME_SLOT_REF1", ""), attributes.get("TIME_SLOT_REF2", "")
            self._ends_of_mark = (first, last, self.here())
        elif name == "ANNOTATION_VALUE" and self._ends_of_mark is not None:
            self._label = []

    def text(self, text: str) -> None:
        if self._label is not None:
            self._label.append(text)

    def ends(self, name: str) -> None:
        if name == "ANNOTATION_VALUE" and self._label is not None and self._ends_of_mark is not None:
            first, last, place = self._ends_of_mark
            self.marks.append(("".join(self._label), first, last, place))
            self._label = None
        elif name == "ALIGNABLE_ANNOTATION":
            self._ends_of_mark = None

    def seconds(self, slot: str, place: Place) -> float:
        value = self.times.get(slot)
        if value is None:
            raise place.error("An annotation has no time of its own.", slot, "a TIME_SLOT with a TIME_VALUE")
        return place.number(value, "TIME_VALUE") / 1000


def read_eaf(text: str, place: Place, video: str) -> list[Annotation]:
    """The annotations with times of all tiers; their text is the label. Those that refer to others are passed over."""
    reader = _Reader(place)
    reader.read(text)
    segments = [
        here.segment(label, reader.seconds(first, here), reader.seconds(last, here))
        for label, first, last, here in reader.marks
    ]
    return [Annotation(reader.video or video, tuple(segments))]


def write_eaf(annotations: Sequence[Annotation], place: Place) -> str:
    """A document with one tier. Duration, subset and scores are not kept.

    Raises:
        DataError: There are several videos, a time before 0, or a name with characters that XML does not have.
    """
    video = only(annotations, place)
    for name in (video.path, *(one.label for one in video.segments)):
        if NOT_IN_XML.search(name):
            raise place.error("A name has characters that XML does not have.", name, remedy="write JSON")
    slots, marks = [], []
    for number, one in enumerate(video.segments):
        slots += [_slot(2 * number + 1, one.start, place), _slot(2 * number + 2, one.end, place)]
        marks.append(_annotation(number, one))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ANNOTATION_DOCUMENT AUTHOR="" DATE="1970-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">\n'
        '<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">\n'
        f'<MEDIA_DESCRIPTOR MEDIA_URL={quoteattr(video.path)} MIME_TYPE="video/*"/>\n</HEADER>\n'
        f"<TIME_ORDER>\n{''.join(slots)}</TIME_ORDER>\n"
        f'<TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="default">\n{"".join(marks)}</TIER>\n'
        '<LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>\n'
        "</ANNOTATION_DOCUMENT>\n"
    )


def _slot(number: int, seconds: float, place: Place) -> str:
    return f'<TIME_SLOT TIME_SLOT_ID="ts{number}" TIME_VALUE="{milliseconds(seconds, place)}"/>\n'


def _annotation(number: int, segment: Segment) -> str:
    ends = f'TIME_SLOT_REF1="ts{2 * number + 1}" TIME_SLOT_REF2="ts{2 * number + 2}"'
    value = f"<ANNOTATION_VALUE>{escape(segment.label)}</ANNOTATION_VALUE>"
    mark = f'<ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number + 1}" {ends}>{value}</ALIGNABLE_ANNOTATION>'
    return f"<ANNOTATION>{mark}</ANNOTATION>\n"
