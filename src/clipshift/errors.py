"""The errors that a user can cause or meet, and mend.

Every one of them is a [UserError][clipshift.errors.UserError]: the command line prints its few lines without a
traceback. Any other exception is a bug of clipshift and keeps its traceback.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """Something outside the program is not as it must be; says what, where, what was found and what to do.

    Args:
        what: One sentence: what is wrong.
        where: The file, key or option that is at fault.
        got: What was found there.
        allowed: What would have been accepted; a string, or the allowed values.
        remedy: What the reader can do about it: a command, or a setting.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        got: object = None,
        allowed: str | Iterable[object] | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = _bounded(what)
        self.where = None if where is None else _bounded(str(where))
        self.got = None if got is None else _shown(got)
        if allowed is not None and not isinstance(allowed, str):
            allowed = ", ".join(str(value) for value in allowed)
        self.allowed = None if allowed is None else _bounded(allowed)
        self.remedy = None if remedy is None else _bounded(remedy)
        super().__init__(str(self))

    def __str__(self) -> str:
        named = {"where": self.where, "got": self.got, "allowed": self.allowed, "do": self.remedy}
        lines = [f"  {name + ':':9}{_folded(value)}" for name, value in named.items() if value is not None]
        return "\n".join([_folded(self.what, most_lines=_MOST_LINES - len(lines)), *lines])

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders (data loader workers): keep the parts, not only the text.
        return _rebuild, (type(self), self.what, self.where, self.got, self.allowed, self.remedy)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 4, 200, 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 20
_LONGEST = 2000
_LONGEST_LINE = 4096
"""Letters: a path may have so many."""
_MOST_LINES = 8
"""Of an error; the sentence that says what is wrong may go on with a list in those that the rest leaves."""


def _bounded(text: str) -> str:
    """A text whose lines are no longer than a path: names and settings that are quoted may be of any size."""
    if len(text) <= _LONGEST_LINE:
        return text
    return "\n".join(line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " ..." for line in text.split("\n"))


def _folded(text: str, *, most_lines: int = 1) -> str:
    """A text of at most so many lines: names that are quoted may hold line breaks."""
    *lines, rest = text.split("\n", most_lines - 1)
    return "\n".join([*lines, rest.replace("\n", "\\n")])


def _shown(value: object) -> str:
    """A value as text of a bounded length: what a file holds may be of any size.

    A few lines of YAML whose parts refer to one another can stand for more text than fits in memory.
    """
    try:
        text = _SHORT.repr(value) if isinstance(value, list | tuple | dict | set) else str(value)
    except ValueError:  # Python's answer to a number of more than 4300 digits
        text = f"{type(value).__name__}, too long to be shown"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _rebuild(
    kind: type[UserError],
    what: str,
    where: str | None,
    got: str | None,
    allowed: str | None,
    remedy: str | None,
) -> UserError:
    error = kind.__new__(kind)  # a subclass may be made from other arguments
    UserError.__init__(error, what, where=where, got=got, allowed=allowed, remedy=remedy)
    return error


class ConfigError(UserError):
    """A recipe, configuration file, option or keyword is not valid."""


class DataError(UserError):
    """A data set, list or label is not usable."""


class VideoError(UserError):
    """A video or frame folder cannot be read; raised for one clip, so that the others can go on."""


class WeightsError(UserError):
    """A file of weights or a model folder does not fit, or cannot be trusted."""


class ExportError(UserError):
    """A model cannot be exported, an export cannot be used, or it does not give the numbers of its model."""


class DownloadError(UserError):
    """A file cannot be fetched: there is no connection, the server refuses, or there is no room for it."""


class RunError(UserError):
    """A run folder or checkpoint cannot be used, or cannot be written."""


class OutputError(UserError):
    """What a command says or writes cannot be written."""

    @classmethod
    def of(cls, error: OSError, where: object = "standard output") -> OutputError:
        """The error for what the system said."""
        return cls(
            "The output cannot be written.",
            where=where,
            got=error.strerror or error,
            remedy="free disk space, or write to another place",
        )


class ServerError(UserError):
    """A server cannot be reached, or does not do what it is asked."""


class DivergedError(UserError):
    """The loss or a gradient became NaN or infinite."""


_EXTRAS = {
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "nncf": "int8",
    "pyarrow": "parquet",
    "httpx2": "client",
    "httpcore2": "client",
    "h11": "serve",
    "prometheus_client": "serve",
    "python_multipart": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "huggingface_hub": "hub",
    "ray": "ray",
    "fsspec": "remote",
    "s3fs": "remote",
    "gcsfs": "gcs",
    "aiohttp": "remote",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
    "mlflow": "mlflow",
}
"""The extra of clipshift that brings a package; `train` brings all others."""


def installation(package: str) -> str:
    """The command that installs what brings a package."""
    return f"pip install 'clipshift[{_EXTRAS.get(package, 'train')}]'"


class MissingDependencyError(UserError):
    """A package is missing that the asked-for feature needs.

    Args:
        package: Its name.
    """

    def __init__(self, package: str) -> None:
        super().__init__(
            f"This needs the package {package!r}, which is not installed.",
            remedy=installation(package),
        )

    @classmethod
    def of(cls, error: ModuleNotFoundError) -> MissingDependencyError | None:
        """What a failed import means to a user; None where a module of clipshift itself is missing, which is a bug."""
        package = (error.name or "clipshift").partition(".")[0]
        return None if package == "clipshift" else cls(package)


class TrainingInterrupted(Exception):  # noqa: N818 - the user's or the scheduler's wish, not an error
    """Training stopped because it was asked to, with everything kept.

    Args:
        exit_code: What the process should end with: 75 (a scheduler may start it again) or 130 (Ctrl-C).
        checkpoint: The checkpoint that holds the state; None when nothing was trained yet.
        command: The command that goes on from there.
    """

    def __init__(self, exit_code: int, checkpoint: str | None, command: str) -> None:
        self.exit_code = exit_code
        self.checkpoint = checkpoint
        self.command = command
        state = f"The state is in {checkpoint}." if checkpoint else "Nothing was trained yet."
        super().__init__(f"Training was interrupted. {state}\nTo go on: {command}")
