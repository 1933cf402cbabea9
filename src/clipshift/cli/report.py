"""`clipshift report`."""

from __future__ import annotations

from pathlib import Path

from clipshift.console import say


def report(run: str) -> None:
    """Write a run's report.html again.

    Args:
        run: Run folder.
    """
    from clipshift.evaluation.report.page import write_report

    say(str(write_report(Path(run))))
