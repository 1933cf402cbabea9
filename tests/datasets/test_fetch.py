"""Data sets are fetched from a server on this machine, as far as their publishers give them to everyone."""

from __future__ import annotations

import fcntl
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clipshift.datasets.public import prepare
from clipshift.datasets.public.catalog import PUBLIC, PublicFile, PublicSet
from clipshift.datasets.public.fetch import fetch_public
from clipshift.errors import DataError, DownloadError
from tests.datasets.clips import touch


class Publisher(ThreadingHTTPServer):
    """Serves a folder; breaks off after `most` bytes of a file that `breaks` names."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: list[str] = []
        self.breaks: str | None = None


class Handler(SimpleHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        self.server.asked.append(self.path.removeprefix("/"))
        if self.server.breaks is not None and self.path.endswith(self.server.breaks):
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"x" * 1000)
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Publisher, PublicSet]]:
    """Kinetics-400 with two archives of the same name, one of the training and one of the validation clips."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "publisher"
    server = Publisher(folder)
    for part, name in (("train", "abcdefghij1_000001_000011.mp4"), ("val", "abcdefghij2_000001_000011.mp4")):
        touch(tmp_path / name)
        (folder / part).mkdir(parents=True)
        with tarfile.open(folder / part / "part_0.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / name, name)
        (folder / part / "paths.txt").write_text(f"{server.url}/{part}/part_0.tar.gz\n\n")
        row = f"abseiling,{name[:11]},1,11,{part}"
        (folder / f"{part}.csv").write_text(f"label,youtube_id,time_start,time_end,split\n{row}\n")
    files = [PublicFile(f"{server.url}/{part}.csv") for part in ("train", "val")]
    files += [PublicFile(f"{server.url}/{part}/paths.txt", part, lists_others=True) for part in ("val", "train")]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server, replace(PUBLIC["kinetics400"], files=files)
    server.shutdown()
    server.server_close()
    thread.join()


def test_lists_and_what_they_list_are_fetched_once(publisher: tuple[Publisher, PublicSet], tmp_path: Path) -> None:
    server, data = publisher
    told: list[tuple[int, int | None]] = []
    fetched = fetch_public(data, tmp_path / "k400", progress=lambda *done: told.append(done), https_only=False)
    names = ["train.csv", "val.csv", "val/paths.txt", "val/part_0.tar.gz", "train/paths.txt", "train/part_0.tar.gz"]
    assert [path.relative_to(tmp_path / "k400").as_posix() for path in fetched] == names
    for path in fetched:
        assert path.read_bytes() == (tmp_path / "publisher" / path.relative_to(tmp_path / "k400")).read_bytes()
    assert told[-1] == (fetched[-1].stat().st_size,) * 2
    assert server.asked == names
    assert fetch_public(data, tmp_path / "k400", https_only=False) == fetched
    assert server.asked == names
    assert not [path for path in (tmp_path / "k400").rglob("*part_0*") if path.name.startswith(".")]


def test_what_broke_off_goes_on(publisher: tuple[Publisher, PublicSet], tmp_path: Path) -> None:
    server, data = publisher
    server.breaks = "val/part_0.tar.gz"
    with pytest.raises(DownloadError, match="2 times in a row") as caught:
        fetch_public(data, tmp_path / "k400", attempts=2, pause=0.01, https_only=False)
    assert f"put it at {tmp_path / 'k400' / 'val' / 'part_0.tar.gz'}" in str(caught.value)
    assert not (tmp_path / "k400" / "val" / "part_0.tar.gz").exists()
    server.breaks, before = None, len(server.asked)
    fetch_public(data, tmp_path / "k400", https_only=False)
    assert server.asked[before:] == ["val/part_0.tar.gz", "train/paths.txt", "train/part_0.tar.gz"]


def test_two_do_not_fetch_into_one_folder(publisher: tuple[Publisher, PublicSet], tmp_path: Path) -> None:
    (tmp_path / "k400").mkdir()
    with (tmp_path / "k400" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="Another process"):
            fetch_public(publisher[1], tmp_path / "k400", https_only=False)


def test_from_nothing_to_lists(
    publisher: tuple[Publisher, PublicSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipshift.datasets.public.prepare.PUBLIC", {"kinetics400": publisher[1]})
    monkeypatch.setattr(prepare, "fetch_public", partial(fetch_public, https_only=False))
    prepared = prepare.prepare_data("kinetics400", tmp_path / "k400", tmp_path / "out", fetch=True)
    assert prepared.lists.counts == {"train": 1, "val": 1}
    assert prepared.ok


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("hmdb51", "https://serre.lab.brown.edu/hmdb51.html"),
        ("sthv2", "https://www.qualcomm.com/developer/software/something-something-v-2-dataset/downloads"),
        ("jester", "https://www.qualcomm.com/developer/software/jester-dataset/downloads"),
    ],
)
def test_where_a_page_is_in_between_it_is_named(tmp_path: Path, name: prepare.PrepareName, page: str) -> None:
    for fetch in (True, False):  # also where somebody has not got it yet, and does not know of --fetch
        with pytest.raises(DataError) as caught:
            prepare.prepare_data(name, tmp_path / "videos", tmp_path / "out", fetch=fetch)
        assert page in str(caught.value)
    assert not (tmp_path / "videos").exists()


def test_own_folder_has_no_download_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no download source"):
        prepare.prepare_data("folder", tmp_path / "videos", tmp_path / "out", fetch=True)


@pytest.mark.parametrize("data", PUBLIC.values(), ids=PUBLIC)
def test_addresses_are_of_https_and_lead_to_different_files(data: PublicSet) -> None:
    assert all(file.url.startswith("https://") for file in data.files)
    assert len({(file.folder, file.url.rpartition("/")[2]) for file in data.files}) == len(data.files)
