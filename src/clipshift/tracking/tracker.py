"""What each library has to do for a run, and what is remembered of it in the run folder."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from clipshift.files import from_json, to_json, write_whole
from clipshift.tracking.run_files import Results, Scalar, Seen, Values

FOLDER = "tracking"
"""Of a run folder: what is remembered of each tracker, and what its library said."""
Ending = Literal["finished", "interrupted", "failed"]


class Start(NamedTuple):
    """What a tracker begins with."""

    run: Path
    """The run folder; absolute."""
    settings: Mapping[str, Scalar]
    before: str | None
    """What `Tracker.identity` was when this run was last tracked; None the first time."""


class Tracker(Protocol):
    """A run in one library. Whatever its methods raise ends this tracker, and nothing else."""

    identity: str
    """With it the library goes on with the same run."""
    where: str
    """Where to look at it, or the command that shows it."""

    def log(self, values: Values) -> None:
        """Metrics after an update."""

    def keep(self, results: Results) -> None:
        """What a finished training leaves."""

    def close(self, ending: Ending) -> None:
        """Bring everything to where it belongs, and end the run."""


@dataclass
class Remembered:
    """What is known of a tracker of a run; `tracking/NAME.json`.

    Attributes:
        identity: Of the library's run.
        where: Where to look.
        seen: Up to where it is tracked.
        ended: How the training ended that was tracked to the end; None while it is tracked, or where that failed.
        error: Why tracking ended before the training.
    """

    identity: str | None = None
    where: str = ""
    seen: Seen = field(default_factory=Seen)
    ended: Ending | None = None
    error: str | None = None

    @classmethod
    def read(cls, run: Path, name: str) -> Remembered:
        """What the run folder says of a tracker; of a file that is missing or damaged, nothing is known."""
        try:
            found = from_json((run / FOLDER / f"{name}.json").read_bytes())
            return cls(**{**found, "seen": Seen(**found["seen"])})
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, run: Path, name: str) -> None:
        """Keep it.

        Raises:
            OSError: It cannot be written.
        """
        (run / FOLDER).mkdir(exist_ok=True)
        write_whole(run / FOLDER / f"{name}.json", to_json(asdict(self), indent=1) + "\n")


LIBRARIES: dict[str, str | None] = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
    "mlflow": "mlflow",
    "dvc": None,
}
"""The trackers and the packages that they need; the files for DVC are written without one."""


def is_installed(name: str) -> bool:
    """Whether the library of a tracker can be found; it is not imported."""
    package = LIBRARIES[name]
    try:
        return package is None or find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def open_tracker(name: str, start: Start) -> Tracker:
    """Begin a run in a library, or go on with one; raises whatever the library does."""
    module = importlib.import_module(f"clipshift.tracking.libraries.{name}")
    tracker: Tracker = module.open_run(start)
    return tracker
