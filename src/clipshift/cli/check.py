"""`clipshift check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from clipshift.cli.arguments import Text
from clipshift.console import progress_bar, say
from clipshift.errors import OutputError
from clipshift.files import check_replaceable, to_json, write_whole


def check(data: str, *settings: str, json_file: Annotated[Text | None, Parameter(name="--json")] = None) -> None:
    """Look for what spoils a data set: unreadable clips, empty classes, imbalance, leaks; exit code 1 on errors.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        settings: key=value; those of the section data, input.segments and train.multi_label count.
        json_file: File for the findings; '-' for standard output instead of the text.
    """
    import clipshift
    from clipshift.config import resolve

    if json_file and json_file != "-":
        check_replaceable(json_file, inputs=[data], marks=[b'"findings"'])
    config = resolve(settings=settings).config
    with progress_bar("checking") as progress:
        report = clipshift.check_data(
            data, config.data, segments=config.input.segments, several=config.train.multi_label, progress=progress
        )
    if json_file:
        _write_json(json_file, report.to_json())
    if json_file != "-":
        say(report.to_text())
    sys.exit(0 if report.ok else 1)


def _write_json(file: str, value: object) -> None:
    if file == "-":
        say(json.dumps(value, indent=1))
        return
    try:
        write_whole(Path(file), to_json(value, indent=1) + "\n")
    except OSError as error:
        raise OutputError.of(error, file) from error
