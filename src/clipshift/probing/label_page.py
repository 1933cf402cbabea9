"""The page of suspicious clips: one HTML file that needs nothing else and opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from clipshift._version import __version__
from clipshift.datasets.clip import plural
from clipshift.errors import OutputError
from clipshift.evaluation.report.strips import clip_strip
from clipshift.files import check_replaceable, printable, write_whole
from clipshift.probing.label_check import CheckedClip, LabelCheck, StrangeClip
from clipshift.video import Limits

MARK = b"clipshift check --with-model"
_MOST, _NEXT = 100, 6
_FRAMES = 4


def check_page_place(path: str | Path, data: str | Path) -> Path:
    """The place of the page, before anything is computed.

    Raises:
        OutputError: Something else is there, or there is no folder for it.
    """
    page = Path(path)
    check_replaceable(page, inputs=[data], marks=[MARK])
    if page.is_dir() or not page.absolute().parent.is_dir():
        what = "The place of the page is a folder." if page.is_dir() else "There is no folder for the page."
        raise OutputError(what, where=page, remedy="name a file in a folder that is there")
    return page


def write_label_page(check: LabelCheck, path: Path) -> None:
    """Write the page; the frames are in it.

    Args:
        check: What was found.
        path: Where to.

    Raises:
        OutputError: It cannot be written.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    template = environment.from_string(files("clipshift.probing").joinpath("labels.html").read_text(encoding="utf-8"))
    shown, count = check.suspects[:_MOST], len(check.suspects)
    headline = f"{plural(count, 'label')} to look at" if count else "No label looks wrong"
    if check.strangers:
        headline += f", {plural(len(check.strangers), 'clip')} like no other"
    html = template.render(
        name=printable(Path(check.source).name),
        headline=headline,
        summary=check.summary(),
        doubt=check.doubt,
        notes=check.notes,
        suspects=_with_frames(check, shown),
        left_out=count - len(shown),
        strangers=_with_frames(check, check.strangers[:_MOST]),
        next=_with_frames(check, check.ranked[count : count + _NEXT]),
        first=count,
        source=check.source,
        version=__version__,
    )
    try:
        write_whole(path, html)
    except OSError as error:
        raise OutputError.of(error, path) from error


def _printable(value: object) -> object:
    return printable(value) if type(value) is str else value  # and not what is marked as safe


def _with_frames(check: LabelCheck, clips: Sequence[CheckedClip | StrangeClip]) -> list[dict[str, object]]:
    limits = Limits.of(check.reading)
    found: list[dict[str, object]] = []
    for each in clips:
        pictures, gone = clip_strip(
            each.clip.path,
            frames=_FRAMES,
            limits=limits,
            frame_pattern=check.reading.frame_pattern,
            span=each.clip.span,
            region=each.clip.region,
        )
        found.append({"clip": each, "pictures": pictures, "gone": gone})
    return found
