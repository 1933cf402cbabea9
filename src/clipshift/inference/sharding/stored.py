"""A folder of answers in an object store: its files are written whole, and worked on in a folder of this machine.

A part that is not finished stays in that folder, so the same command on the same machine goes on where it stopped; on
another machine a shard begins anew. What is in the store is the same on all: first the list of videos, whose name has
its checksum, then the manifest, which the store takes only if there is none, and the parts as they are finished.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clipshift.errors import ConfigError, DataError, OutputError, VideoError
from clipshift.files import write_whole
from clipshift.inference.sharding.manifest import MANIFEST_FILE, VIDEOS_FILE, read_manifest
from clipshift.locks import hold
from clipshift.remote import insist, open_store
from clipshift.weights.cache import cache_folder

_WRITABLE = re.compile(r"(s3|gs)://")
"""Stores that take a file only if there is none, which tells which of several processes was first."""


@dataclass(frozen=True)
class StoredFolder:
    """A folder in a store, and where this machine works on it.

    Attributes:
        address: Without a `/` at the end.
        folder: In the cache of this user.
    """

    address: str
    folder: Path

    @classmethod
    def of(cls, address: str) -> StoredFolder:
        """The folder at an address.

        Raises:
            ConfigError: Answers cannot be written there, or the address holds credentials.
        """
        if not _WRITABLE.match(address):
            raise ConfigError("Answers are not written there.", where=address, allowed="a folder, s3:// or gs://")
        open_store(address)  # says at once what is missing
        address = address.rstrip("/")
        place = cache_folder() / "answers" / hashlib.sha256(address.encode()).hexdigest()[:16]
        return cls(address, place)

    @contextmanager
    def agreeing(self, *, read_only: bool = False) -> Iterator[None]:
        """While inside, the manifest of this machine is the store's, or is made; afterwards it is in the store.

        Args:
            read_only: Whether there must be one in the store already.

        Raises:
            DataError: There is none, or its list of videos is missing.
            DownloadError: The store does not answer, or does not take the credentials.
            OutputError: It does not take the files.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with hold(self.folder / ".store.lock", doing="looks into the store", error=DataError, wait=True):
            found = self._manifest()
            if found is None and read_only:
                raise DataError("There are no answers.", where=self.address)
            yield
            if found is None and not self._publish():
                self._manifest()  # of another one, which was quicker; it is looked at again

    def fetch(self, name: str, to: Path) -> bool:
        """Bring a file here; False where there is none."""
        content = self._read(name)
        if content is not None:
            write_whole(to, content)
        return content is not None

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        store, path = open_store(f"{self.address}/{name}")

        def ask() -> bool:
            store.invalidate_cache()
            return bool(store.info(path))

        with _of_outputs():
            try:
                return insist(ask, f"{self.address}/{name}", probe=lambda: store.cat_file(path, start=0, end=1))
            except VideoError as error:
                if error.got != "404":
                    raise
        return False

    def put(self, file: Path, name: str) -> None:
        """Write a file whole into the store, in place of one of this name."""
        address = f"{self.address}/{name}"
        store, path = open_store(address)
        with _of_outputs():
            insist(lambda: store.put_file(str(file), path), address)

    def _read(self, name: str) -> bytes | None:
        address = f"{self.address}/{name}"
        store, path = open_store(address)
        with _of_outputs():
            try:
                first = partial(store.cat_file, path, start=0, end=1)
                return bytes(insist(lambda: store.cat_file(path), address, probe=first))
            except VideoError as error:
                if error.got != "404":
                    raise
        return None

    def _manifest(self) -> bytes | None:
        """The manifest of the store, which then is that of this machine, too; what does not belong to it goes."""
        content, here = self._read(MANIFEST_FILE), self.folder / MANIFEST_FILE
        if content is not None and here.exists() and here.read_bytes() == content:
            return content
        for path in self.folder.iterdir():
            if not path.name.endswith(".lock"):
                path.unlink()
        if content is not None:
            found = re.search(rb'"videos_sha256": "([0-9a-f]{64})"', content)
            if found is None or not self.fetch(_videos_name(found[1].decode()), self.folder / VIDEOS_FILE):
                raise DataError("The store has a manifest without its list of videos.", where=self.address)
            write_whole(here, content)
        return content

    def _publish(self) -> bool:
        """Write the list and the manifest into the store; False where another process has written one."""
        here, address = self.folder / MANIFEST_FILE, f"{self.address}/{MANIFEST_FILE}"
        self.put(self.folder / VIDEOS_FILE, _videos_name(read_manifest(here).videos_sha256))
        store, path = open_store(address)

        def write() -> bool:
            try:
                store.pipe_file(path, here.read_bytes(), mode="create")
            except FileExistsError:
                return False
            return True

        with _of_outputs():
            return insist(write, address) or self._read(MANIFEST_FILE) == here.read_bytes()


def _videos_name(digest: str) -> str:
    return f"videos-{digest[:16]}.jsonl"


@contextmanager
def _of_outputs() -> Iterator[None]:
    """What is said of a video that cannot be read, said of an output."""
    try:
        yield
    except VideoError as error:
        raise OutputError("The store does not take or give a file.", where=error.where, got=error.got) from error
