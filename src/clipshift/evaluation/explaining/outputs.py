"""The folder of an explanation: its files, written whole, the JSON last."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from clipshift.errors import OutputError
from clipshift.evaluation.explaining.explanation import Explanation
from clipshift.evaluation.explaining.page import MARK, explanation_page
from clipshift.evaluation.explaining.picture import PNG_MARK, explanation_picture
from clipshift.files import check_replaceable, to_json, write_whole

PICTURE, PAGE, DATA = "explanation.png", "explanation.html", "explanation.json"
_MARKS = {PICTURE: PNG_MARK, PAGE: MARK, DATA: b'"kind": "explanation"'}


def check_place(folder: Path, inputs: Iterable[Path]) -> None:
    """See that the files of an explanation replace no input and nothing of another kind.

    Args:
        folder: Where they are to be written.
        inputs: What is read: files and folders, which may not be there.

    Raises:
        OutputError: They would.
    """
    inputs = list(inputs)
    if folder.exists() and not folder.is_dir():
        raise OutputError("The place of the explanation is no folder.", where=folder, remedy="choose another folder")
    same = next((each for each in inputs if each.is_dir() and os.path.realpath(each) == os.path.realpath(folder)), None)
    if same is not None:
        raise OutputError(
            "The folder for the explanation is an input.", where=folder, got=same, remedy="choose another folder"
        )
    for name, mark in _MARKS.items():
        if (folder / name).is_dir():
            raise OutputError("A folder has the name of the file.", where=folder / name, remedy="choose another folder")
        check_replaceable(folder / name, inputs=inputs, marks=[mark])


def save(found: Explanation, folder: Path) -> None:
    """Write `explanation.png`, `explanation.html` and `explanation.json`.

    Raises:
        OutputError: One cannot be written.
    """
    contents: dict[str, str | bytes] = {
        PICTURE: explanation_picture(found),
        PAGE: explanation_page(found),
        DATA: to_json(found.to_json(), indent=1) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise OutputError.of(error, folder) from error
