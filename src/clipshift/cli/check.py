"""`clipshift check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from clipshift.cli.arguments import Text
from clipshift.console import progress_bar, say
from clipshift.errors import ConfigError, DataError, OutputError
from clipshift.files import check_replaceable, to_json, write_whole

if TYPE_CHECKING:
    from clipshift.probing.label_check import LabelCheck


def check(
    data: str,
    *settings: str,
    json_file: Annotated[Text | None, Parameter(name="--json")] = None,
    with_model: Annotated[bool, Parameter(negative=())] = False,
    weights: Text | None = None,
    page: Text | None = None,
    device: Text = "auto",
) -> None:
    """Look for what spoils a data set: unreadable clips, empty classes, imbalance, leaks; exit code 1 on errors.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        settings: key=value; those of the section data, input.segments and train.multi_label count; of --with-model also
            those of input and model.
        json_file: File for the findings; '-' for standard output instead of the text.
        with_model: Look for wrong labels, too: clips whose label the others do not confirm, ranked, in a page.
        weights: Whose features are compared: a run folder, a model folder, a file of weights, or published weights by
            name; by default ImageNet's.
        page: File for the page of suspicious clips; by default DATA-labels.html in the current folder.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
    """
    import clipshift
    from clipshift.config import resolve
    from clipshift.datasets.tools.check import finding_of

    if json_file and json_file != "-":
        check_replaceable(json_file, inputs=[data], marks=[b'"findings"'])
    if not with_model and (weights or page):
        raise ConfigError(
            "Weights and a page are for the check of labels.",
            where="--weights" if weights else "--page",
            remedy="add --with-model",
        )
    config = resolve(settings=settings).config
    place = _page_place(data, page) if with_model else None
    with progress_bar("checking") as progress:
        report = clipshift.check_data(
            data, config.data, segments=config.input.segments, several=config.train.multi_label, progress=progress
        )
    found: dict[str, object] = {}
    if place is not None and not any(finding.kind == "data" for finding in report.findings):
        try:
            with progress_bar("features") as progress:
                labels = clipshift.check_labels(data, *settings, weights=weights, device=device, progress=progress)
        except DataError as error:  # what else was found is said, too
            report = report.with_findings(finding_of(error, "labels"))
        else:
            _write_page(labels, place)
            report = report.with_findings(*labels.findings(str(place)))
            found = {"labels": labels.to_json()}
    if json_file:
        _write_json(json_file, report.to_json() | found)
    if json_file != "-":
        say(report.to_text())
    sys.exit(0 if report.ok else 1)


def _page_place(data: str, page: str | None) -> Path:
    from clipshift.datasets.clip import absolute
    from clipshift.probing.label_page import check_page_place

    return check_page_place(page or f"{absolute(data).stem}-labels.html", data)


def _write_page(labels: LabelCheck, place: Path) -> None:
    from clipshift.probing.label_page import write_label_page

    write_label_page(labels, place)


def _write_json(file: str, value: object) -> None:
    if file == "-":
        say(json.dumps(value, indent=1))
        return
    try:
        write_whole(Path(file), to_json(value, indent=1) + "\n")
    except OSError as error:
        raise OutputError.of(error, file) from error
