"""The training clips that could not be read: written down by name, and bounded in their share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from clipshift.errors import DataError
from clipshift.files import append_line, from_json, to_json
from clipshift.training.samples import BadSample


class BadSamples:
    """Keeps `bad_samples.jsonl`, one line for each clip that was replaced.

    Args:
        path: The file.
        total: Training clips in all.
        most: Largest share of them, in [0, 1], that may be bad.
    """

    def __init__(self, path: Path, total: int, most: float) -> None:
        self._path, self._total, self._most = path, total, most
        self._known: set[str] = set()

    def restore(self) -> None:
        """Read the names that an earlier start of the same run wrote down."""
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").split("\n")
            self._known = {from_json(line)["name"] for line in lines if line.endswith("}")}

    def add(self, samples: Iterable[BadSample]) -> None:
        """Write down the clips that are not known yet.

        Raises:
            DataError: More than the allowed share of the training clips is bad.
        """
        for sample in samples:
            if sample.name in self._known:
                continue
            self._known.add(sample.name)
            self._path.parent.mkdir(parents=True, exist_ok=True)  # on a machine of its own, a rank has no run folder
            append_line(self._path, to_json(asdict(sample)))
            if len(self._known) > self._most * self._total:
                raise DataError(
                    f"{len(self._known)} of {self._total} training clips cannot be read: more than data.max_bad.",
                    where=sample.path,
                    got=sample.reason,
                    allowed=f"{self._most:.1%} of the clips",
                    remedy="look at 'clipshift check DATA'; mend or remove the clips, or raise data.max_bad",
                )
