"""`clipshift doctor`."""

from __future__ import annotations

import sys

from clipshift.console import say


def doctor() -> None:
    """Say what this machine has, and what clipshift can do with it; exit code 1 if something is missing."""
    from clipshift.doctor import examine

    lines, well = examine()
    say("\n".join(lines))
    sys.exit(0 if well else 1)
