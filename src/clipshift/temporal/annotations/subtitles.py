"""Spans as subtitles, which players show: WebVTT and SRT. A cue is a span, its text the label; one video a file."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from clipshift.temporal.annotations.model import Annotation, Place, milliseconds, only
from clipshift.temporal.segments import Segment

# [0-9] and not \d: other digits are no times. The bound keeps what int() must read short.
_TIME = r"(?:([0-9]{1,6}):)?([0-5][0-9]):([0-5][0-9])[.,]([0-9]{3})"
_CUE = re.compile(rf"\s*{_TIME}\s+-->\s+{_TIME}(?:\s.*)?")
_ARROW = "-->"


def read_subtitles(text: str, place: Place, video: str) -> list[Annotation]:
    """The cues of WebVTT or SRT; several lines of a cue become one, with a blank between them."""
    is_vtt = text.startswith("WEBVTT")
    lines = [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]
    segments, number = [], 0
    while number < len(lines):
        first = number
        while lines[number].strip():
            number += 1
        block = lines[first:number]
        number += 1
        timed = next((place_in for place_in, line in enumerate(block[:2]) if _ARROW in line), None)
        if not block or (is_vtt and (first == 0 or block[0].startswith(("NOTE", "STYLE", "REGION")))):
            continue
        if timed is None:
            raise place.at(first + 1).error(
                "A cue has no line with its times.", block[0], f"00:00:01.000 {_ARROW} 00:00:02.500"
            )
        segments.append(_cue(block[timed], block[timed + 1 :], place.at(first + timed + 1), is_vtt))
    return [Annotation(video, tuple(segments))]


def _cue(times: str, text: list[str], place: Place, is_vtt: bool) -> Segment:
    match = _CUE.fullmatch(times)
    if match is None:
        raise place.error("The times of a cue cannot be read.", times, f"00:00:01.000 {_ARROW} 00:00:02.500")
    label = " ".join(text)
    return place.segment(
        html.unescape(label) if is_vtt else label, _read(match.groups()[:4]), _read(match.groups()[4:])
    )


def _read(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return (((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths) / 1000


def write_vtt(annotations: Sequence[Annotation], place: Place) -> str:
    """WebVTT; `&`, `<` and `>` of labels are escaped. Duration, subset and scores are not kept.

    Raises:
        DataError: There are several videos, a time before 0, or a label with a line break.
    """
    cues = []
    for one in only(annotations, place).segments:
        label = html.escape(_one_line(one.label, place), quote=False)
        cues.append(f"{_write(one.start, '.', place)} {_ARROW} {_write(one.end, '.', place)}\n{label}\n")
    return "WEBVTT\n\n" + "\n".join(cues)


def write_srt(annotations: Sequence[Annotation], place: Place) -> str:
    """SRT, which has no escapes. Duration, subset and scores are not kept.

    Raises:
        DataError: There are several videos, a time before 0, or a label with a line break.
    """
    cues = []
    for number, one in enumerate(only(annotations, place).segments, start=1):
        times = f"{_write(one.start, ',', place)} {_ARROW} {_write(one.end, ',', place)}"
        cues.append(f"{number}\n{times}\n{_one_line(one.label, place)}\n")
    return "\n".join(cues)


def _write(seconds: float, point: str, place: Place) -> str:
    whole, thousandths = divmod(milliseconds(seconds, place), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{thousandths:03d}"


def _one_line(label: str, place: Place) -> str:
    if "\n" in label or "\r" in label:
        raise place.error("Subtitles have no labels with line breaks.", label, remedy="write JSON, or rename the class")
    return label
