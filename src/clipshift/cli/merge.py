"""`clipshift merge`."""

from __future__ import annotations

from clipshift.cli.arguments import Text
from clipshift.console import say


def merge(folder: str, *, to: Text | None = None) -> None:
    """Put the answers of all shards of `clipshift predict --out` into one file.

    Args:
        folder: Folder of the answers, also in a store.
        to: A file of JSON lines, or one that ends in .parquet; by default answers.jsonl in the folder.
    """
    import clipshift

    say(str(clipshift.merge_answers(folder, to)))
