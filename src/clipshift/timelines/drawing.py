"""A video with its time line drawn into the pictures: what was found, and what is true, while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from clipshift.temporal import Segment
from clipshift.timelines.result import Timeline
from clipshift.video.annotated import AnnotatedVideo
from clipshift.video.limits import Limits
from clipshift.video.long_file import LongFile
from clipshift.video.timed import TimedFrame

if TYPE_CHECKING:
    from clipshift.progress import Progress


class GoingOn:
    """What goes on at times that never fall; each segment is looked at twice, however many there are.

    Args:
        segments: In the order of their starts.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments, self._next = segments, 0
        self._open: list[Segment] = []

    def at(self, time: float) -> list[Segment]:
        """The segments with start <= time < end, in the order of their starts."""
        while self._next < len(self._segments) and self._segments[self._next].start <= time:
            self._open.append(self._segments[self._next])
            self._next += 1
        self._open = [one for one in self._open if time < one.end]
        return self._open


def draw_timeline(
    line: Timeline, video: Path, target: Path, *, limits: Limits, square_pixels: bool, progress: Progress | None
) -> None:
    """Write a video again, with the label and the score of each event in the pictures from its start to its end.

    Where there is a truth, that stands below it. The video is decoded once more; there is no sound. An interruption
    leaves no file.

    Args:
        line: What was found in the video.
        video: The file.
        target: MP4; must not be there.
        limits: Of reading.
        square_pixels: As for [LongFile][clipshift.video.long_file.LongFile].
        progress: Called with the seconds that are done and all of them.

    Raises:
        OutputError: `target` is there, or cannot be written.
        VideoError: The video can no longer be read.
    """
    found = GoingOn(line.segments)
    true = GoingOn(sorted(line.truth or (), key=lambda one: one.start))
    annotated = AnnotatedVideo(target)
    try:
        with (
            LongFile(video, limits=limits, threads=2, square_pixels=square_pixels) as file,
            closing(file.pictures()) as pictures,
        ):
            for picture in pictures:
                events = found.at(picture.time)
                lines = [f"{one.label} {one.score or 0:.2f}" for one in events]
                lines += [f"true: {one.label}" for one in true.at(picture.time)]
                annotated.write(TimedFrame(picture.time, file.to_rgb(picture)), lines, marked=bool(events))
                if progress is not None:
                    progress(int(picture.time), max(int(picture.time), int(line.seconds)))
        annotated.close()
    except BaseException:
        annotated.discard()
        raise
