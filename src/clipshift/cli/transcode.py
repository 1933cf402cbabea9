"""`clipshift frames` and `clipshift repack`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

from cyclopts import Parameter

from clipshift.cli.arguments import MultiLabel, Processes, Text
from clipshift.console import progress_bar, say

if TYPE_CHECKING:
    from clipshift.datasets.tools.transcode import Transcoded


def frames(
    data: str,
    *settings: str,
    to: Text,
    short_side: int | None = None,
    quality: int = 95,
    plain_names: Annotated[bool, Parameter(negative=())] = False,
    multi_label: MultiLabel = False,
    workers: Processes = None,
) -> None:
    """Write every clip as a folder of JPEG frames; the same command again goes on; exit code 1 if one failed.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml; stays as it is.
        settings: key=value of the section data.
        to: Folder for the frames, their lists and a data.yaml: new, empty, or of the same call.
        short_side: Scale the shorter side down to so many pixels; smaller clips keep their size.
        quality: Of the JPEG images, 1 to 100.
        plain_names: Blanks in names become underscores.
        multi_label: A clip may have several labels.
        workers: Processes; by default one a core.
    """
    import clipshift
    from clipshift.config import resolve

    with progress_bar("writing frames") as progress:
        written = clipshift.extract_frames(
            data,
            to,
            short_side=short_side,
            quality=quality,
            plain_names=plain_names,
            multi_label=multi_label,
            settings=resolve(settings=settings).config.data,
            workers=workers,
            progress=progress,
        )
    _print_rewritten(written)


def repack(
    data: str,
    *settings: str,
    to: Text,
    short_side: int = 256,
    crf: int = 20,
    group: int = 6,
    plain_names: Annotated[bool, Parameter(negative=())] = False,
    multi_label: MultiLabel = False,
    workers: Processes = None,
) -> None:
    """Write every clip as H.264, small and quick to seek in; the same command again goes on; exit code 1 if one failed.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml; stays as it is.
        settings: key=value of the section data.
        to: Folder for the videos, their lists and a data.yaml: new, empty, or of the same call.
        short_side: Scale the shorter side down to so many pixels; smaller clips keep their size.
        crf: Quality, 0 to 51; less is better and larger.
        group: Pictures from one key frame to the next.
        plain_names: Blanks in names become underscores.
        multi_label: A clip may have several labels.
        workers: Processes; by default one a core.
    """
    import clipshift
    from clipshift.config import resolve

    with progress_bar("repacking") as progress:
        written = clipshift.repack_videos(
            data,
            to,
            short_side=short_side,
            crf=crf,
            group=group,
            plain_names=plain_names,
            multi_label=multi_label,
            settings=resolve(settings=settings).config.data,
            workers=workers,
            progress=progress,
        )
    _print_rewritten(written)


def _print_rewritten(written: Transcoded) -> NoReturn:
    for line in written.lines():
        say(line)
    sys.exit(0 if written.ok else 1)
