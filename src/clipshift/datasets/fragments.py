"""Parts of videos in names: times and places behind a path, as W3C's Media Fragments have them.

`a.mp4#t=1.5,4` is a span of time, in seconds, `a.mp4#xywh=percent:25,0,50,100` a region of the picture, in hundredths
of its width and height, and `a.mp4#t=1.5,4&xywh=percent:25,0,50,100` both; browsers and players understand the same.
"""

from __future__ import annotations

import re

from clipshift.config import Region, check_region
from clipshift.video import Span

DIGITS = 6
"""Of a share of the picture that count: regions of lists are rounded to them, so that names tell them exactly."""

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_TIMES = rf"t=(?P<start>{_NUMBER}),(?P<end>{_NUMBER})"
_BOX = rf"xywh=percent:(?P<x>{_NUMBER}),(?P<y>{_NUMBER}),(?P<w>{_NUMBER}),(?P<h>{_NUMBER})"
_FRAGMENTS = tuple(re.compile(rf"#{form}$") for form in (_TIMES, _BOX, f"{_TIMES}&{_BOX}"))


def fragment(span: Span | None, region: Region | None = None) -> str:
    """How a span and a region stand behind the name of their video: `#t=1.5,4`, to the microsecond; empty of none."""
    parts = []
    if span is not None:
        parts.append("t=" + ",".join(_digits(seconds) for seconds in span))
    if region is not None:
        parts.append("xywh=percent:" + ",".join(_digits(100 * share) for share in region))
    return "#" + "&".join(parts) if parts else ""


def split_fragment(name: str) -> tuple[str, Span | None, Region | None]:
    """A name without times and place behind it, and these; None where there are none, or none that can be."""
    match = next((found for form in _FRAGMENTS if (found := form.search(name))), None)
    if match is None:
        return name, None, None
    given = {key: float(value) for key, value in match.groupdict().items()}
    span = (given["start"], given["end"]) if "start" in given else None
    region = rounded_region(*(given[key] / 100 for key in "xywh")) if "x" in given else None
    if span is not None and span[1] < span[0]:
        return name, None, None
    try:
        if region is not None:
            check_region(region)
    except ValueError:
        return name, None, None
    return name[: match.start()], span, region


def stored_region(value: object) -> Region | None:
    """A region as a file of results or records holds it; None where it holds none.

    Raises:
        ValueError: It is no region.
    """
    if value is None:
        return None
    if (
        not isinstance(value, list | tuple)
        or len(value) != 4
        or any(type(share) not in (int, float) for share in value)
    ):
        raise ValueError(f"a region {value}")
    region = rounded_region(*map(float, value))
    check_region(region)
    return region


def rounded_region(x: float, y: float, width: float, height: float) -> Region:
    """A region to as many digits as names have."""
    return round(x, DIGITS), round(y, DIGITS), round(width, DIGITS), round(height, DIGITS)


def _digits(number: float) -> str:
    return f"{number:.{DIGITS}f}".rstrip("0").rstrip(".")
