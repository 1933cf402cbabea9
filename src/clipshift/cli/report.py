"""`clipshift report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from clipshift.console import say


def report(run: str, *, explain: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Write a run's report.html again.

    Args:
        run: Run folder, or folder of an evaluation.
        explain: Show, of the worst mistakes, which frames and what in them made the model answer so.
    """
    from clipshift.evaluation.report.page import write_report

    say(str(write_report(Path(run), explain=explain)))
