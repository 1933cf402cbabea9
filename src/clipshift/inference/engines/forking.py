"""Sessions in forked processes: threads stay with the parent, and whoever waits for one waits for ever."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Mapping
from threading import Lock

import numpy as np

from clipshift.errors import ExportError
from clipshift.inference.engines.session import Session
from clipshift.inference.engines.streaming import NamedSession

FORKED = "start processes by spawn, to which a Model can be sent; or fork before the first answer."
_OPEN: weakref.WeakSet[ReopenedSession] = weakref.WeakSet()


class ReopenedSession:
    """A [Session][clipshift.inference.engines.session.Session] that a forked process opens anew at its first use there.

    A forked process ends by `os._exit`, as those of `multiprocessing` do: ONNX Runtime waits for ever at an exit by
    other ways, wherever it was imported before the fork.

    Args:
        open_session: Opens it: with False here, with True in a forked process.

    Raises:
        ExportError: In a forked process, at its first use: the engine is on a GPU, which cannot be shared so.
    """

    def __init__(self, open_session: Callable[[bool], Session]) -> None:
        self._open = open_session
        self._session: Session | None = open_session(False)
        self._opening = Lock()
        self._on_gpu = str(getattr(self._session, "_device", "cpu")) != "cpu"
        _OPEN.add(self)

    @property
    def engine(self) -> str:
        """Engine, version, precision and threads or device, for people."""
        return self._here().engine

    @property
    def concurrency(self) -> int:
        """How many calls of `run` it takes at once."""
        return self._here().concurrency

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Logits float32 (B, K)."""
        return self._here().run(inputs)

    def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, float32 (B, K)."""
        return self._here().both(inputs)

    def answers(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        """What a file gives for inputs by name.

        Raises:
            ExportError: The engine has no names.
        """
        session = self._here()
        if not isinstance(session, NamedSession):
            raise ExportError("The engine of this export has no streams.", got=session.engine)
        return session.answers(inputs, outputs)

    def leave_to_parent(self) -> None:
        """In a forked process: forget the parent's session."""
        if self._session is not None:
            keep_for_ever(self._session)
            self._session = None
        self._opening = Lock()  # a thread of the parent may have had the old one

    def _here(self) -> Session:
        with self._opening:
            if self._session is None:
                if self._on_gpu:
                    raise ExportError(
                        "A model on a GPU cannot be used in a process that was forked from the one that loaded it.",
                        remedy="start processes by spawn, to which a Model can be sent",
                    )
                self._session = self._open(True)
            return self._session


def keep_for_ever(thing: object) -> None:
    """In a forked process: never end what waits for its threads at its end."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _after_fork() -> None:
    for session in list(_OPEN):
        session.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
