"""Features of clips in a file, so that an interrupted call does not read them again."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from clipshift.config import ReadingConfig
from clipshift.datasets.clip import Clip
from clipshift.errors import DataError, OutputError
from clipshift.files import path_bytes, write_whole
from clipshift.probing.features import FrozenNetwork, read_features
from clipshift.probing.shares import ClipKey, key_of
from clipshift.progress import Progress

FEATURES = "features.npz"
_AT_ONCE = 64
"""Clips after which the file is written."""


class FeatureStore:
    """Features by clip, of one network; those of another network or of changed files are read anew.

    Args:
        folder: Where the file lies, or will lie.
        frozen: The network.
    """

    def __init__(self, folder: Path, frozen: FrozenNetwork) -> None:
        self.rows: dict[ClipKey, np.ndarray] = {}
        self._file, self._frozen = folder / FEATURES, frozen
        self._identity = _identity(frozen)

    def read(
        self,
        clips: Sequence[Clip],
        reading: ReadingConfig,
        device: torch.device,
        workers: int,
        *,
        progress: Progress | None = None,
    ) -> tuple[str, ...]:
        """Fill `rows`, from the file and from the clips.

        Args:
            clips: What to read.
            reading: Limits and the pattern of frame folders.
            device: Where the network runs.
            workers: Threads that read ahead.
            progress: Called with (clips done, clips in all).

        Returns:
            Names of clips that cannot be read, and why.

        Raises:
            DataError: Not one clip could be read.
            OutputError: The file cannot be written.
        """
        digests = [self._digest(clip) for clip in clips]
        known = self._stored()
        unreadable: list[str] = []
        missing = [number for number, digest in enumerate(digests) if digest not in known]
        error: DataError | None = None
        for start in range(0, len(missing), _AT_ONCE):
            numbers = missing[start : start + _AT_ONCE]
            done = len(clips) - len(missing) + start
            part = [clips[number] for number in numbers]
            try:
                read = read_features(
                    self._frozen,
                    part,
                    reading,
                    device=device,
                    workers=workers,
                    progress=_from(progress, done, len(clips)),
                )
            except DataError as problem:  # not one of this part
                error = problem
                unreadable += [clip.name for clip in part]
                continue
            moments = np.stack([read.mean, read.deviation], axis=1)
            found = dict(zip(map(key_of, read.clips), moments, strict=True))
            known |= {digests[number]: found[key] for number in numbers if (key := key_of(clips[number])) in found}
            unreadable += [f"{name} ({why})" for name, why in read.unreadable]
            self._write(known)
        self.rows = {
            key_of(clip): known[digest] for clip, digest in zip(clips, digests, strict=True) if digest in known
        }
        if error is not None and not self.rows:
            raise error
        return tuple(unreadable)

    def _digest(self, clip: Clip) -> str:
        """What tells a clip, its file as it is now, and the network."""
        try:
            facts = clip.path.stat()
            stamp = f"{facts.st_size} {facts.st_mtime_ns}"
        except OSError:  # said when it is opened
            stamp = "absent"
        digest = hashlib.sha256(path_bytes(f"{self._identity}\0{clip.path}\0{clip.span}\0{clip.region or ''}\0{stamp}"))
        return digest.hexdigest()[:32]

    def _stored(self) -> dict[str, np.ndarray]:
        try:
            with self._file.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return dict(zip(stored["digests"].tolist(), stored["features"], strict=True))
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            BadZipFile,
        ):  # none yet, or not whole: the clips are read again
            return {}

    def _write(self, known: dict[str, np.ndarray]) -> None:
        content = io.BytesIO()
        np.savez(content, digests=np.array(list(known)), features=np.stack(list(known.values())))
        try:
            write_whole(self._file, content.getvalue())
        except OSError as error:
            raise OutputError.of(error, self._file) from error


def _from(progress: Progress | None, before: int, total: int) -> Progress | None:
    """A progress of a part as one of the whole."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def _identity(frozen: FrozenNetwork) -> str:
    """A digest of the network's weights and of what it is given."""
    digest = hashlib.sha256(f"{frozen.network.model!r}\0{frozen.input!r}".encode())
    for name, value in frozen.network.state_dict().items():
        if not name.startswith("classifier."):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
