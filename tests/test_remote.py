"""Videos in a store: over the wire from a server of S3 on this machine, through what fails as stores do."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest

import clipshift
from clipshift import remote
from clipshift.cli import app
from clipshift.config import ReadingConfig
from clipshift.errors import ConfigError, DataError, DownloadError, UserError, VideoError
from clipshift.inference.sharding.stored import StoredFolder
from clipshift.inference.sources import find_clips
from clipshift.remote import RemoteFile, is_remote
from clipshift.video import open_clip

SECRET = "very-secret-key"  # noqa: S105 - a key of nothing
_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"


class Store:
    """A server of S3, and before it one that spoils answers.

    Attributes:
        faults: What happens to the next answers, one each: 503, cut, slow; `expired` stays.
        ranges: Those that were asked for, with the bytes that came.
    """

    def __init__(self, behind: str) -> None:
        self.faults: list[str] = []
        self.ranges: list[tuple[str, int]] = []
        store, port = self, urlsplit(behind).port

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                connection = http.client.HTTPConnection("127.0.0.1", port)
                connection.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
                answer = connection.getresponse()
                status, body, headers = answer.status, answer.read(), answer.getheaders()
                connection.close()
                store.answer(self, status, body, headers)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815 - what the library calls

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        fault = self.faults[0] if self.faults else ""
        if fault == "expired":
            status, body, headers = 400, _EXPIRED, []
        elif fault and handler.command == "GET" and "Range" in handler.headers:
            self.faults.pop(0)
            status, body, headers = (503, b"", []) if fault == "503" else (status, body, headers)
        else:
            fault = ""
        if handler.command == "GET" and "Range" in handler.headers:
            self.ranges.append((handler.headers["Range"], len(body)))
        if fault == "slow":
            time.sleep(0.3)
        length = dict(headers).get("Content-Length") if handler.command == "HEAD" and status == 200 else None
        handler.send_response(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                handler.send_header(name, value)
        handler.send_header("Content-Length", length or str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        if fault == "cut":
            handler.close_connection = True

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of a server of S3."""
    pytest.importorskip("s3fs", reason="s3fs, of the extra 'remote', is not installed")
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield f"http://127.0.0.1:{running.get_host_and_port()[1]}"
    running.stop()


@pytest.fixture
def store(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    import s3fs

    before = Store(moto)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{before.server.server_port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.01)
    once = {"mode": "standard", "total_max_attempts": 1}  # the library's own pauses are seconds
    monkeypatch.setitem(remote._OPTIONS["s3"]["config_kwargs"], "retries", once)
    s3fs.S3FileSystem.clear_instance_cache()
    yield before
    s3fs.S3FileSystem.clear_instance_cache()
    before.close()


@pytest.fixture
def bucket(store: Store, small_clips: Path) -> Callable[[str], str]:
    """Puts the small clips into a bucket, with a file that is no video."""
    import s3fs

    def fill(name: str) -> str:
        files = s3fs.S3FileSystem()
        files.mkdir(name)
        for clip in sorted(small_clips.rglob("*.mp4"))[:3]:
            files.put_file(str(clip), f"{name}/clips/{clip.parent.name}/{clip.name}")
        files.pipe_file(f"{name}/clips/broken.mp4", b"no video")
        files.pipe_file(f"{name}/clips/notes.txt", b"notes")
        store.ranges.clear()
        return f"s3://{name}/clips/"

    return fill


def test_the_answers_are_those_of_files(
    bucket: Callable[[str], str], small_model: Path, small_clips: Path, tmp_path: Path
) -> None:
    folder = bucket("same")
    files = {path.name: path for path in sorted(small_clips.rglob("*.mp4"))[:3]}
    model = clipshift.load(small_model)
    answers = list(clipshift.predict(model, folder))
    assert [answer.path for answer in answers] == sorted(answer.path for answer in answers)
    assert len(answers) == 4
    for answer in answers:
        if isinstance(answer, clipshift.Failure):
            assert answer.path == folder + "broken.mp4"
            continue
        file = next(
            path for path in small_clips.rglob("*.mp4") if answer.path.endswith(f"{path.parent.name}/{path.name}")
        )
        np.testing.assert_array_equal(answer.probabilities, model.predict(file).probabilities)
    # In a list, with a span, and in shards, whose manifest has the addresses.
    name = answers[1].path
    listed = tmp_path / "list.csv"
    listed.write_text(f"path,start,end\n{name},0,0.4\n{next(iter(files.values()))},0,0.4\nmissing.mp4,0,1\n")
    expected = [answer.to_json() for answer in clipshift.predict(model, listed)]
    assert expected[0]["path"] == f"{name}#t=0,0.4"
    assert expected[0]["probabilities"] != answers[1].to_json()["probabilities"]
    clipshift.predict_shard(model, listed, out=tmp_path / "out")
    lines = clipshift.merge_answers(tmp_path / "out").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected


def test_faults_that_pass(bucket: Callable[[str], str], store: Store) -> None:
    clips = [clip for clip in find_clips([bucket("faults")], ReadingConfig()) if "broken" not in clip.name]
    found: list[np.ndarray] = []
    for faults in ([], ["503"], ["cut"], ["cut", "503", "slow"]):
        store.faults[:] = faults
        with clips[0].open(ReadingConfig()) as reader:
            found.append(reader.read([0, 3, 7]))
        assert not store.faults
    assert all(np.array_equal(found[0], other) for other in found)


def test_a_store_that_stays_away_ends_the_work_and_no_answer_is_wrong(
    bucket: Callable[[str], str],
    store: Store,
    small_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    folder, model = bucket("away"), clipshift.load(small_model)
    clipshift.predict_shard(model, folder, out=tmp_path / "whole")
    whole = clipshift.merge_answers(tmp_path / "whole").read_bytes()
    for fault, message in (("503", "failed 2 times"), ("expired", "does not take the credentials")):
        clips = list(find_clips([folder], ReadingConfig()))
        store.faults[:] = [fault] * (1 if fault == "expired" else 1000)
        with pytest.raises(DownloadError, match=message) as caught, clips[1].open(ReadingConfig()):
            pass
        assert SECRET not in f"{caught.value}{caplog.text}"
        out = tmp_path / fault
        store.faults.clear()
        clipshift.predict_shard(model, folder, out=out, shard="1/2")
        store.faults[:] = [fault] * (1 if fault == "expired" else 1000)
        with pytest.raises(DownloadError, match=message):
            clipshift.predict_shard(model, folder, out=out, shard="2/2")
        store.faults.clear()
        clipshift.predict_shard(model, folder, out=out, shard="2/2")
        assert clipshift.merge_answers(out).read_bytes() == whole


def test_what_is_not_there(bucket: Callable[[str], str], store: Store) -> None:
    folder = bucket("missing")
    with pytest.raises(VideoError, match="no such file"):
        open_clip(RemoteFile(folder + "nothing.mp4"))
    (nothing,) = find_clips([folder + "nothing/"], ReadingConfig())
    assert nothing.error is not None
    assert "no video here" in nothing.error.what


def test_a_long_file_is_read_in_ranges_into_a_bounded_memory(
    store: Store, bucket: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    bucket("long")
    content = np.random.default_rng(0).bytes(300_000)
    s3fs.S3FileSystem().pipe_file("long/file.bin", content)
    monkeypatch.setattr(remote, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(remote, "MOST_BLOCKS", 2)
    store.ranges.clear()
    file = RemoteFile("s3://long/file.bin")
    with file.open() as one, file.open() as other:
        assert one.seek(0, 2) == len(content)
        for position in (250_000, 5, 99_999, 299_990):
            one.seek(position)
            other.seek(position)
            assert one.read(100) == content[position : position + 100] == other.read(100)
        assert one.read(100) == b""
    assert sum(count for _, count in store.ranges) <= 6 * 10_000


@pytest.mark.parametrize(
    "address",
    ["https://name:word@host/a.mp4", "https://host/a.mp4?X-Amz-Signature=abc", "https://host/a.mp4?a=b&sig=abc"],
)
def test_addresses_with_credentials_are_not_taken(address: str, small_model: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(address + "\n")
    for source in (address, listed):
        (clip,) = find_clips([source], ReadingConfig())
        assert isinstance(clip.error, ConfigError)
        assert not {"abc", "word"} & set(re.findall("[a-z]+", f"{clip}"))
    with pytest.raises(ConfigError, match="no credentials"):
        clipshift.predict_shard(clipshift.load(small_model), address, out=tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(("name", "expected"), [
    ("s3://b/k", True), ("gs://b", True), ("hf://datasets/a/b", True), ("https://h/a.mp4", True),
    ("s3:/b/k", False), ("file:///etc", False), ("http://h/a.mp4", False), ("a/s3://b", False), ("s3:///k", False),
])  # fmt: skip
def test_which_names_are_addresses(name: str, expected: bool) -> None:
    assert is_remote(name) == expected


def test_the_command(
    bucket: Callable[[str], str], small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[Any] = ["predict", str(small_model), bucket("command"), "--json", str(tmp_path / "answers.jsonl")]
    with pytest.raises(SystemExit, match="1"):
        app(words, result_action="return_value")
    assert "s3://command/clips/broken.mp4: ERROR" in capsys.readouterr().out


def test_answers_in_a_store(
    store: Store, small_model: Path, small_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines that share nothing but the store; parts come whole, and are not answered twice."""
    import s3fs

    files = s3fs.S3FileSystem()
    files.mkdir("answers")
    model, out = clipshift.load(small_model), "s3://answers/all/"
    clipshift.predict_shard(model, small_clips, out=tmp_path / "plain")
    expected = clipshift.merge_answers(tmp_path / "plain").read_bytes()
    with pytest.raises(DataError, match="no answers"):
        clipshift.merge_answers(out, tmp_path / "all.jsonl")

    def on(machine: str, shard: str) -> clipshift.ShardResult:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        return clipshift.predict_shard(model, small_clips, out=out, shard=shard)

    assert on("one", "1/2").answers == 4
    assert sorted(Path(name).name.split("-")[0] for name in files.ls("answers/all", refresh=True)) == [
        "manifest.json",
        "part",
        "videos",
    ]
    with pytest.raises(DataError, match="have not finished"):
        clipshift.merge_answers(out, tmp_path / "all.jsonl")
    with pytest.raises(DataError, match="number of shards"):
        on("two", "1/3")
    assert on("two", "1/2").before == 4  # the other machine has answered it
    store.faults[:] = ["expired"]
    with pytest.raises(DownloadError, match="credentials"):
        on("two", "2/2")
    store.faults.clear()
    result = on("two", "2/2")
    assert "clipshift merge s3://answers/all" in result.to_text()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "three"))
    app(["merge", out, "--to", str(tmp_path / "all.jsonl")], result_action="return_value")
    assert (tmp_path / "all.jsonl").read_bytes() == expected
    with pytest.raises(ConfigError, match="are merged into a file"):
        clipshift.merge_answers(out)


def test_of_two_machines_that_begin_at_once_one_is_first(
    store: Store, small_model: Path, small_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    s3fs.S3FileSystem().mkdir("race")
    model, out = clipshift.load(small_model), "s3://race/all"
    links = tmp_path / "links"
    links.mkdir()
    clip = next(small_clips.rglob("*.mp4"))
    (links / "a.mp4").symlink_to(clip)
    publish = StoredFolder._publish

    def late(folder: StoredFolder) -> bool:
        monkeypatch.setattr(StoredFolder, "_publish", publish)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "quicker"))
        (links / "b.mp4").symlink_to(clip)
        clipshift.predict_shard(model, links, out=out, shard="1/2")
        return publish(folder)

    monkeypatch.setattr(StoredFolder, "_publish", late)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "slower"))
    assert clipshift.predict_shard(model, links, out=out, shard="2/2").answers == 1
    merged = clipshift.merge_answers(out, tmp_path / "all.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)["path"]).name for line in merged] == ["a.mp4", "b.mp4"]


def test_a_web_server_that_is_not_there_is_no_missing_file(monkeypatch: pytest.MonkeyPatch, small_model: Path) -> None:
    """fsspec says of both that a file is missing."""
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"https://127.0.0.1:{unused.getsockname()[1]}/a.mp4"
        with pytest.raises(DownloadError, match="failed 5 times in a row") as caught:
            list(clipshift.predict(small_model, address))
    assert caught.value.where == address
    assert caught.value.got == "ClientConnectorError"


@pytest.mark.parametrize(
    ("status", "kind"), [(404, VideoError), (403, VideoError), (401, DownloadError), (503, DownloadError)]
)
def test_what_a_web_server_says(monkeypatch: pytest.MonkeyPatch, status: int, kind: type[UserError]) -> None:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0)

    def ask() -> None:
        raise FileNotFoundError("a.mp4") from aiohttp.ClientResponseError(Mock(), (), status=status)

    with pytest.raises(kind) as caught:
        remote.insist(ask, "https://host/a.mp4")
    assert caught.value.got == str(status)


@pytest.mark.parametrize("address", ["https://host/answers/", "hf://datasets/a/b"])
def test_where_answers_are_not_written(small_model: Path, small_clips: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="not written there"):
        clipshift.predict_shard(clipshift.load(small_model), small_clips, out=address)


def test_a_time_line_says_that_it_takes_files(small_model: Path, tmp_path: Path) -> None:
    for video in ("s3://bucket/a.mp4", "s3://bucket/a.mp4#t=1,2"):
        (failure,) = clipshift.timeline(small_model, video, out=tmp_path / "out", window=True, rate=4)
        assert isinstance(failure, clipshift.Failure)
        assert "in a store" in failure.error
