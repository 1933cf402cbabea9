"""`clipshift lists`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from clipshift.cli.arguments import ListFormat, MultiLabel, Text
from clipshift.console import say


def lists(
    data: str,
    *,
    to: Text,
    form: Annotated[ListFormat, Parameter(name="--format")] = "clipshift",
    multi_label: MultiLabel = False,
) -> None:
    """Write the lists of a data set in another form, with a data.yaml beside them.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        to: Folder for the lists; those of an earlier call are replaced.
        form: clipshift, mmaction2, paddlevideo, videofolder, fiftyone, labelstudio or cvat.
        multi_label: A clip may have several labels.
    """
    import clipshift

    for line in clipshift.write_lists(data, to, form=form, multi_label=multi_label).lines():
        say(line)
