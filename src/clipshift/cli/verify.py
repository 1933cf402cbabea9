"""`clipshift verify`."""

from __future__ import annotations

import sys

from clipshift.cli.arguments import Text, names_and_settings
from clipshift.console import progress_bar, say


def verify(model: str, *exports: str, data: Text, most: int = 0, out: Text | None = None) -> None:
    """Compare exported models with the trained one over clips; exit code 1 if one does not agree.

    Args:
        model: The trained model: run folder, model folder, or published weights by name.
        exports: Folders of exported models; and settings data.KEY=VALUE of reading clips, as for predict.
        data: Clips: a folder, list or data.yaml, with labels or without.
        most: Compare on so many of them, spread evenly; 0: on all.
        out: Folder for verification.html and verification.json.
    """
    import clipshift

    with progress_bar("comparing") as progress:
        names, settings = names_and_settings(exports)
        found = clipshift.verify(model, *names, data=data, most=most, out=out, settings=settings, progress=progress)
    say(found.to_text())
    sys.exit(0 if found.ok else 1)
